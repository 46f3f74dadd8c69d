//! Reads files into a scenario: manifests, and PolicyTest documents in files that end in `.test.yaml`.

use super::Scenario;
use super::merge::Conflict;
use crate::command::policy::manifest_files::{self, ManifestFile, Origin};
use crate::outcome::BadInput;
use crate::session::Session;
use manifest::{Diagnostic, Object};
use policy::rule::EnforcementMode;

/// The contents of files, before they are merged.
#[derive(Default)]
struct Parts {
    /// The scenario of the manifests alone.
    plain: Scenario,
    objects: Vec<(String, Object)>,
    /// The scenario of each test after its last step, with the place of the test.
    tests: Vec<(String, Scenario)>,
}

impl Scenario {
    /// The scenario of files; prints how many objects of other kinds were skipped.
    ///
    /// Every test is a scenario of its own. If manifests contain policies, only the ends of tests are used; otherwise
    /// the policies of a single test are used, and policies of several tests are an error.
    pub(in crate::command::policy) fn read(
        session: &Session,
        files: &[ManifestFile],
    ) -> anyhow::Result<Self> {
        let mut parts = Parts::read(session, files)?;
        let is_given = parts.objects.iter().any(|(_, object)| matches!(object, Object::Policy(_)));
        let with_policies: Vec<usize> =
            (0..parts.tests.len()).filter(|at| parts.tests[*at].1.has_policies()).collect();
        let names = |parts: &Parts| -> Vec<String> {
            with_policies.iter().map(|at| parts.tests[*at].0.clone()).collect()
        };
        let mut scenario = match &with_policies[..] {
            [] => parts.plain.clone(),
            _ if is_given => {
                let names = names(&parts).join(" and ");
                let note = format!(
                    "manifests contain policies, so the policies of {names} are ignored: only their workloads, nodes and hosts are used"
                );
                Self { notes: vec![note], ..parts.plain.clone() }
            }
            [only] => parts.tests.remove(*only).1,
            _ => {
                return Err(BadInput(format!(
                    "{} each have policies of their own; give only one of them, or the policies as \
                     manifests",
                    names(&parts).join(" and ")
                ))
                .into());
            }
        };
        parts.put_together(&mut scenario)?;
        Ok(scenario)
    }

    /// The workloads, nodes, hosts and services of files; no policies.
    pub(in crate::command::policy) fn read_ends(
        session: &Session,
        files: &[ManifestFile],
    ) -> anyhow::Result<Self> {
        let mut people = Self::default();
        Parts::read(session, files)?.put_together(&mut people)?;
        Ok(people)
    }

    /// Whether it has policies, an enforcement mode or audit mode.
    fn has_policies(&self) -> bool {
        self.registry.policies.iter().next().is_some()
            || self.registry.policies.mode() != EnforcementMode::Default
            || self.audit
    }
}

impl Parts {
    fn read(session: &Session, files: &[ManifestFile]) -> anyhow::Result<Self> {
        let mut parts = Self::default();
        let (mut wrong, mut skipped) = (Vec::new(), 0);
        for file in files {
            let read = if file.is_test() { parts.read_tests(file) } else { parts.read_manifests(file) };
            match read {
                Ok(others) => skipped += others,
                // A node refuses the object too.
                Err(findings) if file.origin == Origin::Cluster => {
                    findings
                        .iter()
                        .for_each(|finding| session.print_error_line(&format!("not in force: {finding}")));
                }
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

    /// Adds the objects of a file; returns how many objects of other kinds were skipped.
    fn read_manifests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        let manifest = manifest::parse(&file.name, &file.text)?;
        self.plain.positions.extend(manifest.positions);
        self.objects.extend(manifest.objects.into_iter().map(|object| (file.name.clone(), object)));
        Ok(manifest.skipped)
    }

    /// Adds the scenarios of a file's tests; such a file has no objects of other kinds.
    fn read_tests(&mut self, file: &ManifestFile) -> Result<usize, Vec<Diagnostic>> {
        for document in file.tests()?.documents {
            let mut world = Scenario::default();
            document.test?.steps.into_iter().for_each(|step| world.step(step));
            self.tests.push((format!("{}:{} ({})", file.name, document.line, document.name), world));
        }
        Ok(0)
    }

    /// Merges the ends of tests, then the objects of manifests.
    fn put_together(self, scenario: &mut Scenario) -> Result<(), BadInput> {
        let contradicts = |place: &str, Conflict(who): Conflict| {
            BadInput(format!(
                "{place}: another of these files describes {who} differently; give only one of them"
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
