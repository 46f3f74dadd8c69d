//! Reduces a test to the smallest that still shows a difference.

use serde_json::Value;

/// The path of a part of a value.
type Path = Vec<PathStep>;

#[derive(Clone, Debug)]
enum PathStep {
    Field(String),
    Item(usize),
}

/// Removes fields and items one after another, large ones first, as long as the value still shows the difference.
pub(super) fn smallest(value: &Value, mut shows: impl FnMut(&Value) -> bool) -> Value {
    let mut smallest = value.clone();
    loop {
        let (mut at, mut progressed) = (0, false);
        let mut paths = parts(&smallest);
        while let Some(path) = paths.get(at) {
            let smaller = without(&smallest, path);
            if shows(&smaller) {
                smallest = smaller;
                progressed = true;
                paths = parts(&smallest);
            } else {
                at += 1;
            }
        }
        if !progressed {
            return smallest;
        }
    }
}

/// Every part of a value, each before the parts in it.
fn parts(value: &Value) -> Vec<Path> {
    let mut level: Vec<(Path, &Value)> = vec![(Vec::new(), value)];
    let mut all = Vec::new();
    while !level.is_empty() {
        let mut next = Vec::new();
        for (path, value) in level {
            let under = |step: PathStep| path.iter().cloned().chain([step]).collect::<Path>();
            match value {
                Value::Array(items) => {
                    next.extend(items.iter().enumerate().map(|(at, item)| (under(PathStep::Item(at)), item)));
                }
                Value::Object(fields) => {
                    next.extend(
                        fields.iter().map(|(name, item)| (under(PathStep::Field(name.clone())), item)),
                    );
                }
                _ => {}
            }
        }
        all.extend(next.iter().map(|(path, _)| path.clone()));
        level = next;
    }
    all
}

fn without(value: &Value, path: &[PathStep]) -> Value {
    let mut smaller = value.clone();
    let Some((last, path)) = path.split_last() else { return smaller };
    let parent = path.iter().fold(&mut smaller, |value, step| match step {
        PathStep::Field(name) => &mut value[name.as_str()],
        PathStep::Item(at) => &mut value[*at],
    });
    match (last, parent) {
        (PathStep::Field(name), Value::Object(fields)) => drop(fields.remove(name)),
        (PathStep::Item(at), Value::Array(items)) => drop(items.remove(*at)),
        _ => unreachable!("the path leads to a part of the value"),
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let given = json!({"a": [1, {"b": 2, "c": [3, 4]}, 5], "d": {"e": 6}});
        let small = smallest(&given, |value| value.to_string().contains('4'));
        assert_eq!(small, json!({"a": [{"c": [4]}]}));
    }

    #[test]
    fn what_shows_nothing_smaller_stays() {
        let given = json!({"a": [1, 2]});
        assert_eq!(smallest(&given, |value| *value == given), given);
    }
}
