//! The private words, each with the word of the field.

/// The forms of one private word, and the field's words for it.
#[derive(Debug)]
pub(crate) struct PrivateWord {
    /// The forms, in lower case. `*` stands for one or two words of any kind.
    pub(crate) forms: &'static [&'static str],
    /// The field's words.
    pub(crate) better: &'static str,
    /// Whether the word also has a fair use in the field's texts: then the check counts it, and does not refuse it.
    pub(crate) has_fair_use: bool,
}

/// Every private word.
pub(crate) const PRIVATE_WORDS: &[PrivateWord] = &[
    refused(&["whoever", "whomever"], "the noun: a peer, a workload, the caller"),
    refused(&["whom"], "the noun, or `which peers`"),
    refused(&["nobody"], "no peer, no caller, no packet"),
    refused(&["somebody"], "a peer, a caller, a process"),
    refused(&["everybody"], "all peers, each caller"),
    refused(&["anybody"], "any peer, any host"),
    refused(
        &["is told", "are told", "was told", "were told", "be told", "been told", "is told off", "told off"],
        "receives, gets, is refused",
    ),
    refused(
        &["is asked", "are asked", "was asked", "were asked", "be asked", "been asked", "being asked"],
        "is queried, is checked, is called; the policy applies",
    ),
    refused(&["hear", "hears", "heard", "hearing"], "receives, subscribes to, is updated by"),
    refused(&["speak of", "speaks of", "spoke of", "speaking of"], "names, refers to"),
    refused(
        &["say of", "says of", "said of", "say about", "says about", "what is said"],
        "specifies, reports, contains, returns",
    ),
    refused(&["goes on with", "go on with", "went on with"], "continues with"),
    refused(&["comes to be", "come to be", "came to be"], "becomes, is created"),
    refused(&["outgrow", "outgrows", "outgrown", "outgrew"], "is replaced, exceeds"),
    refused(&["moot"], "unchanged, superseded"),
    refused(&["stirred"], "changed in this step"),
    refused(&["is had", "are had", "was had", "be had"], "is available, is granted"),
    refused(&["by the * lights", "by its lights", "by their lights"], "for the kernel; according to"),
    refused(&["tell apart", "tells apart", "told apart", "telling apart"], "distinguish"),
    refused(&["goes elsewhere", "go elsewhere"], "moves to another policy, leaves"),
    refused(&["is so", "are so", "was so"], "is true, holds"),
    counted(&["is about", "are about"], "applies to, selects, describes"),
    counted(&["that of", "those of"], "the noun again"),
    counted(&["someone", "anyone", "everyone"], "the noun: a peer, a host, a caller"),
    counted(&["had to"], "must"),
    counted(&["meet", "meets", "met"], "matches"),
    counted(&["goes on", "go on"], "continues"),
    counted(&["says so", "say so", "said so"], "reports it"),
    counted(&["learn", "learns", "learnt", "learned"], "reads, receives"),
    counted(&["stranger", "strangers"], "an external client, untrusted input"),
];

const fn refused(forms: &'static [&'static str], better: &'static str) -> PrivateWord {
    PrivateWord { forms, better, has_fair_use: false }
}

const fn counted(forms: &'static [&'static str], better: &'static str) -> PrivateWord {
    PrivateWord { forms, better, has_fair_use: true }
}
