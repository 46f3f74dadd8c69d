//! The part of ARCHITECTURE.md that comes from the crates themselves: their table, and the drawing of their arrows.

use crate::tree::{Crate, Knows};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The file that holds the part.
pub(crate) const FILE: &str = "ARCHITECTURE.md";

const BEGIN: &str = "<!-- crates: `cargo xtask architecture` writes what follows -->\n";
const END: &str = "<!-- /crates -->\n";

/// The text of the file with the part written from the crates; none where the file lacks the marks of the part.
pub(crate) fn rewritten(text: &str, crates: &[Crate]) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let crates = ordered(crates);
    Some(format!("{before}{BEGIN}\n{}\n{}\n{END}{after}", table(&crates), drawing(&crates)))
}

/// The crates by ring; within a ring, a crate follows the crates that it knows.
fn ordered(crates: &[Crate]) -> Vec<Crate> {
    let mut ordered = crates.to_vec();
    ordered.sort_by_key(|one| (one.ring.unwrap_or(u64::MAX), reached(one, crates).len(), one.name.clone()));
    ordered
}

/// The names of the crates that a crate is built from, directly or through others.
fn reached<'a>(of: &Crate, crates: &'a [Crate]) -> BTreeSet<&'a str> {
    let direct: Vec<&Crate> = of.known(crates).collect();
    let through = direct.iter().flat_map(|known| reached(known, crates));
    through.chain(direct.iter().map(|known| known.name.as_str())).collect()
}

fn table(crates: &[Crate]) -> String {
    let mut table = "| ring | crate | what it is for | knows | code |\n|---|---|---|---|---|\n".to_owned();
    for one in crates {
        let ring = one.ring.map(|ring| ring.to_string()).unwrap_or_default();
        let knows = match one.knows {
            Some(Knows::All) => "all".to_owned(),
            _ => one.known(crates).map(|known| format!("`{}`", known.name)).collect::<Vec<_>>().join(" "),
        };
        let purpose = one.description.as_deref().unwrap_or_default();
        let code = match one.is_pure {
            _ if one.reason_for_unsafe.is_some() => "unsafe",
            true => "pure",
            false => "",
        };
        table +=
            &format!("| {ring} | `{}` | {purpose} | {knows} | {code} |\n", one.name).replace("  |", " |");
    }
    table
}

/// A Mermaid drawing. An arrow that follows from two others is left out.
fn drawing(crates: &[Crate]) -> String {
    let mut drawing = "```mermaid\nflowchart TD\n".to_owned();
    let rings: BTreeSet<_> = crates.iter().filter_map(|one| one.ring).collect();
    for ring in rings.into_iter().rev() {
        let own = crates.iter().filter(|one| one.ring == Some(ring));
        let names: Vec<_> = own.map(|one| one.name.as_str()).collect();
        writeln!(drawing, "  subgraph ring{ring}[\"ring {ring}\"]\n    {}\n  end", names.join("\n    "))
            .expect("a write to a string cannot fail");
    }
    for one in crates {
        let known: Vec<&Crate> = one.known(crates).collect();
        let further: BTreeSet<&str> = known.iter().flat_map(|known| reached(known, crates)).collect();
        for known in known.iter().filter(|known| !further.contains(known.name.as_str())) {
            writeln!(drawing, "  {} --> {}", one.name, known.name).expect("a write to a string cannot fail");
        }
    }
    drawing + "```\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, ring: Option<u64>, known: &[&str]) -> Crate {
        Crate {
            name: name.into(),
            description: Some(format!("Is {name}.")),
            dependencies: known.iter().map(|name| format!("nexin-{name}")).collect(),
            ring,
            knows: Some(Knows::Only(vec![])),
            ..Crate::default()
        }
    }

    #[test]
    fn the_part_between_the_marks_is_written_anew() {
        let crates = [
            Crate { knows: Some(Knows::All), ..named("agent", Some(2), &["policy", "abi"]) },
            named("policy", Some(1), &["abi"]),
            Crate { is_pure: true, ..named("abi", Some(1), &[]) },
            named("xtask", None, &[]),
        ];
        let text = format!("# Before\n{BEGIN}old\n{END}After\n");
        let part = "\n\
            | ring | crate | what it is for | knows | code |\n|---|---|---|---|---|\n\
            | 1 | `abi` | Is abi. | | pure |\n\
            | 1 | `policy` | Is policy. | `abi` | |\n\
            | 2 | `agent` | Is agent. | all | |\n\
            | | `xtask` | Is xtask. | | |\n\n\
            ```mermaid\nflowchart TD\n\
            \x20 subgraph ring2[\"ring 2\"]\n    agent\n  end\n\
            \x20 subgraph ring1[\"ring 1\"]\n    abi\n    policy\n  end\n\
            \x20 policy --> abi\n  agent --> policy\n```\n\n";
        let written = rewritten(&text, &crates).unwrap();
        assert_eq!(written, format!("# Before\n{BEGIN}{part}{END}After\n"));
        assert_eq!(rewritten(&written, &crates), Some(written));
        assert_eq!(rewritten("# No marks\n", &crates), None);
    }
}
