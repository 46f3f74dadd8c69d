//! Applies and deletes objects on request: each request is recorded on disk before it takes effect.

use crate::answer::{Answer, internal, value};
use crate::command::{ObjectsCommand, ParsedManifest};
use crate::entry_log::LogEntry;
use crate::objects::{
    Described, Named, ObjectChanges, Objects, ParsedText, applied_source, with_applied_sources,
};
use crate::problems::message;
use crate::reconciler::{Persistence, Reconciler};
use api::view::{self, ApplyResult};
use api::{Cause, Failure};
use std::collections::BTreeSet;

/// The failure to revert a record, as status and log name it.
const RECORDS: &str = "applied manifests";

/// A command that was checked.
struct Prepared<'a> {
    update: ObjectChanges,
    /// The names of changed objects, each with its new text; none for a deleted object.
    entries: Vec<(String, Option<&'a str>)>,
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

/// Carries out commands of different objects by one record on disk and one change.
fn carry_out_together(reconciler: &mut Reconciler, commands: &[ObjectsCommand]) -> Vec<Answer> {
    let prepare = |command| prepare(&reconciler.objects, command);
    let mut prepared: Vec<Result<Prepared<'_>, Failure>> = commands.iter().map(prepare).collect();
    let mut update = ObjectChanges::default();
    prepared.iter_mut().flatten().for_each(|one| update.append(std::mem::take(&mut one.update)));
    let entries = prepared.iter().flatten().flat_map(|one| &one.entries).map(|(name, text)| match text {
        Some(text) => LogEntry::Put(name, text),
        None => LogEntry::Remove(name),
    });
    let failure = record_and_apply(reconciler, &entries.collect::<Vec<_>>(), update).err().map(internal);
    if failure.is_some() && prepared.iter().flatten().count() > 1 {
        // Perhaps one of them alone fails; carried out one by one, each has its own answer.
        return commands.chunks(1).flat_map(|one| carry_out_together(reconciler, one)).collect();
    }
    let answer = |prepared: Result<Prepared<'_>, Failure>| match &failure {
        Some(failure) => prepared.and(Err(failure.clone())),
        None => prepared?.answer,
    };
    prepared.into_iter().map(answer).collect()
}

/// Records a change on disk, and applies it; a change that cannot be applied is not recorded either.
fn record_and_apply(
    reconciler: &mut Reconciler,
    entries: &[LogEntry<'_>],
    update: ObjectChanges,
) -> anyhow::Result<()> {
    let pending = reconciler.journal.record(entries)?;
    if let Err(error) = reconciler.apply_objects(update, Persistence::Required) {
        let rolled_back = reconciler.journal.roll_back(&pending);
        reconciler.problems.note(RECORDS, rolled_back.map_err(message));
        return Err(error);
    }
    reconciler.journal.commit(pending);
    Ok(())
}

/// Checks a command against the objects in force.
fn prepare<'a>(objects: &Objects, command: &'a ObjectsCommand) -> Result<Prepared<'a>, Failure> {
    match command {
        ObjectsCommand::Apply(manifest) => prepare_apply(objects, manifest),
        ObjectsCommand::Delete(names) => prepare_delete(objects, names),
    }
}

fn prepare_apply<'a>(objects: &Objects, manifest: &'a ParsedManifest) -> Result<Prepared<'a>, Failure> {
    let view = |one: &Described| view::AppliedObject {
        name: one.named.0.to_string(),
        result: result(objects, &one.named),
    };
    let ParsedText { objects: described, warnings, skipped } = &manifest.text;
    let applied = view::Applied {
        objects: described.iter().map(view).collect(),
        warnings: warnings.clone(),
        skipped: *skipped,
    };
    let answer = match manifest.results {
        true => value(&applied),
        false => value(&applied.objects.iter().map(|one| &one.name).collect::<Vec<_>>()),
    };
    let named = described.iter().map(|one| one.named.clone());
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let update = objects.put(with_applied_sources(named)).map_err(invalid)?;
    // The text of an unchanged object is stored already.
    let changed = applied.objects.into_iter().zip(described);
    let changed = changed.filter(|(view, _)| view.result != ApplyResult::Unchanged);
    let entries = changed.map(|(view, described)| (view.name, Some(&*described.text))).collect();
    Ok(Prepared { update, entries, answer })
}

/// What applying an object does.
fn result(objects: &Objects, (name, object): &Named) -> ApplyResult {
    match objects.object(name) {
        None => ApplyResult::Created,
        Some(known) if known == &**object => ApplyResult::Unchanged,
        Some(_) => ApplyResult::Configured,
    }
}

fn prepare_delete<'a>(objects: &Objects, names: &[String]) -> Result<Prepared<'a>, Failure> {
    let sources = names.iter().map(|name| source_of_applied(objects, name));
    let update = objects.remove(sources.collect::<Result<Vec<String>, Failure>>()?);
    let entries = names.iter().map(|name| (name.clone(), None)).collect();
    Ok(Prepared { update, entries, answer: value(&names) })
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
