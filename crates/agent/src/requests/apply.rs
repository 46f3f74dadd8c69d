//! Applies and deletes objects on request: each request is recorded on disk before it takes effect.

use crate::entry_log::{LogEntry, PendingRecord};
use crate::objects::{
    Described, Named, ObjectChanges, applied_source, parse_described, with_applied_sources,
};
use crate::reconciler::{Persistence, Reconciler};
use anyhow::Error;
use api::view::{self, ApplyResult};
use api::{Cause, Failure};

/// Applies all objects of a text, or none.
pub(crate) fn apply(
    reconciler: &mut Reconciler,
    file: &str,
    text: &str,
) -> Result<Vec<view::AppliedObject>, Failure> {
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let described = parse_described(file, text).map_err(invalid)?;
    let view = |one: &Described| view::AppliedObject {
        name: one.named.0.to_string(),
        result: result(reconciler, &one.named),
    };
    let applied: Vec<view::AppliedObject> = described.iter().map(view).collect();
    // The text of an unchanged object is stored already.
    let changed = applied.iter().zip(&described).filter(|(view, _)| view.result != ApplyResult::Unchanged);
    let entries: Vec<LogEntry<'_>> =
        changed.map(|(view, described)| LogEntry::Put(&view.name, &described.text)).collect();
    let named = described.iter().map(|one| one.named.clone());
    let objects = reconciler.objects.put(with_applied_sources(named)).map_err(invalid)?;
    let pending = reconciler.journal.record(&entries).map_err(internal)?;
    carry_out(reconciler, objects, pending)?;
    Ok(applied)
}

/// What applying an object does.
fn result(reconciler: &Reconciler, (name, object): &Named) -> ApplyResult {
    match reconciler.objects.object(name) {
        None => ApplyResult::Created,
        Some(known) if known == &**object => ApplyResult::Unchanged,
        Some(_) => ApplyResult::Configured,
    }
}

/// Deletes objects by name, all or none.
pub(crate) fn delete(reconciler: &mut Reconciler, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut sources = Vec::new();
    for name in names {
        match reconciler.objects.source_of_named(name) {
            Some((found, file)) if file == applied_source(found) => sources.push(file.to_owned()),
            Some((_, file)) => {
                return Err(Failure::new(
                    Cause::Conflict,
                    format!("{name} is described in {file}; remove it there"),
                ));
            }
            None => {
                return Err(Failure::new(
                    Cause::NotFound,
                    format!("{name} not found; name it as `nexin policy list` does, Kind/namespace/name"),
                ));
            }
        }
    }
    let objects = reconciler.objects.remove(sources);
    let entries: Vec<LogEntry<'_>> = names.iter().map(|name| LogEntry::Remove(name)).collect();
    let pending = reconciler.journal.record(&entries).map_err(internal)?;
    carry_out(reconciler, objects, pending)?;
    Ok(names.to_vec())
}

/// Applies changes that are recorded, or removes the record.
fn carry_out(
    reconciler: &mut Reconciler,
    objects: ObjectChanges,
    pending: PendingRecord,
) -> Result<(), Failure> {
    let applied = reconciler.apply_objects(objects, Persistence::Required);
    let Err(error) = applied else {
        reconciler.journal.commit(pending);
        return Ok(());
    };
    let rolled_back = reconciler.journal.roll_back(&pending);
    reconciler.problems.note("applied manifests", rolled_back.map_err(crate::problems::message));
    Err(internal(error))
}

fn internal(error: Error) -> Failure {
    Failure::new(Cause::Internal, api::sentence(error.as_ref()))
}
