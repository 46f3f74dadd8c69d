//! Applies and deletes objects on request: each request is recorded on disk before it takes effect.

use super::{internal, value};
use crate::command::{ObjectsCommand, ParsedManifest};
use crate::journal::PendingEntry;
use crate::objects::{Named, Objects, applied_source, with_applied_sources};
use crate::queue::Answer;
use crate::reconciler::{Persistence, Reconciler};
use api::view::{self, ApplyResult};
use api::{Cause, Failure};
use control::Change;
use std::collections::BTreeSet;

/// A command that is recorded on disk and not yet in force.
struct Prepared {
    changes: Vec<Change>,
    pending: PendingEntry,
    names: BTreeSet<String>,
    is_put: bool,
    answer: Answer,
}

/// Carries out commands, each all or not at all. Those of different objects take effect together; a command of an object
/// that another of them names takes effect after it.
pub(crate) fn carry_out(reconciler: &mut Reconciler, commands: Vec<ObjectsCommand>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(commands.len());
    let mut together: Vec<ObjectsCommand> = Vec::new();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for command in commands {
        let names = command.names();
        if names.iter().any(|name| named.contains(name)) {
            answers.extend(carry_out_together(reconciler, &std::mem::take(&mut together)));
            named.clear();
        }
        named.extend(names);
        together.push(command);
    }
    answers.extend(carry_out_together(reconciler, &together));
    answers
}

/// Carries out commands of different objects by one change.
fn carry_out_together(reconciler: &mut Reconciler, commands: &[ObjectsCommand]) -> Vec<Answer> {
    let mut objects = Objects::clone(&reconciler.objects);
    let prepared: Vec<Result<Prepared, Failure>> =
        commands.iter().map(|command| prepare(reconciler, &mut objects, command)).collect();
    let mut all: Vec<Change> = Vec::new();
    let prepared: Vec<Result<Prepared, Failure>> =
        prepared.into_iter().map(|one| one.map(|mut one| (all.append(&mut one.changes), one).1)).collect();
    let valid = prepared.iter().filter(|one| one.is_ok()).count();
    let failure = reconciler.apply_objects(objects, all, Persistence::Required).err().map(internal);
    if failure.is_some() {
        // Newest first, as each was recorded after those before.
        let recorded = prepared.iter().rev().flatten();
        let errors = recorded.filter_map(|one| reconciler.journal.roll_back(&one.pending).err());
        let errors = errors.map(crate::problems::message).collect();
        reconciler.problems.note_all("applied manifests", errors);
        if valid > 1 {
            // One of them failed; carried out one by one, each has its own answer.
            let one_by_one = commands.chunks(1).flat_map(|one| carry_out_together(reconciler, one));
            return one_by_one.collect();
        }
    }
    let answer = |prepared: Result<Prepared, Failure>| {
        let Prepared { pending, names, is_put, answer, .. } = prepared?;
        if let Some(failure) = &failure {
            return Err(failure.clone());
        }
        reconciler.journal.commit(pending, names, is_put);
        answer
    };
    prepared.into_iter().map(answer).collect()
}

/// Checks a command against the objects, changes these, and records the command on disk.
fn prepare(
    reconciler: &mut Reconciler,
    objects: &mut Objects,
    command: &ObjectsCommand,
) -> Result<Prepared, Failure> {
    match command {
        ObjectsCommand::Apply(manifest) => prepare_apply(reconciler, objects, manifest),
        ObjectsCommand::Delete(names) => prepare_delete(reconciler, objects, names),
    }
}

fn prepare_apply(
    reconciler: &mut Reconciler,
    objects: &mut Objects,
    ParsedManifest { file, text, objects: described, results }: &ParsedManifest,
) -> Result<Prepared, Failure> {
    let result =
        |named: &Named| view::AppliedObject { name: named.0.to_string(), result: result(objects, named) };
    let applied: Vec<view::AppliedObject> = described.iter().map(result).collect();
    let answer = match results {
        true => value(&applied),
        false => value(&applied.iter().map(|one| &one.name).collect::<Vec<_>>()),
    };
    let names: BTreeSet<String> = applied.into_iter().map(|one| one.name).collect();
    let mut after = objects.clone();
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let changes = after.put(with_applied_sources(described.clone())).map_err(invalid)?;
    let pending = reconciler.journal.put(file, text, names.clone()).map_err(internal)?;
    *objects = after;
    Ok(Prepared { changes, pending, names, is_put: true, answer })
}

/// What applying an object does.
fn result(objects: &Objects, (name, object): &Named) -> ApplyResult {
    match objects.object(name) {
        None => ApplyResult::Created,
        Some(known) if known == object => ApplyResult::Unchanged,
        Some(_) => ApplyResult::Configured,
    }
}

fn prepare_delete(
    reconciler: &mut Reconciler,
    objects: &mut Objects,
    names: &[String],
) -> Result<Prepared, Failure> {
    let sources: Vec<String> =
        names.iter().map(|name| source_of_applied(objects, name)).collect::<Result<_, _>>()?;
    let set: BTreeSet<String> = names.iter().cloned().collect();
    let pending = reconciler.journal.remove(set.clone()).map_err(internal)?;
    let changes = sources.iter().flat_map(|file| objects.forget(file)).collect();
    Ok(Prepared { changes, pending, names: set, is_put: false, answer: value(&names) })
}

/// The source of an object that a client applied; only such objects can be deleted.
fn source_of_applied(objects: &Objects, name: &str) -> Result<String, Failure> {
    match objects.source_of_named(name) {
        Some((found, file)) if file == applied_source(&found) => Ok(file),
        Some((_, file)) => {
            Err(Failure::new(Cause::Conflict, format!("{name} is described in {file}; remove it there")))
        }
        None => Err(Failure::new(
            Cause::NotFound,
            format!("{name} not found; name it as `nexin policy list` does, Kind/namespace/name"),
        )),
    }
}
