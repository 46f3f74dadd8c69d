//! Counts the private words of a tree: words of the house for which the field has others.

mod prose;
mod table;

use crate::tree::File;
use prose::Word;
use std::collections::BTreeMap;
use std::fmt;
use table::PRIVATE_WORDS;

pub(crate) use table::PrivateWord;

/// The files of this check, which hold private words themselves: the table and the tests.
const OWN_FILES: &[&str] = &[
    "xtask/src/words.rs",
    "xtask/src/words/table.rs",
    "xtask/src/words/prose.rs",
    "xtask/src/tidy/language.rs",
];

/// A private word with its place.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The path of the file.
    pub(crate) path: &'a str,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The form of the word at this place.
    pub(crate) form: &'static str,
    /// Its row in the table.
    pub(crate) word: &'static PrivateWord,
}

/// Finds the private words of a tree.
pub(crate) fn find(files: &[File]) -> Vec<Place<'_>> {
    files.iter().filter(|file| !OWN_FILES.contains(&file.path.as_str())).flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for run in prose::runs(file) {
        let mut at = 0;
        while at < run.len() {
            let found = longest(&run[at..]);
            if let Some((word, form, _)) = found {
                places.push(Place { path: &file.path, line: run[at].line, form, word });
            }
            at += found.map_or(1, |(_, _, length)| length);
        }
    }
    places
}

/// The longest private word that a run starts with, and its length.
fn longest(run: &[Word]) -> Option<(&'static PrivateWord, &'static str, usize)> {
    let forms = PRIVATE_WORDS.iter().flat_map(|word| word.forms.iter().map(move |form| (word, *form)));
    let found = forms.filter_map(|(word, form)| Some((word, form, matched(run, form)?)));
    found.max_by_key(|(_, _, length)| *length)
}

/// How many words at the start of a run are those of a form.
fn matched(run: &[Word], form: &str) -> Option<usize> {
    let mut at = 0;
    let mut parts = form.split(' ').peekable();
    while let Some(part) = parts.next() {
        if part == "*" {
            let next = *parts.peek()?;
            at += (1..=2).find(|skipped| run.get(at + skipped).is_some_and(|word| word.text == next))?;
        } else if run.get(at)?.text != part {
            return None;
        } else {
            at += 1;
        }
    }
    Some(at)
}

/// The part of the tree that a file belongs to: a crate, a directory of the root, or the root.
pub(crate) fn part(path: &str) -> &str {
    match path.split_once('/') {
        Some(("crates", rest)) => rest.split('/').next().unwrap_or(rest),
        Some((directory, _)) => directory,
        None => "files of the root",
    }
}

/// The counts of a tree, by part and by word.
pub(crate) struct Counts<'a>(pub(crate) &'a [Place<'a>]);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for place in self.0 {
            parts.entry(part(place.path)).or_default()[usize::from(place.word.has_fair_use)] += 1;
        }
        writeln!(f, "{:<20} {:>8} {:>8}", "part", "refused", "counted")?;
        let mut sums = [0, 0];
        for (part, [refused, counted]) in parts {
            writeln!(f, "{part:<20} {refused:>8} {counted:>8}")?;
            sums = [sums[0] + refused, sums[1] + counted];
        }
        writeln!(f, "{:<20} {:>8} {:>8}\n", "all", sums[0], sums[1])?;
        for word in PRIVATE_WORDS {
            let count = self.0.iter().filter(|place| std::ptr::eq(place.word, word)).count();
            let kind = if word.has_fair_use { "counted" } else { "refused" };
            writeln!(f, "{count:>6} {kind}  {:<44} better: {}", word.forms[0], word.better)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: `{}`; better: {}", self.path, self.line, self.form, self.word.better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let files = [File { path: "crates/x/src/a.rs".into(), text: text.into() }];
        find(&files).iter().map(|place| format!("{} {}", place.line, place.form)).collect()
    }

    #[test]
    fn private_words_are_found_in_comments_literals_and_names() {
        let text =
            "/// Whoever is\n/// told.\nfn nobody_knows() { x(\"is it had? is had\") }\nlet whoever = 1;\n";
        assert_eq!(found(text), ["1 whoever", "1 is told", "3 nobody", "3 is had"]);
    }

    #[test]
    fn the_longest_form_counts_once() {
        assert_eq!(found("// It goes on with the rest, and goes on."), ["1 goes on with", "1 goes on"]);
        assert_eq!(found("// None by the kernel's lights."), ["1 by the * lights"]);
        assert_eq!(found("// By the way."), [""; 0]);
    }

    #[test]
    fn counts_are_by_crate_and_by_word() {
        let file = |path: &str| File { path: path.into(), text: "Nobody is about.\n".into() };
        let files = [file("crates/x/README.md"), file("docs/a.md"), file("README.md")];
        let shown = Counts(&find(&files)).to_string();
        for line in ["x                           1        1", "all                         3        3"] {
            assert!(shown.contains(line), "{shown}");
        }
    }
}
