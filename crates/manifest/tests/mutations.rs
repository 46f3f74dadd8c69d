//! Broken files never break the reader: every prefix, and thousands of random changes, of files that are right.

const FILES: [&str; 4] = [
    include_str!("tutorial/demo.yaml"),
    include_str!("tutorial/rule1-v1.yaml"),
    include_str!("tutorial/tutorial.test.yaml"),
    include_str!("mutations.yaml"),
];

/// What a change puts in: characters with a meaning in YAML, and words with a meaning here.
const PIECES: [&str; 24] = [
    "{", "}", "[", "]", ":", ",", "-", "*a", "&a ", "!", "|", ">", "'", "\"", "#", "\t", "\n", "null", "{}",
    "[]", "65536", "é", "---\n", "<<: ",
];

/// Reads a file in every way there is; the results count only where both agree with themselves.
fn read(text: &str) {
    let first = manifest::parse("file.yaml", text);
    assert_eq!(first, manifest::parse("file.yaml", text));
    let mut load = |_: &str| Ok(text.to_owned());
    let tests = manifest::test::parse("file.yaml", text, &mut load);
    if let Err(findings) = &tests {
        assert!(!findings.is_empty(), "refused without a reason:\n{text}");
    }
}

#[test]
fn every_prefix() {
    for file in FILES {
        for (end, _) in file.char_indices() {
            read(&file[..end]);
        }
    }
}

#[test]
fn random_changes() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..4000 {
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
