//! Files into a scenario: manifests, and PolicyTest documents in files that end in `.test.yaml`.

use super::Scenario;
use super::cast::Contradiction;
use crate::command::policy::manifest_files::{self, ManifestFile};
use crate::outcome::BadInput;
use manifest::{Diagnostic, Object};
use policy::rule::Mode;
use std::fs;
use std::path::{Path, PathBuf};

/// What the names of files of tests end in.
const TESTS: [&str; 3] = [".test.yaml", ".test.yml", ".test.json"];

/// What files say, before it is put together.
#[derive(Default)]
struct Parts {
    /// The manifests; of tests, nothing.
    plain: Scenario,
    objects: Vec<(String, Object)>,
    /// The world of each test as it is after the last step, and where the test stands.
    tests: Vec<(String, Scenario)>,
}

impl Scenario {
    /// The scenario of some files and directories.
    ///
    /// Every test is a world of its own. Where manifests give policies, tests give the cast alone; otherwise the policies
    /// of a test count, but not those of several.
    pub(in crate::command::policy) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut parts = Parts::read(paths)?;
        let is_given = parts.objects.iter().any(|(_, object)| matches!(object, Object::Policy(_)));
        let deciding: Vec<usize> = (0..parts.tests.len()).filter(|at| parts.tests[*at].1.decides()).collect();
        let names =
            |parts: &Parts| -> Vec<String> { deciding.iter().map(|at| parts.tests[*at].0.clone()).collect() };
        let mut scenario = match &deciding[..] {
            [] => parts.plain.clone(),
            _ if is_given => {
                let names = names(&parts).join(" and ");
                let note =
                    format!("policies are given, so those of {names} are left out: only who is there counts");
                Self { notes: vec![note], ..parts.plain.clone() }
            }
            [only] => parts.tests.remove(*only).1,
            _ => {
                return Err(BadInput(format!(
                    "{} each have policies of their own, in worlds of their own; give one of them, or the policies as \
                     manifests",
                    names(&parts).join(" and ")
                ))
                .into());
            }
        };
        parts.put_together(&mut scenario)?;
        Ok(scenario)
    }

    /// Who is there, by some files and directories; no policy.
    pub(in crate::command::policy) fn read_people(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut people = Self::default();
        Parts::read(paths)?.put_together(&mut people)?;
        Ok(people)
    }

    /// Whether anything is said of what may be sent.
    fn decides(&self) -> bool {
        self.policies.iter().next().is_some() || self.policies.mode() != Mode::Default || self.audit
    }
}

impl Parts {
    fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut parts = Self::default();
        let mut wrong = Vec::new();
        for file in manifest_files::read(paths)? {
            let is_test = TESTS.iter().any(|ending| file.name.ends_with(ending));
            let read = if is_test { parts.read_tests(&file) } else { parts.read_manifests(&file) };
            wrong.extend(read.err().into_iter().flatten());
        }
        if wrong.is_empty() {
            return Ok(parts);
        }
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Err(BadInput(lines.join("\n")).into())
    }

    fn read_manifests(&mut self, file: &ManifestFile) -> Result<(), Vec<Diagnostic>> {
        let manifest = manifest::parse(&file.name, &file.text)?;
        self.plain.places.extend(manifest.places);
        self.objects.extend(manifest.objects.into_iter().map(|object| (file.name.clone(), object)));
        Ok(())
    }

    fn read_tests(&mut self, file: &ManifestFile) -> Result<(), Vec<Diagnostic>> {
        let directory = Path::new(&file.name).parent().unwrap_or(Path::new("")).to_owned();
        let mut load = |path: &str| fs::read_to_string(directory.join(path));
        for document in manifest::test::parse(&file.name, &file.text, &mut load)?.documents {
            let mut world = Scenario::default();
            document.test?.steps.into_iter().for_each(|step| world.step(step));
            self.tests.push((format!("{}:{} ({})", file.name, document.line, document.name), world));
        }
        Ok(())
    }

    /// The casts of tests, then what manifests say.
    fn put_together(self, scenario: &mut Scenario) -> Result<(), BadInput> {
        let contradicts = |place: &str, Contradiction(who): Contradiction| {
            BadInput(format!(
                "{place}: {who} is told of differently in another of these files; give one of them"
            ))
        };
        let has_tests = !self.tests.is_empty() || !scenario.is_empty();
        scenario.places = self.plain.places;
        for (place, test) in self.tests {
            scenario.join_cast(test).map_err(|one| contradicts(&place, one))?;
        }
        for (file, object) in self.objects {
            if has_tests {
                scenario.check(&object).map_err(|one| contradicts(&file, one))?;
            }
            scenario.take(object);
        }
        Ok(())
    }
}
