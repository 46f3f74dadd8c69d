//! A matcher that was updated from an earlier one gives the same results as one that was compiled anew.

use l7::rule::HeaderRule;
use l7::{Field, HttpRule, Matcher, RequestView};
use std::collections::BTreeSet;

/// Deterministic numbers below a limit.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    fn rule(&mut self) -> HttpRule {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (one, two) = (self.pick(&["a", "b", "ab", "a*", "[ab]", ".*", "a|b", "(a|ab)"]), self.below(12));
        let path = match self.below(8) {
            0 => String::new(),
            1 => format!("/{one}.*"),
            2 => format!("/{one}/{two}(/.*)?"),
            _ => format!("/{one}/{two}"),
        };
        let name = self.pick(&["", "", "", "X-A", "x-b"]).to_owned();
        let value = given(self.pick(&["", "1", "2"]));
        HttpRule {
            method: given(self.pick(&["", "GET", "PUT|POST", "P.*"])),
            path: given(&path),
            host: given(self.pick(&["", "", "", "svc", "s?v.*", ".*"])),
            headers: if name.is_empty() { Vec::new() } else { vec![HeaderRule { name, value }] },
        }
    }

    fn rules(&mut self, count: usize) -> BTreeSet<HttpRule> {
        (0..count).map(|_| self.rule()).collect()
    }

    /// Removes and adds some rules.
    fn edit(&mut self, rules: &mut BTreeSet<HttpRule>) {
        for _ in 0..self.below(4) {
            let place = self.below(rules.len().max(1));
            if let Some(rule) = rules.iter().nth(place).cloned() {
                rules.remove(&rule);
            }
        }
        for _ in 0..self.below(4) {
            let rule = self.rule();
            rules.insert(rule);
        }
    }
}

/// Asserts that two matchers agree on random requests.
fn compare(updated: &Matcher, anew: &Matcher, numbers: &mut Numbers) {
    for _ in 0..40 {
        let path = format!(
            "/{}/{}{}",
            numbers.pick(&["a", "b", "ab", "aa", ""]),
            numbers.below(12),
            numbers.pick(&["", "", "/x"])
        );
        let names = ["X-A", "X-B", "x_a", "X-Method-Override"];
        let field = Field { name: numbers.pick(&names), value: numbers.pick(&["1", "2", "3"]).as_bytes() };
        let headers = [field];
        let request = RequestView {
            method: numbers.pick(&["GET", "PUT", "POST", "PATCH"]),
            path: &path,
            host: numbers.pick(&["svc", "sv", "x", ""]),
            headers: &headers[..numbers.below(2)],
        };
        assert_eq!(updated.decide(&request), anew.decide(&request), "{request:?}");
        assert_eq!(updated.ambiguity(&request), anew.ambiguity(&request), "{request:?}");
    }
}

#[test]
fn updates_decide_as_compiling_anew_does() {
    let (mut updates, mut numbers) = (0, Numbers(1));
    for _ in 0..40 {
        let size = numbers.below(150);
        let mut rules = numbers.rules(size);
        let list = |rules: &BTreeSet<HttpRule>| rules.iter().cloned().collect::<Vec<_>>();
        let mut matcher = Matcher::new(&list(&rules)).expect("compiles");
        for _ in 0..12 {
            numbers.edit(&mut rules);
            let anew = Matcher::new(&list(&rules)).expect("compiles");
            match matcher.updated(&list(&rules)) {
                Some(updated) => {
                    compare(&updated, &anew, &mut numbers);
                    updates += 1;
                    matcher = updated;
                }
                None => {
                    assert!(matcher.is_worn(), "an update gives up only after many changes");
                    matcher = anew;
                }
            }
        }
    }
    assert!(updates > 300, "{updates}");
}

fn path(text: impl Into<String>) -> HttpRule {
    HttpRule { path: Some(text.into()), ..HttpRule::default() }
}

#[test]
fn a_matcher_of_other_rules_is_not_updated() {
    let rules = |first: usize, count: usize| (first..first + count).map(|n| path(format!("/{n:05}")));
    let known: Vec<_> = rules(0, 2000).collect();
    let matcher = Matcher::new(&known).expect("compiles");
    assert!(matcher.updated(&rules(100, 2000).collect::<Vec<_>>()).is_none(), "too many differ");
    assert!(matcher.updated(&rules(0, 1800).collect::<Vec<_>>()).is_none(), "too many are removed");
    assert!(matcher.updated(&rules(50, 2000).collect::<Vec<_>>()).is_some());
    let mut unsorted = known.clone();
    unsorted.swap(3, 4);
    assert!(matcher.updated(&unsorted).is_none(), "the list is not sorted");
    let mut twice = known.clone();
    twice.insert(4, known[4].clone());
    assert!(matcher.updated(&twice).is_none(), "a rule is there twice");
    assert!(
        Matcher::new(&unsorted).expect("compiles").updated(&known).is_none(),
        "the known list is not sorted"
    );
}

/// The limits are those of the whole set: an update gives up where it could exceed them.
#[test]
fn an_update_keeps_the_limits_of_the_whole_set() {
    let large = |n: usize| path(format!("/{n:03}/[a-z]{{1000}}[0-9]{{1000}}"));
    let known: Vec<_> = (0..40).map(large).collect();
    let matcher = Matcher::new(&known).expect("compiles");
    let all: Vec<_> = (0..50).map(large).collect();
    assert!(matcher.updated(&all).is_none() && Matcher::new(&all).is_err());
    let invalid: Vec<_> = known.iter().cloned().chain([path("/a(b")]).collect();
    assert!(matcher.updated(&invalid).is_none());
    // Removed rules still cost time, so few of the rules that differ may have many active positions.
    let wide = |n: usize| path(format!("/{n:03}/.*a.{{300}}x"));
    let known: Vec<_> = (0..2).map(wide).collect();
    assert!(Matcher::new(&known).expect("compiles").updated(&[wide(2), wide(3)]).is_none());
}

#[test]
fn a_matcher_wears_out_before_an_update_gives_up() {
    let mut rules: BTreeSet<_> = (0..1000).map(|n| path(format!("/{n}"))).collect();
    let mut matcher = Matcher::new(&rules.iter().cloned().collect::<Vec<_>>()).expect("compiles");
    let mut changes_when_worn = None;
    for change in 1.. {
        rules.pop_first();
        rules.insert(path(format!("/new/{change}")));
        let Some(updated) = matcher.updated(&rules.iter().cloned().collect::<Vec<_>>()) else {
            assert_eq!((changes_when_worn, change), (Some(16), 32));
            return;
        };
        matcher = updated;
        if matcher.is_worn() {
            changes_when_worn.get_or_insert(change);
        }
    }
}
