//! Invalid files never crash the parser: prefixes and random changes of valid files.

const FILES: [&str; 10] = [
    include_str!("tutorial/demo.yaml"),
    include_str!("tutorial/rule1-v1.yaml"),
    include_str!("tutorial/tutorial.test.yaml"),
    include_str!("mutations.yaml"),
    include_str!("schema/cilium.yaml"),
    include_str!("schema/cilium.later.yaml"),
    include_str!("schema/cluster.yaml"),
    include_str!("schema/admin.yaml"),
    include_str!("schema/referred.yaml"),
    include_str!("schema/policy_test.yaml"),
];

/// The inserted texts: characters with a meaning in YAML, and words with a meaning here.
const PIECES: [&str; 32] = [
    "{", "}", "[", "]", ":", ",", "-", "*a", "&a ", "!", "|", ">", "'", "\"", "#", "\t", "\n", "null", "{}",
    "[]", "65536", "é", "---\n", "<<: ", " ", "  ", "\n  ", "\n- ", ": ", "\"a\": ", " # ", "...\n",
];

/// The parts of short texts: every form that block and flow style give to a scalar, a key or an item.
const PARTS: [&str; 18] =
    ["a", ":", " ", "\n", "-", "{", "}", "[", "]", ",", "\"", "#", "'", "---", ".", "  ", "1: b", "&a"];

/// Parses a file as manifests and as tests; a refusal must have a reason, and each reason a position.
fn read(text: &str) {
    assert!(manifest::parsers_agree(text), "the parsers of YAML differ:\n{text}");
    let manifest = manifest::parse("file.yaml", text);
    let tests = manifest::test::parse("file.yaml", text, &mut |_: &str| Ok(String::new()));
    for findings in [manifest.err(), tests.err()].into_iter().flatten() {
        assert!(!findings.is_empty(), "refused without a reason:\n{text}");
        assert!(
            findings.iter().all(|finding| finding.line > 0 && finding.column > 0),
            "{findings:?}\n{text}"
        );
    }
}

#[test]
fn prefixes() {
    for file in FILES {
        // Every nineteenth prefix keeps the test quick; neighbouring prefixes differ little.
        for (end, _) in file.char_indices().step_by(19) {
            read(&file[..end]);
        }
    }
}

#[test]
fn random_changes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..1000 {
        let mut text = FILES[random.below(FILES.len())].to_owned();
        for _ in 0..=random.below(3) {
            let (from, to) = (random.boundary(&text), random.boundary(&text));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + random.below(12)));
            let to = (from..=to).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(from);
            text.replace_range(from..to, PIECES[random.below(PIECES.len())]);
        }
        read(&text);
    }
}

#[test]
fn all_short_texts_are_parsed_alike() {
    for length in 0..=4u32 {
        for number in 0..PARTS.len().pow(length) {
            let parts = (0..length).map(|place| PARTS[number / PARTS.len().pow(place) % PARTS.len()]);
            let text: String = parts.collect();
            assert!(manifest::parsers_agree(&text), "the parsers of YAML differ: {text:?}");
        }
    }
}

/// A small generator of numbers (xorshift), always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    fn boundary(&mut self, text: &str) -> usize {
        let at = self.below(text.len() + 1);
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    }
}
