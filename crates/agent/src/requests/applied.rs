//! Objects that were put in force through the API: one file for each, so that each can be taken out by name.

use crate::agent::Agent;
use crate::objects::ObjectName;
use crate::state::replace;
use api::{Cause, Failure};
use control::Change;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// An object as it is kept: its name, and the text that describes it (with others, perhaps).
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    file: String,
    name: String,
    text: String,
}

/// Puts everything that a text describes in force, or nothing.
pub(crate) fn apply(agent: &mut Agent, file: &str, text: &str) -> Result<Vec<String>, Failure> {
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let objects = agent.objects.parse(file, text).map_err(invalid)?;
    let mut names = Vec::new();
    let mut changes = Vec::new();
    let before = agent.objects.clone();
    for (name, object) in objects {
        changes.extend(agent.objects.put(&source(&name), name.clone(), object).map_err(invalid)?);
        names.push(name);
    }
    let in_force = agent.with_addresses(changes).and_then(|changes| agent.kernel.apply(changes));
    if let Err(error) = in_force {
        agent.objects = before;
        return Err(super::internal(error));
    }
    let mut answer = Vec::new();
    for name in names {
        let stored = Stored { file: file.into(), name: name.to_string(), text: text.into() };
        store(agent, &name, &stored).map_err(super::internal)?;
        answer.push(name.to_string());
    }
    agent.remember().map_err(super::internal)?;
    Ok(answer)
}

/// Takes objects out of force by name, all or none.
pub(crate) fn delete(agent: &mut Agent, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut sources = Vec::new();
    for name in names {
        match agent.objects.source_of_named(name) {
            Some((found, file)) if file == source(&found) => sources.push((found, file)),
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
    let changes: Vec<Change> = sources.iter().flat_map(|(_, file)| agent.objects.forget(file)).collect();
    let changes = agent.with_addresses(changes).map_err(super::internal)?;
    agent.kernel.apply(changes).map_err(super::internal)?;
    for (name, _) in &sources {
        let _ = fs::remove_file(path(agent, name));
    }
    agent.remember().map_err(super::internal)?;
    Ok(sources.iter().map(|(name, _)| name.to_string()).collect())
}

/// Reads what was applied before a restart.
pub(crate) fn recall(agent: &mut Agent) -> anyhow::Result<Vec<Change>> {
    let directory = agent.paths.applied();
    fs::create_dir_all(&directory)?;
    let mut changes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let stored: Stored = serde_json::from_slice(&fs::read(&path)?)?;
        match agent.objects.parse(&stored.file, &stored.text) {
            Ok(objects) => {
                for (name, object) in objects.into_iter().filter(|(name, _)| name.to_string() == stored.name)
                {
                    if let Ok(put) = agent.objects.put(&source(&name), name, object) {
                        changes.extend(agent.with_addresses(put)?);
                    }
                }
            }
            Err(messages) => tracing::error!(?messages, "what was applied cannot be read any more"),
        }
    }
    Ok(changes)
}

fn store(agent: &Agent, name: &ObjectName, stored: &Stored) -> anyhow::Result<()> {
    Ok(replace(&path(agent, name), &serde_json::to_vec(stored)?)?)
}

fn path(agent: &Agent, name: &ObjectName) -> PathBuf {
    agent.paths.applied().join(format!("{}.json", name.to_string().replace('/', ".")))
}

/// What stands for a file where an object was applied.
fn source(name: &ObjectName) -> String {
    format!("applied:{name}")
}
