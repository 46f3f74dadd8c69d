//! Finding selectors by labels and labels by selectors, without asking each whether it selects the other.

mod labels;
mod members;
mod places;
mod selectors;

pub use labels::LabelIndex;
pub use selectors::SelectorIndex;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Labels, Source, key};
    use crate::selector::{Operator, Selector};

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
        let mut sets = vec![Labels::default(), Labels::reserved("host")];
        for namespace in ["x", "y", "z"] {
            for app in ["a", "b", "c"] {
                sets.push(labels(namespace, &[("app", app)]));
                sets.extend(["a", "b", "c"].map(|env| labels(namespace, &[("app", app), ("env", env)])));
            }
        }
        sets
    }

    #[test]
    fn no_selector_that_selects_is_missed() {
        let (selectors, sets) = (selectors(), sets_of_labels());
        let mut index = SelectorIndex::new();
        for (number, selector) in selectors.iter().enumerate() {
            index.insert(selector, number);
        }
        for labels in &sets {
            let found = index.candidates(labels);
            for (number, selector) in selectors.iter().enumerate() {
                assert!(!selector.selects(labels) || found.contains(&&number), "{selector} selects {labels}");
            }
        }
        for (number, selector) in selectors.iter().enumerate() {
            index.remove(selector, &number);
        }
        assert!(index.is_empty(), "nothing stays behind");
    }

    #[test]
    fn no_member_that_is_selected_is_missed() {
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
        assert!(index.is_empty(), "nothing stays behind");
    }

    #[test]
    fn only_selectors_under_its_own_labels_are_asked() {
        let mut index = SelectorIndex::new();
        for number in 0..100_u32 {
            let crowded = Selector::default().with(None, "part-of", Operator::equals("shop"));
            index.insert(&crowded.with(None, "app", Operator::equals(number.to_string())), number);
        }
        let found = index.candidates(&labels("x", &[("part-of", "shop"), ("app", "7")]));
        assert!(found.len() <= 2 && found.contains(&&7), "{found:?}");
    }

    #[test]
    fn only_members_with_the_rarest_label_are_asked() {
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
