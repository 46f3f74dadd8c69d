//! Objects that were put in force through the API: written down first, put in force then, or neither.

use crate::agent::Agent;
use crate::journal::{self, Applied, PendingEntry};
use crate::objects::{Named, ObjectName, Objects, parse};
use anyhow::anyhow;
use api::{Cause, Failure};
use control::Change;
use std::collections::BTreeSet;

/// Puts everything that a text describes in force, or nothing.
pub(crate) fn apply(agent: &mut Agent, file: &str, text: &str) -> Result<Vec<String>, Failure> {
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let described = parse(file, text).map_err(invalid)?;
    let names: Vec<String> = described.iter().map(|(name, _)| name.to_string()).collect();
    let mut objects = agent.objects.clone();
    let changes = objects.put(with_sources(described)).map_err(invalid)?;
    let set: BTreeSet<String> = names.iter().cloned().collect();
    let pending = agent.journal.put(file, text, set.clone()).map_err(super::internal)?;
    carry_out(agent, objects, changes, &pending)?;
    agent.journal.commit(pending, set, true);
    Ok(names)
}

/// Takes objects out of force by name, all or none.
pub(crate) fn delete(agent: &mut Agent, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut sources = Vec::new();
    for name in names {
        match agent.objects.source_of_named(name) {
            Some((found, file)) if file == source(&found) => sources.push(file),
            Some((_, file)) => {
                return Err(Failure::new(
                    Cause::Conflict,
                    format!("{name} is described in {file}; remove it there"),
                ));
            }
            None => {
                return Err(Failure::new(
                    Cause::NotFound,
                    format!(
                        "{name} is not in force; name it as `nexin policy list` does, Kind/namespace/name"
                    ),
                ));
            }
        }
    }
    let mut objects = agent.objects.clone();
    let changes = sources.iter().flat_map(|file| objects.forget(file)).collect();
    let set: BTreeSet<String> = names.iter().cloned().collect();
    let pending = agent.journal.remove(set.clone()).map_err(super::internal)?;
    carry_out(agent, objects, changes, &pending)?;
    agent.journal.commit(pending, set, false);
    Ok(names.to_vec())
}

/// Makes what was written down take effect, or takes it back.
fn carry_out(
    agent: &mut Agent,
    objects: Objects,
    changes: Vec<Change>,
    pending: &PendingEntry,
) -> Result<(), Failure> {
    let Err(error) = agent.put_in_force_for_good(objects, changes) else { return Ok(()) };
    let rolled_back = agent.journal.roll_back(pending);
    agent.problems.note("what was applied", rolled_back.map_err(|error| api::sentence(error.as_ref())));
    Err(super::internal(error))
}

/// What was applied before a restart, as changes.
pub(crate) fn recall(applied: &[Applied], objects: &mut Objects) -> anyhow::Result<Vec<Change>> {
    let mut described = Vec::new();
    for Applied { place, file, text, names } in applied {
        let refused = |messages: Vec<String>| {
            anyhow!("{}", journal::damaged(place, &format!("cannot be read: {}", messages.join("; "))))
        };
        let mut all = parse(file, text).map_err(refused)?;
        all.retain(|(name, _)| names.contains(&name.to_string()));
        if let Some(lost) = names.iter().find(|lost| !all.iter().any(|(name, _)| name.to_string() == **lost))
        {
            return Err(refused(vec![format!("there is no {lost} in it")]));
        }
        described.extend(all);
    }
    objects
        .put(with_sources(described))
        .map_err(|messages| anyhow!("what was applied: {}", messages.join("; ")))
}

fn with_sources(described: Vec<Named>) -> Vec<(String, Named)> {
    described.into_iter().map(|named| (source(&named.0), named)).collect()
}

/// What stands for a file where an object was applied.
fn source(name: &ObjectName) -> String {
    format!("{SOURCE}{name}")
}

/// Whether a name stands for an object that was applied, not for a file.
pub(crate) fn is_source(file: &str) -> bool {
    file.starts_with(SOURCE)
}

/// What names begin with that stand for objects that were applied; paths of files begin otherwise.
const SOURCE: &str = "applied:";
