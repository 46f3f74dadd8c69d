//! The prose of a file: comments, string literals and the names of functions; of a text file all of the text.

use crate::source::{Kind, Piece, pieces};
use crate::tree::File;

/// A word of prose in lower case, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) line: usize,
}

/// Words that may form a phrase together: one comment, one literal, one name, or a text up to a full stop.
pub(super) type Run = Vec<Word>;

/// The runs of words of a file; none where the file is neither source nor text.
pub(super) fn runs(file: &File) -> Vec<Run> {
    let is = |ends: &[&str]| ends.iter().any(|end| file.path.ends_with(end));
    if is(&[".rs", ".go"]) {
        return of_source(&file.text);
    }
    if is(&[".md", ".yaml", ".yml", ".toml", "Makefile"]) || file.text.starts_with("#!") {
        return of_text(&file.text, 1);
    }
    Vec::new()
}

fn of_source(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    // Comments on lines that follow one another are one text.
    let mut comment = (String::new(), 0);
    for piece in pieces(text) {
        let Piece { kind, line, text } = piece;
        match kind {
            Kind::Comment => {
                if comment.0.is_empty() {
                    comment.1 = line;
                }
                comment.0.push_str(text.trim_start_matches(['/', '!']));
            }
            Kind::Code if text.trim().is_empty() => comment.0.push_str(text),
            Kind::Code | Kind::Literal => {
                runs.extend(of_text(&std::mem::take(&mut comment.0), comment.1));
                runs.extend(if kind == Kind::Code { names(text, line) } else { of_text(text, line) });
            }
        }
    }
    runs.extend(of_text(&comment.0, comment.1));
    runs
}

/// The names of functions as runs: a test's name is a sentence.
fn names(code: &str, first_line: usize) -> Vec<Run> {
    let declared = (first_line..).zip(code.lines()).filter_map(|(line, text)| {
        let name = text.split_once("fn ")?.1.split(['(', '<']).next()?;
        Some(name.split('_').map(|text| Word { text: text.to_lowercase(), line }).collect())
    });
    declared.collect()
}

/// The sentences of a text.
fn of_text(text: &str, first_line: usize) -> Vec<Run> {
    let mut runs = vec![Run::new()];
    for (line, text) in (first_line..).zip(text.lines()) {
        // An empty line ends a sentence.
        if text.trim().is_empty() {
            runs.push(Run::new());
        }
        for text in text.split_whitespace() {
            let word = text.trim_matches(|letter: char| !letter.is_alphanumeric());
            if !word.is_empty() {
                let word = Word { text: word.to_lowercase(), line };
                runs.last_mut().expect("there is a run at all times").push(word);
            }
            if text.ends_with(['.', ':', ';', '?', '!', ',', ')']) {
                runs.push(Run::new());
            }
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        let line = |run: Run| {
            let words: Vec<_> = run.iter().map(|word| word.text.as_str()).collect();
            format!("{} {}", run[0].line, words.join(" "))
        };
        runs(&file).into_iter().map(line).collect()
    }

    #[test]
    fn comments_literals_and_function_names_are_prose() {
        let text = "//! One is\n//! told. Two\nlet a_b = \"Three (four)\"; // five\nfn six_seven(a: u8) {}\n";
        let expected = ["1 one is told", "2 two", "3 three four", "3 five", "4 six seven"];
        assert_eq!(read("a.rs", text), expected);
    }

    #[test]
    fn a_text_is_read_whole_and_other_files_are_not() {
        assert_eq!(read("a.md", "# One two\n\n`three` four\n"), ["1 one two", "3 three four"]);
        assert_eq!(read("run", "#!/bin/sh\n"), ["1 bin/sh"]);
        assert_eq!(read("a.json", "{\"a\": 1}"), [""; 0]);
    }
}
