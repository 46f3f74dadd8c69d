//! Character classes: `[a-z]`, `\d`, `[:alpha:]`.

use super::{ExpressionPart, Parser, Result, class, fail};
use regex_syntax::hir::{ClassBytes, ClassBytesRange};

impl Parser<'_> {
    /// A class in brackets.
    pub(super) fn bracket(&mut self, fold: bool) -> Result<ExpressionPart> {
        let start = self.at;
        self.at += 1;
        let negated = self.take("^");
        let mut ranges = ClassBytes::empty();
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            if self.peek().is_none() {
                return fail(start, "this opening bracket has no closing one");
            }
            self.class_item(&mut ranges)?;
        }
        self.at += 1;
        if fold {
            ranges.case_fold_simple();
        }
        Ok(class(ranges, negated))
    }

    /// One item of a class in brackets: a named class, a class escape, a byte or a range.
    fn class_item(&mut self, ranges: &mut ClassBytes) -> Result<()> {
        if let Some(length) = self.text[self.at..].strip_prefix("[:").and_then(|rest| rest.find(":]")) {
            let name = &self.text[self.at + 2..self.at + 2 + length];
            let Some(mut named) = named_class(name.trim_start_matches('^')) else {
                return self.fail("there is no named class of this name");
            };
            if name.starts_with('^') {
                named.negate();
            }
            self.at += length + 4;
            ranges.union(&named);
            return Ok(());
        }
        if self.peek() == Some('\\')
            && let Some((mut named, negated)) = self.perl_class()
        {
            if negated {
                named.negate();
            }
            ranges.union(&named);
            return Ok(());
        }
        let start = self.at;
        let low = self.class_byte()?;
        let mut high = low;
        if self.starts("-") && !self.starts("-]") && self.at + 1 < self.text.len() {
            self.at += 1;
            high = self.class_byte()?;
        }
        if high < low {
            return fail(start, "this range ends before it begins");
        }
        ranges.push(ClassBytesRange::new(low, high));
        Ok(())
    }

    fn class_byte(&mut self) -> Result<u8> {
        match self.peek() {
            Some('\\') => self.escaped_byte(),
            Some('\0') => self.fail("a field never has a NUL in it"),
            Some(next) if next.is_ascii() => {
                self.at += 1;
                Ok(next as u8)
            }
            Some(_) => {
                self.fail("characters outside ASCII never come in a field; expect them percent-encoded")
            }
            None => self.fail("the class ends in the middle of a range"),
        }
    }

    /// `\d`, `\s`, `\w`, or the complement of one (`\D`, `\S`, `\W`).
    pub(super) fn perl_class(&mut self) -> Option<(ClassBytes, bool)> {
        let kind = *self.text.as_bytes().get(self.at + 1)?;
        let name = match kind.to_ascii_lowercase() {
            b'd' => "digit",
            b's' => "perl-space",
            b'w' => "word",
            _ => return None,
        };
        self.at += 2;
        Some((named_class(name)?, kind.is_ascii_uppercase()))
    }
}

/// The named classes, with RE2's ranges.
fn named_class(name: &str) -> Option<ClassBytes> {
    let ranges: &[(u8, u8)] = match name {
        "alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        "alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        "ascii" => &[(0, 0x7f)],
        "blank" => &[(b'\t', b'\t'), (b' ', b' ')],
        "cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
        "digit" => &[(b'0', b'9')],
        "graph" => &[(b'!', b'~')],
        "lower" => &[(b'a', b'z')],
        "perl-space" => &[(b'\t', b'\n'), (0x0c, b'\r'), (b' ', b' ')],
        "print" => &[(b' ', b'~')],
        "punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        "space" => &[(b'\t', b'\r'), (b' ', b' ')],
        "upper" => &[(b'A', b'Z')],
        "word" => &[(b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')],
        "xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    };
    Some(ClassBytes::new(ranges.iter().map(|&(low, high)| ClassBytesRange::new(low, high))))
}
