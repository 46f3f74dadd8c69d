//! Objects that were put in force through the API: one file for each, so that each can be taken out by name.

use crate::agent::Agent;
use crate::objects::{ObjectName, Objects, parse};
use crate::paths::Paths;
use crate::state::replace;
use anyhow::anyhow;
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
    let mut names = Vec::new();
    let mut changes = Vec::new();
    let mut objects = agent.objects.clone();
    for (name, object) in parse(file, text).map_err(invalid)? {
        changes.extend(objects.put(&source(&name), name.clone(), object).map_err(invalid)?);
        names.push(name);
    }
    agent.put_in_force(objects, changes).map_err(super::internal)?;
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
    let mut objects = agent.objects.clone();
    let changes = sources.iter().flat_map(|(_, file)| objects.forget(file)).collect();
    agent.put_in_force(objects, changes).map_err(super::internal)?;
    for (name, _) in &sources {
        let _ = fs::remove_file(path(agent, name));
    }
    agent.remember().map_err(super::internal)?;
    Ok(sources.iter().map(|(name, _)| name.to_string()).collect())
}

/// Reads what was applied before a restart.
pub(crate) fn recall(paths: &Paths, objects: &mut Objects) -> anyhow::Result<Vec<Change>> {
    let directory = paths.applied();
    fs::create_dir_all(&directory)?;
    let mut changes = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let refused = |messages: Vec<String>| {
            anyhow!("{} was in force and cannot be read any more: {}", path.display(), messages.join("; "))
        };
        let stored: Stored = serde_json::from_slice(&fs::read(&path)?)?;
        let described = parse(&stored.file, &stored.text).map_err(refused)?;
        for (name, object) in described.into_iter().filter(|(name, _)| name.to_string() == stored.name) {
            changes.extend(objects.put(&source(&name), name, object).map_err(refused)?);
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
