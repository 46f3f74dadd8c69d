//! "Did you mean": the known name that is most similar to an unknown one.

/// The most similar of the names, if it is similar enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wrong.chars().count();
    // Longer words are no misspelt names; comparing them would only take time.
    if length > 100 {
        return None;
    }
    names
        .into_iter()
        .map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len().max(length) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `, did you mean `x`?`, or an empty text.
pub(crate) fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, names).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

/// The number of letters to add, drop, change, or swap with the next (optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for row in 1..=from.len() {
        let mut line = vec![row];
        for column in 1..=to.len() {
            let changed = above[column - 1] + usize::from(from[row - 1] != to[column - 1]);
            let mut least = changed.min(above[column] + 1).min(line[column - 1] + 1);
            if row > 1 && column > 1 && from[row - 2..row] == [to[column - 1], to[column - 2]] {
                least = least.min(before[column - 2] + 1);
            }
            line.push(least);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found_or_none() {
        let names = ["endpointSelector", "ingress", "egress", "fromEndpoints"];
        let check = |wrong, expected| assert_eq!(nearest(wrong, names), expected, "{wrong}");
        check("endpontSelector", Some("endpointSelector"));
        check("EndpointSelector", Some("endpointSelector"));
        check("ingres", Some("ingress"));
        check("igness", Some("ingress"));
        check("ergess", Some("egress"));
        check("toServices", None);
        check("", None);
    }
}
