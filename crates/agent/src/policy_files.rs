//! The watched directory of policy files as a source of changes.

use crate::files::{Copies, DirectoryChange, Files, KnownFiles};
use crate::notifier::Notifier;
use crate::objects::{FileState, FileStates};
use crate::problems::{Problem, Problems, message};
use crate::reconciler::{Persistence, Reconciler};
use crate::source::ChangeSource;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How soon copies that the disk refused are saved again.
const RETRY: Duration = Duration::from_secs(2);

/// The failures, as status and log name them.
const READ: Problem = Problem::new(
    "the policy directory cannot be read, and the policies of its files stay in force",
    "create the directory or make it readable",
);
const APPLY: Problem = Problem::new(
    "changed manifests could not be applied",
    "what was in force stays; correct or remove the manifests",
);
const COPIES: Problem = Problem::new(
    "the copies of policy files, from which a start with broken files recovers, are out of date",
    "free space on the disk or make it writable; the agent writes again until that succeeds",
);
const WATCH: Problem = Problem::new(
    "the policy directory cannot be watched and is polled instead",
    "raise fs.inotify.max_user_watches and max_user_instances",
);

/// The policy files, and the copies of their last valid texts.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
    directory: String,
    files: Files,
    is_first: bool,
    copies: Copies,
    /// When copies are saved again.
    save_again: Option<Instant>,
    /// The texts of valid files that are not in force, since other sources contain their objects.
    refused: BTreeMap<String, String>,
}

impl PolicyFiles {
    /// Watches a directory. The agent knows these files already.
    pub(crate) fn watch(
        directory: &Path,
        (copies, known): (Copies, KnownFiles),
        (notifier, problems): (Notifier, &Problems),
    ) -> io::Result<Self> {
        Ok(Self {
            directory: directory.display().to_string(),
            files: Files::watch(directory, known, move || notifier.notify(), problems)?,
            is_first: true,
            copies,
            save_again: None,
            refused: BTreeMap::new(),
        })
    }

    /// Applies the states of files together; returns whether they are in force.
    fn apply(states: FileStates, reconciler: &mut Reconciler) -> bool {
        let before = reconciler.objects.problems();
        let update = reconciler.objects.update(states);
        let applied = reconciler.apply_objects(update, Persistence::Retried);
        let is_applied = applied.is_ok();
        reconciler.problems.note(APPLY, applied.map_err(message));
        let problems = reconciler.objects.problems();
        problems.iter().filter(|problem| !before.contains(problem)).for_each(|problem| {
            tracing::error!("{problem}");
        });
        is_applied
    }

    /// Saves the texts that are in force, for a start at which the files are broken.
    fn save(&mut self, deleted: Vec<String>, texts: BTreeMap<String, String>, reconciler: &mut Reconciler) {
        for file in &deleted {
            self.refused.remove(file);
        }
        self.refused.extend(texts);
        let (saved, refused): (BTreeMap<String, String>, _) = std::mem::take(&mut self.refused)
            .into_iter()
            .partition(|(file, _)| reconciler.objects.is_in_force(file));
        self.refused = refused;
        let saved = saved.into_iter().map(|(file, text)| (file, Some(text)));
        let deleted = deleted.into_iter().map(|file| (file, None));
        let result = self.copies.save(deleted.chain(saved));
        self.save_again = result.is_err().then(|| Instant::now() + RETRY);
        reconciler.problems.note(COPIES, result);
    }
}

impl ChangeSource for PolicyFiles {
    /// Takes what changed; the changes of all files take effect together. The first call waits until the directory is read.
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        if self.save_again.is_some_and(|again| again <= Instant::now()) {
            self.save(Vec::new(), BTreeMap::new(), reconciler);
        }
        let scanned = if self.is_first { Some(self.files.first()) } else { self.files.take() };
        self.is_first = false;
        let Some(scanned) = scanned else { return };
        let failure = scanned.as_ref().err().map(|why| format!("{}: {why}", self.directory));
        reconciler.problems.note(READ, failure.map_or(Ok(()), Err));
        let Ok(DirectoryChange { states, texts }) = scanned else { return self.files.accept() };
        let deleted = states.iter().filter(|(_, state)| **state == FileState::Deleted);
        let deleted: Vec<String> = deleted.map(|(file, _)| file.clone()).collect();
        let touched: Vec<String> = states.keys().cloned().collect();
        if !Self::apply(states, reconciler) {
            return self.files.reject(touched);
        }
        self.save(deleted, texts, reconciler);
        self.files.accept();
    }

    fn due(&self) -> Option<Instant> {
        self.save_again
    }

    fn poll(&mut self, reconciler: &mut Reconciler) {
        reconciler.problems.note(WATCH, self.files.refused());
        if reconciler.objects.has_resolvable() && Self::apply(FileStates::new(), reconciler) {
            self.save(Vec::new(), BTreeMap::new(), reconciler);
        }
    }

    fn problems(&self) -> Vec<String> {
        self.files.open_for_long()
    }

    fn notes(&self) -> Vec<String> {
        let note = |why| format!("policy files are polled twice a second instead of watched: {why}");
        self.files.remote().map(note).into_iter().collect()
    }
}
