//! Applies and deletes objects on request: each request is recorded on disk before it takes effect.

use crate::answer::{Answer, internal, value};
use crate::command::{ObjectsCommand, ParsedManifest};
use crate::journal::PendingEntry;
use crate::objects::{Named, ObjectChanges, Objects, applied_source, with_applied_sources};
use crate::reconciler::{Persistence, Reconciler};
use api::view::{self, ApplyResult};
use api::{Cause, Failure};
use std::collections::BTreeSet;

/// A command that is recorded on disk and not yet in force.
struct Prepared {
    update: ObjectChanges,
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
    let prepare = |command: &ObjectsCommand| match command {
        ObjectsCommand::Apply(manifest) => prepare_apply(reconciler, manifest),
        ObjectsCommand::Delete(names) => prepare_delete(reconciler, names),
    };
    let mut prepared: Vec<Result<Prepared, Failure>> = commands.iter().map(prepare).collect();
    let mut update = ObjectChanges::default();
    prepared.iter_mut().flatten().for_each(|one| update.append(std::mem::take(&mut one.update)));
    let failure = reconciler.apply_objects(update, Persistence::Required).err().map(internal);
    if failure.is_some() {
        // Newest first, as each was recorded after those before.
        let recorded = prepared.iter().rev().flatten();
        let errors = recorded.filter_map(|one| reconciler.journal.roll_back(&one.pending).err());
        let errors = errors.map(crate::problems::message).collect();
        reconciler.problems.note_all("applied manifests", errors);
        if prepared.iter().flatten().count() > 1 {
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

/// Checks a command that applies objects, and records it on disk.
fn prepare_apply(
    reconciler: &mut Reconciler,
    ParsedManifest { file, text, objects: described, results }: &ParsedManifest,
) -> Result<Prepared, Failure> {
    let result = |named: &Named| view::AppliedObject {
        name: named.0.to_string(),
        result: result(&reconciler.objects, named),
    };
    let applied: Vec<view::AppliedObject> = described.iter().map(result).collect();
    let answer = match results {
        true => value(&applied),
        false => value(&applied.iter().map(|one| &one.name).collect::<Vec<_>>()),
    };
    let names: BTreeSet<String> = applied.into_iter().map(|one| one.name).collect();
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let update = reconciler.objects.put(with_applied_sources(described.clone())).map_err(invalid)?;
    let pending = reconciler.journal.put(file, text, names.clone()).map_err(internal)?;
    Ok(Prepared { update, pending, names, is_put: true, answer })
}

/// What applying an object does.
fn result(objects: &Objects, (name, object): &Named) -> ApplyResult {
    match objects.object(name) {
        None => ApplyResult::Created,
        Some(known) if known == &**object => ApplyResult::Unchanged,
        Some(_) => ApplyResult::Configured,
    }
}

/// Checks a command that deletes objects, and records it on disk.
fn prepare_delete(reconciler: &mut Reconciler, names: &[String]) -> Result<Prepared, Failure> {
    let sources = names.iter().map(|name| source_of_applied(&reconciler.objects, name));
    let update = reconciler.objects.remove(sources.collect::<Result<Vec<String>, Failure>>()?);
    let set: BTreeSet<String> = names.iter().cloned().collect();
    let pending = reconciler.journal.remove(set.clone()).map_err(internal)?;
    Ok(Prepared { update, pending, names: set, is_put: false, answer: value(&names) })
}

/// The source of an object that a client applied; only such objects can be deleted.
fn source_of_applied(objects: &Objects, name: &str) -> Result<String, Failure> {
    match objects.source_of_named(name) {
        Some((found, file)) if file == applied_source(found) => Ok(file.to_owned()),
        Some((_, file)) => {
            Err(Failure::new(Cause::Conflict, format!("{name} is described in {file}; remove it there")))
        }
        None => Err(Failure::new(
            Cause::NotFound,
            format!("{name} not found; name it as `nexin policy list` does, Kind/namespace/name"),
        )),
    }
}
