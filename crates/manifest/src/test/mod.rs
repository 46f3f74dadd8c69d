//! PolicyTest documents: a world, policies, and the expected verdicts of probes.

mod end;
mod known_names;
mod manifests;
mod participant;
mod probe;
mod step;

pub use end::{ProbeEnd, WorkloadName};
pub use manifests::Load;
pub use participant::{External, ExternalNames, NodeState, WorkloadState};
pub use probe::{Expect, HttpRequest, Probe, ProbeTraffic};
pub use step::TestStep;

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::TEST;
use crate::header;
use crate::item::{Fields, Item, Nulls};
use crate::report::Report;
use crate::yaml;
use known_names::KnownNames;

/// One PolicyTest document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTest {
    /// Its name.
    pub name: String,
    /// The steps, in order. `policies` and `probes` without `steps` form one step. Namespaces, workloads, externals,
    /// nodes and modes beside `steps` belong to the first step.
    pub steps: Vec<TestStep>,
}

/// The tests of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFile {
    /// Its documents, in order.
    pub documents: Vec<TestDocument>,
    /// The warnings.
    pub warnings: Vec<Diagnostic>,
}

/// A document of a file of tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestDocument {
    /// The name of the test.
    pub name: String,
    /// The file, as the caller named it.
    pub file: String,
    /// The line it begins in.
    pub line: u32,
    /// The test; or, if a policy of the test needs an unsupported feature, all findings of that kind.
    pub test: Result<PolicyTest, Vec<Diagnostic>>,
}

/// Parses a file of PolicyTest documents; `file` is the name in diagnostics.
///
/// # Errors
/// All errors of the file and of the files that it refers to. An unsupported feature is no error of the file, but the
/// outcome of its document.
pub fn parse(file: &str, text: &str, load: &mut Load<'_>) -> Result<TestFile, Vec<Diagnostic>> {
    let report = Report::on(file);
    let found = yaml::documents(text, &report);
    let items = found.iter().map(|document| Item::document(&document.node, &report));
    let documents = items.filter_map(|item| document(file, &item, load)).collect();
    let findings = report.finish();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let warnings = findings.into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    Ok(TestFile { documents, warnings })
}

fn document(file: &str, item: &Item<'_>, load: &mut Load<'_>) -> Option<TestDocument> {
    let mark = item.report().mark();
    let mut fields = item.fields(Nulls::Refused)?;
    let (version, kind) = (fields.require("apiVersion")?, fields.require("kind")?);
    let (api_version, kind) = (version.text()?, kind.text()?);
    if (api_version, kind) != TEST {
        item.error(format!("this is {kind} of {api_version}; tests are {} of {}", TEST.1, TEST.0));
        return None;
    }
    let name = header::read(&mut fields, api_version, kind).name;
    let spec = fields.require("spec");
    fields.finish();
    let steps = spec.and_then(|item| item.fields(Nulls::Refused)).map(|fields| steps(fields, load));
    let (name, steps) = (name?, steps?);
    let refusals = item.report().refusals_since(mark);
    let test = if refusals.is_empty() { Ok(PolicyTest { name: name.clone(), steps }) } else { Err(refusals) };
    Some(TestDocument { name, file: file.to_owned(), line: item.line(), test })
}

/// Reads `spec`: steps, or the fields of a single step.
fn steps(mut fields: Fields<'_>, load: &mut Load<'_>) -> Vec<TestStep> {
    let mut world = KnownNames::new(fields.item().report());
    if let Some(description) = fields.take("description") {
        description.text();
    }
    let listed = fields.take("steps");
    let first = step::read(&mut fields, &mut world, load);
    if let Some(listed) = &listed
        && !first.is_world_only()
    {
        listed.error(
            "cannot be combined with fields of a step; beside `steps` only the world may be described",
        );
    }
    fields.finish();
    let Some(listed) = listed else { return vec![first] };
    let mut steps: Vec<TestStep> = Vec::new();
    for item in listed.list() {
        let Some(mut fields) = item.fields(Nulls::Refused) else { continue };
        steps.push(step::read(&mut fields, &mut world, load));
        fields.finish();
    }
    match steps.first_mut() {
        Some(step) => step.begin_with(first),
        None => listed.error("there is no step; list at least one"),
    }
    steps
}
