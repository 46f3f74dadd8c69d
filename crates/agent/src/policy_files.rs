//! The watched directory of policy files as a source of changes.

use crate::files::{Copies, Files, Reading, Readings};
use crate::objects::{FileState, FileStates};
use crate::problems::message;
use crate::reconciler::{Persistence, Reconciler};
use crate::source::{ChangeSource, Notifier};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long the directory is left alone after a change before it is read: more writes may follow at once.
const QUIET: Duration = Duration::from_millis(20);

/// How soon files that the kernel or the disk refused are read again.
const RETRY: Duration = Duration::from_secs(2);

/// The failures, as status and log name them.
const READ: &str = "the policy directory cannot be read, and the policies of its files stay in force";
const APPLY: &str = "changed manifests could not be applied";
const COPIES: &str =
    "the copies of policy files, from which a start with broken files recovers, are out of date";
const WATCH: &str = "the policy directory cannot be watched and is polled instead";

/// The policy files, and the copies of their last valid texts.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
    directory: String,
    files: Files,
    copies: Copies,
}

impl PolicyFiles {
    /// Watches a directory; nothing is read before [`ChangeSource::deliver`].
    pub(crate) fn watch(directory: &Path, copies: Copies, notifier: Notifier) -> io::Result<Self> {
        let changed = move || {
            thread::sleep(QUIET);
            notifier.notify();
        };
        Ok(Self {
            directory: directory.display().to_string(),
            files: Files::watch(directory, changed)?,
            copies,
        })
    }

    /// Saves the texts that are applied, for a start at which the files are broken.
    fn save_copies(&mut self, texts: &Readings, reconciler: &mut Reconciler) {
        let objects = &reconciler.objects;
        let applied = texts.iter().filter_map(|(file, state)| match state {
            Reading::Text(text) if objects.is_in_force(file) => Some((file.as_str(), text.as_str())),
            _ => None,
        });
        let failures = self.copies.keep(applied, |file| texts.contains_key(file));
        if !failures.is_empty() {
            self.files.look_again(RETRY);
        }
        reconciler.problems.note_all(COPIES, failures);
    }
}

impl ChangeSource for PolicyFiles {
    /// Reads the directory; the changes of all files take effect together.
    fn deliver(&mut self, reconciler: &mut Reconciler) {
        let read = self.files.look(reconciler.objects.files());
        let failure = read.as_ref().err().map(|error| format!("{}: {error}", self.directory));
        reconciler.problems.note(READ, failure.map_or(Ok(()), Err));
        let Ok(texts) = read else {
            // The cause, such as a lack of descriptors, may pass without a change of the directory.
            return self.files.look_again(RETRY);
        };
        reconciler.problems.note(WATCH, self.files.unwatched());
        let deleted = reconciler.objects.files().filter(|file| !texts.contains_key(*file));
        let mut states: FileStates = deleted.map(|file| (file.to_owned(), FileState::Deleted)).collect();
        states.extend(texts.iter().map(|(file, reading)| (file.clone(), reading.state(file))));
        let update = reconciler.objects.update(states);
        let before = reconciler.objects.problems();
        let applied = reconciler.apply_objects(update, Persistence::Retried);
        let is_applied = applied.is_ok();
        reconciler.problems.note(APPLY, applied.map_err(message));
        if !is_applied {
            return self.files.look_again(RETRY);
        }
        let problems = reconciler.objects.problems();
        problems.iter().filter(|problem| !before.contains(problem)).for_each(|problem| {
            tracing::error!("{problem}");
        });
        self.save_copies(&texts, reconciler);
    }

    fn due(&self) -> Option<Instant> {
        self.files.due()
    }

    fn poll(&mut self, reconciler: &mut Reconciler) {
        if self.files.has_changed() || reconciler.objects.has_resolvable() {
            self.deliver(reconciler);
        }
    }

    fn problems(&self) -> Vec<String> {
        self.files.open_for_long()
    }
}
