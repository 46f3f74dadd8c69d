//! Tests of the scanner on real directories, with reports made by hand.

use super::*;
use crate::files::watch::Reported;

struct Scratch {
    directory: PathBuf,
    scanner: Scanner,
}

impl Scratch {
    /// A directory with this many files, which are scanned.
    fn new(name: &str, files: usize) -> Self {
        let directory = std::env::temp_dir().join(format!("nexin-scan-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let watcher = Watcher::new(&directory, |_| {});
        let known = KnownFiles { digests: BTreeMap::new() };
        let scanner = Scanner::new(&directory, watcher, known);
        let mut scratch = Self { directory, scanner };
        (0..files).for_each(|file| scratch.write(&format!("f{file:04}.yaml"), "one"));
        let found = scratch.scan(ToRead::all());
        assert_eq!(found.len(), files);
        scratch
    }

    fn write(&self, file: &str, label: &str) {
        let text = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {label}}}}}");
        fs::write(self.directory.join(file), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.directory.join(from), self.directory.join(to)).unwrap();
    }

    /// The states of a scan, as `file state`.
    fn scan(&mut self, to_read: ToRead) -> Vec<String> {
        let change = self.scanner.scan(to_read).map_or_else(Default::default, Result::unwrap);
        let said = |(file, state): (&String, &FileState)| {
            let file = Path::new(file).file_stem().unwrap().to_str().unwrap();
            let state = match state {
                FileState::Valid(_) => "valid",
                FileState::Missing => "missing",
                FileState::Deleted => "deleted",
                other => panic!("{other:?}"),
            };
            format!("{file} {state}")
        };
        change.states.iter().map(said).collect()
    }

    /// The states after inotify reported these files.
    fn reported(&mut self, files: &[&str]) -> Vec<String> {
        let mut to_read = ToRead::default();
        files.iter().for_each(|file| to_read.add(Reported::Name(file.into())));
        self.scan(to_read)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

#[test]
fn an_edit_of_one_file_reads_that_file_alone() {
    let mut scratch = Scratch::new("edit", 1000);
    // The other one would be found if it was read, or if its fingerprint was compared.
    scratch.write("f0007.yaml", "changed");
    scratch.write("f0008.yaml", "changed");
    assert_eq!(scratch.reported(&["f0007.yaml"]), ["f0007 valid"]);
    assert_eq!(scratch.scan(ToRead::all()), ["f0008 valid"]);
    scratch.write("f0007.yaml", "changed");
    assert!(scratch.reported(&["f0007.yaml"]).is_empty(), "it has the same text");
    assert!(scratch.scan(ToRead::all()).is_empty());
}

#[test]
fn files_are_polled_in_turn() {
    let mut scratch = Scratch::new("poll", 300);
    let files: Vec<String> = (0..300).map(|file| format!("f{file:04}.yaml")).collect();
    let mut idle = ToRead::default();
    (0..10).for_each(|_| scratch.scanner.poll_silent(&mut idle));
    assert!(idle.is_empty());
    files.iter().for_each(|file| scratch.write(file, "changed"));
    let mut found = 0;
    for _ in 0..2 * 300_usize.div_ceil(POLLED) {
        let mut to_read = ToRead::default();
        scratch.scanner.poll_silent(&mut to_read);
        let polled = scratch.scan(to_read).len();
        assert!(polled <= POLLED);
        found += polled;
    }
    assert_eq!(found, 300);
}

#[test]
fn a_file_that_is_renamed_and_renamed_back_is_handed_over_again() {
    let mut scratch = Scratch::new("back", 1);
    scratch.rename("f0000.yaml", "g.yaml");
    assert_eq!(scratch.reported(&["f0000.yaml", "g.yaml"]), ["f0000 missing", "g valid"]);
    scratch.rename("g.yaml", "f0000.yaml");
    assert_eq!(scratch.reported(&["f0000.yaml", "g.yaml"]), ["f0000 valid", "g missing"]);
    std::thread::sleep(REPLACED);
    let mut to_read = ToRead::default();
    scratch.scanner.poll_waiting(&mut to_read);
    assert_eq!(scratch.scan(to_read), ["g deleted"]);
}

#[test]
fn a_rejected_change_is_handed_over_again() {
    let mut scratch = Scratch::new("reject", 3);
    scratch.write("f0000.yaml", "changed");
    fs::remove_file(scratch.directory.join("f0001.yaml")).unwrap();
    assert_eq!(scratch.reported(&["f0000.yaml", "f0001.yaml"]), ["f0000 valid", "f0001 missing"]);
    std::thread::sleep(REPLACED);
    assert_eq!(scratch.reported(&["f0001.yaml"]), ["f0001 deleted"]);
    let path = |file: &str| scratch.directory.join(file).display().to_string();
    scratch.scanner.reject([path("f0000.yaml"), path("f0001.yaml")]);
    assert!(scratch.scanner.due().is_some());
    assert_eq!(scratch.reported(&["f0000.yaml", "f0001.yaml"]), ["f0000 valid", "f0001 missing"]);
    std::thread::sleep(REPLACED);
    assert_eq!(scratch.reported(&["f0001.yaml"]), ["f0001 deleted"]);
}
