//! Indexes of selectors by labels, and of labels by selectors: a lookup evaluates only candidates.

mod buckets;
mod labels;
mod selectors;
mod small_set;

pub use labels::LabelIndex;
pub use selectors::SelectorIndex;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use crate::label::{Labels, Source};
    use crate::selector::{Operator, Selector};
    use std::cell::RefCell;

    fn labels(namespace: &str, own: &[(&str, &str)]) -> Labels {
        Labels::of_workload(namespace, [], own.iter().copied())
    }

    /// Selectors of every operator, with and without a namespace, for one key or two.
    fn selectors() -> Vec<Selector> {
        let some = || ["a".to_owned(), "b".to_owned()].into();
        let operators = || {
            let equal = ["a", "b"].map(Operator::equals);
            equal.into_iter().chain([
                Operator::In(some()),
                Operator::NotIn(some()),
                Operator::Exists,
                Operator::DoesNotExist,
            ])
        };
        let namespaces = || {
            let within = ["x", "y"].map(Operator::equals).into_iter();
            let others = [
                Operator::In(["x".to_owned(), "y".to_owned()].into()),
                Operator::Exists,
                Operator::DoesNotExist,
            ];
            let with = |operator| Selector::default().with(None, key::NAMESPACE, operator);
            std::iter::once(Selector::default()).chain(within.chain(others).map(with))
        };
        let mut selectors: Vec<Selector> = namespaces().collect();
        for namespace in namespaces() {
            for operator in operators() {
                let one = namespace.clone().with(None, "app", operator);
                selectors
                    .extend(operators().map(|operator| one.clone().with(Some(Source::K8s), "env", operator)));
                selectors.push(one);
            }
        }
        selectors
    }

    fn sets_of_labels() -> Vec<Labels> {
        let mut of_two_sources = labels("x", &[("app", "a")]);
        of_two_sources.insert(Source::Other("vm".into()), "app", "b");
        of_two_sources.insert(Source::Other("vm".into()), "env", "b");
        let mut sets = vec![Labels::default(), Labels::reserved("host"), of_two_sources];
        for namespace in ["x", "y", "z"] {
            for app in ["a", "b", "c"] {
                sets.push(labels(namespace, &[("app", app)]));
                sets.extend(["a", "b", "c"].map(|env| labels(namespace, &[("app", app), ("env", env)])));
            }
        }
        sets
    }

    #[test]
    fn exactly_the_matching_selectors_are_found() {
        let (selectors, sets) = (selectors(), sets_of_labels());
        let mut index = SelectorIndex::new();
        for (number, selector) in selectors.iter().enumerate() {
            index.insert(selector, number);
        }
        for labels in &sets {
            let found = index.selecting(labels, |number| selectors[*number].selects(labels));
            let all = (0..selectors.len()).filter(|number| selectors[*number].selects(labels));
            assert_eq!(found.into_iter().copied().collect::<Vec<_>>(), all.collect::<Vec<_>>(), "{labels}");
        }
        for (number, selector) in selectors.iter().enumerate() {
            index.remove(selector, &number);
        }
        assert!(index.is_empty(), "no bucket is left");
    }

    #[test]
    fn no_selected_member_is_missed() {
        let (selectors, sets) = (selectors(), sets_of_labels());
        let mut index = LabelIndex::new();
        for (number, labels) in sets.iter().enumerate() {
            index.insert(labels, number);
        }
        for selector in &selectors {
            let Some(found) = index.candidates(selector) else { continue };
            for (number, labels) in sets.iter().enumerate() {
                assert!(!selector.selects(labels) || found.contains(&number), "{selector} selects {labels}");
            }
        }
        for (number, labels) in sets.iter().enumerate() {
            index.remove(labels, number);
        }
        assert!(index.is_empty(), "no bucket is left");
    }

    #[test]
    fn only_selectors_with_the_labels_are_evaluated() {
        let mut index = SelectorIndex::new();
        for number in 0..100_u32 {
            let crowded = Selector::default().with(None, "part-of", Operator::equals("shop"));
            index.insert(&crowded.with(None, "app", Operator::equals(number.to_string())), number);
        }
        let asked = RefCell::new(Vec::new());
        let ask = |number: &u32| {
            asked.borrow_mut().push(*number);
            *number == 7
        };
        let found = index.selecting(&labels("x", &[("part-of", "shop"), ("app", "7")]), ask);
        assert_eq!(found, [&7]);
        assert!(asked.borrow().len() <= 2 && asked.borrow().contains(&7), "{asked:?}");
    }

    #[test]
    fn a_selector_that_its_bucket_implies_is_not_evaluated() {
        let mut index = SelectorIndex::new();
        let within = Selector::default().with(Some(Source::K8s), key::NAMESPACE, Operator::equals("x"));
        index.insert(&within, 1);
        index.insert(&within.clone().with(None, "app", Operator::equals("a")), 2);
        index.insert(&within.with(None, "app", Operator::Exists), 3);
        index.insert(&Selector::default(), 4);
        let found = index.selecting(&labels("x", &[("app", "a")]), |_| unreachable!("its bucket implies it"));
        assert_eq!(found, [&1, &2, &3, &4]);
    }

    #[test]
    fn only_members_with_the_rarest_label_are_candidates() {
        let mut index = LabelIndex::new();
        for number in 0..100_u32 {
            index.insert(&labels("x", &[("part-of", "shop"), ("app", &number.to_string())]), number);
        }
        let one = Selector::default().with(None, "part-of", Operator::Exists).with(
            None,
            "app",
            Operator::equals("7"),
        );
        assert_eq!(index.candidates(&one), Some(vec![7]));
        assert_eq!(index.candidates(&Selector::default().with(None, "app", Operator::DoesNotExist)), None);
    }
}
