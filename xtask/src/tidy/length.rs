//! How long a file and a function may be.

use super::finding::{Finding, at, numbered};
use crate::tree::File;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;

/// Files that may be longer, each with the reason; tables and generated code only.
const LONG_FILES: &[(&str, &str)] = &[];
/// Functions that may be longer, each with the reason.
const LONG_FUNCTIONS: &[(&str, &str)] =
    &[("expressions_mean_what_they_mean_in_re2", "a table of expressions, one a line")];

/// A file or functions in it that are too long.
pub(super) fn excesses(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
        findings.push(at(&file.path, 1, format!("{lines} lines; a file has at most {FILE_LINES}: split it")));
    }
    let exempt = |function: &Function<'_>| LONG_FUNCTIONS.iter().any(|(name, _)| *name == function.name);
    let functions = functions(&file.text).into_iter();
    let long = functions.filter(|function| function.lines > FUNCTION_LINES && !exempt(function));
    findings.extend(long.map(|function| {
        let message = format!(
            "`{}` has {} lines; a function has at most {FUNCTION_LINES}",
            function.name, function.lines
        );
        at(&file.path, function.line, message)
    }));
    findings
}

#[derive(Debug, PartialEq, Eq)]
struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// The functions with a body. Relies on rustfmt: a function ends at the first closing brace of its own indent.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = numbered(text).filter_map(|(line, text)| Some((line, declared_name(text)?)));
    starts
        .filter_map(|(line, name)| Some(Function { name, line, lines: body_lines(&lines[line - 1..])? }))
        .collect()
}

/// The name of the function whose declaration starts on this line.
fn declared_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    loop {
        if let Some(name) = rest.strip_prefix("fn ") {
            return name.split(['(', '<']).next();
        }
        let (word, after) = rest.split_once(' ')?;
        let modifier = matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "default")
            || word.starts_with("pub(")
            || word.starts_with('"');
        rest = if modifier { after } else { return None };
    }
}

/// Lines from the declaration to its closing brace; none where it has no body.
fn body_lines(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let end = format!("{}}}", &first[..first.len() - first.trim_start().len()]);
    let mut opened = false;
    for (index, line) in lines.iter().enumerate() {
        opened |= line.contains('{');
        if (index > 0 && *line == end) || (index == 0 && opened && line.ends_with('}')) {
            return Some(index + 1);
        }
        if !opened && line.ends_with(';') {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::finding::testing::{file, lines};
    use super::*;

    fn function_of(lines: usize) -> String {
        format!(
            "impl X {{\n    pub(crate) const fn long(\n    ) {{\n{}    }}\n}}\n",
            "        x();\n".repeat(lines - 3)
        )
    }

    #[test]
    fn a_long_function_is_found_at_its_declaration() {
        assert_eq!(lines(&excesses(&file("a.rs", &function_of(61)))), [2]);
        assert_eq!(excesses(&file("a.rs", &function_of(60))), []);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(lines(&excesses(&file("a.rs", &"//\n".repeat(501)))), [1]);
        assert_eq!(excesses(&file("a.rs", &"//\n".repeat(500))), []);
    }

    #[test]
    fn declarations_and_one_liners_end_where_they_end() {
        let text =
            "trait X {\n    fn a(&self) -> u8;\n    fn b(\n    );\n    fn c() {}\n    fn d() {\n    }\n}\n";
        let found: Vec<_> = functions(text).iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("c", 5, 1), ("d", 6, 2)]);
    }

    #[test]
    fn a_function_pointer_is_no_function() {
        assert_eq!(functions("let x: fn (u8) = y;\n// fn z() {\n"), []);
    }
}
