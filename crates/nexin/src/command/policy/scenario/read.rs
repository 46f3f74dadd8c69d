//! Files into a scenario: manifests, and PolicyTest documents in files that end in `.test.yaml`.

use super::Scenario;
use super::merge::Conflict;
use crate::command::policy::manifest_files::{self, Depth, ManifestFile};
use crate::outcome::BadInput;
use crate::session::Session;
use manifest::{Diagnostic, Object};
use policy::rule::EnforcementMode;
use std::path::PathBuf;

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
    /// The scenario of some files and directories; says how much of them is no affair of policies.
    ///
    /// Every test is a world of its own. Where manifests give policies, tests give the cast alone; otherwise the policies
    /// of a test count, but not those of several.
    pub(in crate::command::policy) fn read(
        session: &Session,
        paths: &[PathBuf],
        depth: Depth,
    ) -> anyhow::Result<Self> {
        let mut parts = Parts::read(session, paths, depth)?;
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
    pub(in crate::command::policy) fn read_ends(
        session: &Session,
        paths: &[PathBuf],
        depth: Depth,
    ) -> anyhow::Result<Self> {
        let mut people = Self::default();
        Parts::read(session, paths, depth)?.put_together(&mut people)?;
        Ok(people)
    }

    /// Whether anything is said of what may be sent.
    fn decides(&self) -> bool {
        self.policies.iter().next().is_some()
            || self.policies.mode() != EnforcementMode::Default
            || self.audit
    }
}

impl Parts {
    fn read(session: &Session, paths: &[PathBuf], depth: Depth) -> anyhow::Result<Self> {
        let mut parts = Self::default();
        let (mut wrong, mut skipped) = (Vec::new(), 0);
        for file in manifest_files::read(paths, depth)? {
            let read = if file.is_test() { parts.read_tests(&file) } else { parts.read_manifests(&file) };
            match read {
                Ok(others) => skipped += others,
                Err(findings) => wrong.extend(findings),
            }
        }
        if let Some(line) = manifest_files::skipped(skipped) {
            session.print_error_line(&line);
        }
        if wrong.is_empty() {
            return Ok(parts);
        }
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Err(BadInput(lines.join("\n")).into())
    }

    /// Takes the objects of a file, and tells how many were of other kinds.
    fn read_manifests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        let manifest = manifest::parse(&file.name, &file.text)?;
        self.plain.positions.extend(manifest.positions);
        self.objects.extend(manifest.objects.into_iter().map(|object| (file.name.clone(), object)));
        Ok(manifest.skipped)
    }

    /// Takes the worlds of a file's tests; in such a file nothing is skipped.
    fn read_tests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        for document in file.tests()?.documents {
            let mut world = Scenario::default();
            document.test?.steps.into_iter().for_each(|step| world.step(step));
            self.tests.push((format!("{}:{} ({})", file.name, document.line, document.name), world));
        }
        Ok(0)
    }

    /// The casts of tests, then what manifests say.
    fn put_together(self, scenario: &mut Scenario) -> Result<(), BadInput> {
        let contradicts = |place: &str, Conflict(who): Conflict| {
            BadInput(format!(
                "{place}: {who} is told of differently in another of these files; give one of them"
            ))
        };
        let has_tests = !self.tests.is_empty() || !scenario.is_empty();
        scenario.positions = self.plain.positions;
        for (place, test) in self.tests {
            scenario.merge(test).map_err(|one| contradicts(&place, one))?;
        }
        for (file, object) in scenario.resolve_owners(self.objects) {
            if has_tests {
                scenario.check(&object).map_err(|one| contradicts(&file, one))?;
            }
            scenario.take(object);
        }
        Ok(())
    }
}
