//! From what files and requests say to what is in force, and to what the next start finds.

use crate::agent::Agent;
use crate::config::Config;
use crate::files::{self, DamagedCopy};
use crate::journal::Applied;
use crate::objects::{FileState, FileStates, Objects};
use crate::paths::Paths;
use crate::problems::Problems;
use crate::{requests, storage};
use anyhow::Context;
use control::Change;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How soon that is tried again which the kernel or a disk refused.
const RETRY: Duration = Duration::from_secs(2);

/// What cannot be written, as status and log name it.
const STATE: &str = "what the next start needs cannot be saved";
const COPIES: &str =
    "copies of policy files, for a start at which a file is broken, are not as they should be";
const LASTING: &str = "the directory of what the next start needs cannot be made";
const CLOSED: &str = "other users may be able to read what the agent keeps";
const WATCH: &str = "the policy directory cannot be watched and is read again and again instead";

impl Agent {
    /// Reads the directory of manifests; what changed takes effect together.
    pub(crate) fn read_files(&mut self) {
        let name = self.config.policies.display().to_string();
        let texts = match self.files.look(self.objects.files()) {
            Ok(texts) => texts,
            Err(error) => {
                // What hindered it, such as a lack of descriptors, may pass without a change of the directory.
                self.files.look_again(RETRY);
                let why = format!("{error}; what its files said stays in force");
                return self.note(&name, &why);
            }
        };
        self.problems.note(WATCH, self.files.unwatched());
        let mut objects = self.objects.clone();
        let changes = objects.update(&texts, |file| !requests::apply::is_source(file));
        let before = self.objects.problems();
        if let Err(error) = self.put_in_force(objects, changes) {
            self.files.look_again(RETRY);
            let error = api::sentence(error.as_ref());
            return self.note(&name, &format!("manifests that changed are not in force: {error}"));
        }
        let problems = self.objects.problems();
        problems.iter().filter(|problem| !before.contains(problem)).for_each(|problem| {
            tracing::error!("{problem}");
        });
        self.keep(&texts);
    }

    /// Everything that is wrong, as sentences.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.objects.problems();
        problems.extend(self.files.open_for_long());
        problems.extend(self.problems.messages());
        problems
    }

    /// Tries again what could not be done.
    pub(crate) fn retry(&mut self) {
        if self.problems.has(LASTING) || self.problems.has(CLOSED) {
            prepare_directories(&self.paths, &mut self.problems);
        }
        if self.problems.has(STATE) {
            self.remember_or_note();
        }
    }

    /// Makes changes of objects take effect, all or none; only then are the objects the agent's. What cannot be saved of
    /// it is noted and tried again: files are there at the next start, too.
    pub(crate) fn put_in_force(&mut self, objects: Objects, changes: Vec<Change>) -> anyhow::Result<()> {
        self.change(objects, changes, |agent| {
            agent.remember_or_note();
            Ok(())
        })
    }

    /// Likewise, but nothing is done where the addresses that services get cannot be saved.
    pub(crate) fn put_in_force_for_good(
        &mut self,
        objects: Objects,
        changes: Vec<Change>,
    ) -> anyhow::Result<()> {
        self.change(objects, changes, Self::remember)
    }

    /// Writes down what must be found again, or notes that it cannot.
    pub(crate) fn remember_or_note(&mut self) {
        let saved = self.remember();
        self.problems.note(STATE, saved.map_err(|error| api::sentence(error.as_ref())));
    }

    fn change(
        &mut self,
        objects: Objects,
        changes: Vec<Change>,
        save: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if changes.is_empty() {
            self.objects = objects;
            return Ok(());
        }
        let before = (self.addresses.clone(), self.state.services.clone());
        let changed = self.with_addresses(changes).and_then(|changes| {
            if self.state.services != before.1 {
                save(self)?;
            }
            self.kernel.apply(changes)
        });
        if changed.is_ok() {
            self.objects = objects;
        } else {
            (self.addresses, self.state.services) = before;
        }
        self.remember_or_note();
        changed
    }

    /// Keeps the texts that are in force, for a start at which they may be broken.
    fn keep(&mut self, texts: &FileStates) {
        let objects = &self.objects;
        let right = texts.iter().filter_map(|(file, reading)| match reading {
            FileState::Text(text) if objects.is_in_force(file) => Some((file.as_str(), text.as_str())),
            _ => None,
        });
        let failures = self.copies.keep(right, |file| texts.contains_key(file));
        if !failures.is_empty() {
            self.files.look_again(RETRY);
        }
        self.problems.note_all(COPIES, failures);
    }

    fn note(&mut self, file: &str, why: &str) {
        let before = self.objects.problems();
        self.objects.note(file, why);
        if self.objects.problems() != before {
            tracing::error!("{file}: {why}");
        }
    }
}

/// Makes what outlasts the agent's run possible, and closes to other users what earlier releases left open.
pub(crate) fn prepare_directories(paths: &Paths, problems: &mut Problems) {
    let said = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let lasting = paths.lasting();
    problems.note(LASTING, storage::make_directory(lasting).map_err(|error| said(lasting, error)));
    let mut closed = [paths.directory(), lasting].into_iter().filter(|path| path.exists());
    problems.note(
        CLOSED,
        closed.try_for_each(|path| storage::close_to_others(path).map_err(|error| said(path, error))),
    );
}

/// What was applied and what files said when they were last right. An agent that cannot find it out does not start: what
/// the one before it has put in the kernel stays in force.
pub(crate) fn recall(
    config: &Config,
    applied: &[Applied],
    (copies, damaged): (BTreeMap<String, String>, &[DamagedCopy]),
    objects: &mut Objects,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = requests::apply::recall(applied, objects)?;
    if copies.is_empty() && damaged.is_empty() {
        // A directory that is gone is not made anew, empty, while something is in force that came from it.
        let made = storage::make_directory(&config.policies);
        if let Err(error) = made {
            tracing::error!(%error, directory = %config.policies.display(), "the policy directory cannot be made");
        }
        return Ok(changes);
    }
    let texts: FileStates = copies.into_iter().map(|(file, text)| (file, FileState::Text(text))).collect();
    changes.extend(objects.update(&texts, |_| false));
    let mut unknown = objects.problems();
    unknown.extend(
        damaged.iter().map(|DamagedCopy { copy, why }| format!("{} is damaged: {why}", copy.display())),
    );
    if unknown.is_empty() {
        return Ok(changes);
    }
    // What was in force is not needed where every file is right: it would give way to what they say at once.
    let unknown = unknown.join("; ");
    let advice = "bring the copy back, or make every file of the policy directory right, and start the agent again; what \
                  was in force stays in force meanwhile";
    let now = files::read_once(&config.policies)
        .with_context(|| format!("{unknown}. The policy directory cannot be read either; {advice}"))?;
    changes.extend(objects.update(&now, |file| !requests::apply::is_source(file)));
    let mut wrong = objects.problems();
    let unfinished = now.iter().filter(|(_, reading)| **reading == FileState::Unfinished);
    wrong.extend(unfinished.map(|(file, _)| format!("{file} is open for writing")));
    anyhow::ensure!(
        wrong.is_empty(),
        "{unknown}. Not all files are right either: {}; {advice}",
        wrong.join("; ")
    );
    tracing::warn!("{unknown}. It is not needed, since every file of the policy directory is right");
    Ok(changes)
}
