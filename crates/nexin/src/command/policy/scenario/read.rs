//! Files into a scenario: manifests, and PolicyTest documents in files that end in `.test.yaml`.

use super::Scenario;
use crate::command::policy::manifest_files::{self, ManifestFile};
use crate::outcome::BadInput;
use manifest::Diagnostic;
use std::fs;
use std::path::{Path, PathBuf};

/// What the names of files of tests end in.
const TESTS: [&str; 3] = [".test.yaml", ".test.yml", ".test.json"];

impl Scenario {
    /// The scenario of some files and directories.
    pub(in crate::command::policy) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut scenario = Self::default();
        let mut wrong = Vec::new();
        for file in manifest_files::read(paths)? {
            let is_test = TESTS.iter().any(|ending| file.name.ends_with(ending));
            let read = if is_test { scenario.read_tests(&file) } else { scenario.read_manifests(&file) };
            wrong.extend(read.err().into_iter().flatten());
        }
        if wrong.is_empty() {
            return Ok(scenario);
        }
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Err(BadInput(lines.join("\n")).into())
    }

    fn read_manifests(&mut self, file: &ManifestFile) -> Result<(), Vec<Diagnostic>> {
        let manifest = manifest::parse(&file.name, &file.text)?;
        manifest.objects.into_iter().for_each(|object| self.take(object));
        Ok(())
    }

    fn read_tests(&mut self, file: &ManifestFile) -> Result<(), Vec<Diagnostic>> {
        let directory = Path::new(&file.name).parent().unwrap_or(Path::new("")).to_owned();
        let mut load = |path: &str| fs::read_to_string(directory.join(path));
        for document in manifest::test::parse(&file.name, &file.text, &mut load)?.documents {
            document.test?.steps.into_iter().for_each(|step| self.step(step));
        }
        Ok(())
    }
}
