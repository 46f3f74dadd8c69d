//! Files into a scenario: manifests, and PolicyTest documents in files that end in `.test.yaml`.

use super::Scenario;
use crate::command::policy::manifest_files::{self, Depth, ManifestFile};
use crate::outcome::BadInput;
use crate::session::Session;
use manifest::Diagnostic;
use std::path::PathBuf;

impl Scenario {
    /// The scenario of some files and directories; says how much of them is no affair of policies.
    pub(in crate::command::policy) fn read(
        session: &Session,
        paths: &[PathBuf],
        depth: Depth,
    ) -> anyhow::Result<Self> {
        let mut scenario = Self::default();
        let (mut wrong, mut skipped) = (Vec::new(), 0);
        for file in manifest_files::read(paths, depth)? {
            let read =
                if file.is_test() { scenario.read_tests(&file) } else { scenario.read_manifests(&file) };
            match read {
                Ok(others) => skipped += others,
                Err(findings) => wrong.extend(findings),
            }
        }
        if let Some(line) = manifest_files::skipped(skipped) {
            session.print_error_line(&line);
        }
        if wrong.is_empty() {
            return Ok(scenario);
        }
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Err(BadInput(lines.join("\n")).into())
    }

    /// Takes the objects of a file, and tells how many were of other kinds.
    fn read_manifests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        let manifest = manifest::parse(&file.name, &file.text)?;
        manifest.objects.into_iter().for_each(|object| self.take(object));
        Ok(manifest.skipped)
    }

    fn read_tests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        for document in file.tests()?.documents {
            document.test?.steps.into_iter().for_each(|step| self.step(step));
        }
        Ok(0)
    }
}
