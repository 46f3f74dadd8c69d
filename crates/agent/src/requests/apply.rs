//! Applies and deletes objects on request: each request is recorded on disk before it takes effect.

use crate::journal::PendingEntry;
use crate::objects::{Named, ObjectChanges, applied_source, parse, with_applied_sources};
use crate::reconciler::{Persistence, Reconciler};
use anyhow::Error;
use api::view::{self, ApplyResult};
use api::{Cause, Failure};
use std::collections::BTreeSet;

/// Applies all objects of a text, or none.
pub(crate) fn apply(
    reconciler: &mut Reconciler,
    file: &str,
    text: &str,
) -> Result<Vec<view::AppliedObject>, Failure> {
    let invalid = |messages| Failure { cause: Cause::Invalid, messages };
    let described = parse(file, text).map_err(invalid)?;
    let applied: Vec<view::AppliedObject> = described
        .iter()
        .map(|named| view::AppliedObject { name: named.0.to_string(), result: result(reconciler, named) })
        .collect();
    let objects = reconciler.objects.put(with_applied_sources(described)).map_err(invalid)?;
    let set: BTreeSet<String> = applied.iter().map(|one| one.name.clone()).collect();
    let pending = reconciler.journal.put(file, text, set.clone()).map_err(internal)?;
    carry_out(reconciler, objects, &pending)?;
    reconciler.journal.commit(pending, set, true);
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
    let set: BTreeSet<String> = names.iter().cloned().collect();
    let pending = reconciler.journal.remove(set.clone()).map_err(internal)?;
    carry_out(reconciler, objects, &pending)?;
    reconciler.journal.commit(pending, set, false);
    Ok(names.to_vec())
}

/// Applies changes that are recorded, or removes the record.
fn carry_out(
    reconciler: &mut Reconciler,
    objects: ObjectChanges,
    pending: &PendingEntry,
) -> Result<(), Failure> {
    let applied = reconciler.apply_objects(objects, Persistence::Required);
    let Err(error) = applied else { return Ok(()) };
    let rolled_back = reconciler.journal.roll_back(pending);
    reconciler.problems.note("applied manifests", rolled_back.map_err(crate::problems::message));
    Err(internal(error))
}

fn internal(error: Error) -> Failure {
    Failure::new(Cause::Internal, api::sentence(error.as_ref()))
}
