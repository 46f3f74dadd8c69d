//! What was in force before the agent started: applied manifests, and the last valid texts of policy files.

use crate::config::AgentConfig;
use crate::files::{self, DamagedCopy, Reading};
use crate::journal::{self, Applied, Journal};
use crate::objects::{FileState, FileStates, Objects, parse_described, with_applied_sources};
use crate::storage;
use anyhow::{Context, anyhow};
use control::Change;
use std::collections::BTreeMap;

/// What to do where the last valid text of a file is lost.
const ADVICE: &str = "restore the copy, or correct every file of the policy directory, and start the agent again; the \
                      policies that were in force stay in force meanwhile";

/// Reads the objects that were in force into `objects`; the changes lead from no object to these.
///
/// # Errors
/// They cannot be determined. The agent must not start then: the maps of the earlier agent stay in force.
pub(crate) fn recall(
    config: &AgentConfig,
    (journal, applied): (&mut Journal, &[Applied]),
    (copies, damaged): (&BTreeMap<String, String>, &[DamagedCopy]),
    objects: &mut Objects,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = recall_applied(journal, applied, objects)?;
    if copies.is_empty() && damaged.is_empty() {
        // A missing directory is created only where no policy in force came from it.
        if let Err(error) = storage::make_directory(&config.policies) {
            let directory = config.policies.display();
            tracing::error!(%error, %directory, "the policy directory cannot be created");
        }
        return Ok(changes);
    }
    let states = copies.iter().map(|(file, text)| (file.clone(), FileState::parse(file, text)));
    changes.extend(update(objects, states.collect()));
    let mut unknown = objects.problems();
    unknown.extend(
        damaged.iter().map(|DamagedCopy { copy, why }| format!("{} is damaged: {why}", copy.display())),
    );
    if unknown.is_empty() {
        return Ok(changes);
    }
    // The copies are not needed if every file is valid: the files would replace them at once.
    let unknown = unknown.join("; ");
    let now = files::read_once(&config.policies)
        .with_context(|| format!("{unknown}. The policy directory cannot be read either; {ADVICE}"))?;
    let deleted = objects.files().filter(|file| !now.contains_key(*file));
    let mut states: FileStates = deleted.map(|file| (file.to_owned(), FileState::Deleted)).collect();
    states.extend(now.iter().map(|(file, reading)| (file.clone(), reading.state(file))));
    changes.extend(update(objects, states));
    let mut invalid = objects.problems();
    let unfinished = now.iter().filter(|(_, reading)| **reading == Reading::Unfinished);
    invalid.extend(unfinished.map(|(file, _)| format!("{file} is open for writing")));
    anyhow::ensure!(
        invalid.is_empty(),
        "{unknown}. Not every file is valid either: {}; {ADVICE}",
        invalid.join("; ")
    );
    tracing::warn!("{unknown}. The copy is not needed, since every file of the policy directory is valid");
    Ok(changes)
}

/// Changes the objects by the states of files; returns what the world must change.
fn update(objects: &mut Objects, states: FileStates) -> Vec<Change> {
    let mut update = objects.update(states);
    let changes = update.take();
    objects.commit(update);
    changes
}

/// Reads the manifests that clients applied.
fn recall_applied(
    journal: &mut Journal,
    applied: &[Applied],
    objects: &mut Objects,
) -> anyhow::Result<Vec<Change>> {
    let mut described = Vec::with_capacity(applied.len());
    for Applied { place, file, text, names } in applied {
        let refused = |messages: Vec<String>| {
            anyhow!("{}", journal::damaged(place, &format!("cannot be read: {}", messages.join("; "))))
        };
        let mut missing = names.clone();
        let found = parse_described(file, text).map_err(refused)?.objects;
        described.extend(found.into_iter().filter(|one| missing.remove(&one.named.0.to_string())));
        if let Some(missing) = missing.first() {
            return Err(refused(vec![format!("there is no {missing} in it")]));
        }
    }
    if journal.is_of_earlier_release() {
        let texts = described.iter().map(|one| (one.named.0.to_string(), one.text.clone()));
        journal.take_over(texts.collect());
    }
    let mut put = objects
        .put(with_applied_sources(described.into_iter().map(|one| one.named)))
        .map_err(|messages| anyhow!("applied manifests: {}", messages.join("; ")))?;
    let changes = put.take();
    objects.commit(put);
    Ok(changes)
}
