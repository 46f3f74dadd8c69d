//! The watched directory of policy files as a source of changes.

use crate::files::{Copies, Files};
use crate::notifier::Notifier;
use crate::objects::{FileState, FileStates, Objects, is_applied_source};
use crate::problems::message;
use crate::reconciler::{Persistence, Reconciler};
use crate::source::ChangeSource;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long the directory is left alone after a change before it is read: more writes may follow at once.
const QUIET: Duration = Duration::from_millis(20);

/// How soon files that the kernel or the disk refused are read again.
const RETRY: Duration = Duration::from_secs(2);

/// The failures, as status and log name them.
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
    fn save_copies(&mut self, texts: &FileStates, reconciler: &mut Reconciler) {
        let objects = &reconciler.objects;
        let applied = texts.iter().filter_map(|(file, state)| match state {
            FileState::Text(text) if objects.is_in_force(file) => Some((file.as_str(), text.as_str())),
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
        let texts = match self.files.look(reconciler.objects.files()) {
            Ok(texts) => texts,
            Err(error) => {
                // The cause, such as a lack of descriptors, may pass without a change of the directory.
                self.files.look_again(RETRY);
                let why = format!("{error}; the policies of its files stay in force");
                return reconciler.note_file(&self.directory, &why);
            }
        };
        reconciler.problems.note(WATCH, self.files.unwatched());
        let mut objects = Objects::clone(&reconciler.objects);
        let changes = objects.update(&texts, |file| !is_applied_source(file));
        let before = reconciler.objects.problems();
        if let Err(error) = reconciler.apply_objects(objects, changes, Persistence::Retried) {
            self.files.look_again(RETRY);
            let why = format!("changed manifests could not be applied: {}", message(error));
            return reconciler.note_file(&self.directory, &why);
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
        if self.files.has_changed() {
            self.deliver(reconciler);
        }
    }

    fn problems(&self) -> Vec<String> {
        self.files.open_for_long()
    }
}
