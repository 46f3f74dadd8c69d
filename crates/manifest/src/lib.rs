//! Parses YAML and JSON manifests into policies, services and workloads, and reports errors with positions.
//!
//! The input is text, the output values or [`Diagnostic`]s; nothing here opens a file. A document with an error is
//! refused as a whole, and all errors of a file are reported together.
#![forbid(unsafe_code)]

mod address;
mod cidr;
mod cilium;
mod diagnostic;
mod document;
mod domain;
mod header;
mod icmp;
mod item;
mod kind;
mod kubernetes;
pub mod label;
mod name;
mod nearest;
mod object;
mod order;
mod positions;
mod report;
mod selector;
mod simple_yaml;
pub mod test;
mod tiered;
mod tree;
pub mod vocabulary;
mod workload;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use kind::kind_named;
pub use object::{
    CidrGroup, EndpointPort, EndpointSlice, Endpoints, NamedPort, Namespace, NodeObject, Object, ObjectName,
    OwnerReference, Ownership, PodCount, Policy, Service, ServicePort, ServicePortRef, TargetPort,
    TransportProtocol, WorkloadObject,
};
pub use positions::{PolicyPositions, Position};
pub use yaml::parsers_agree;

use item::Item;
use report::Report;
use std::ops::Range;
use tree::Document;

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its objects, in order.
    pub objects: Vec<Object>,
    /// The own text of each object.
    pub texts: Vec<ObjectText>,
    /// The positions of its policies.
    pub positions: PolicyPositions,
    /// The warnings.
    pub warnings: Vec<Diagnostic>,
    /// The number of documents that were skipped, because their kinds do not affect policy.
    pub skipped: usize,
}

/// The own text of an object, which describes it without the rest of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectText {
    /// A whole document: these bytes of the file.
    Document(Range<usize>),
    /// An item of a list, as a document of its own.
    Item(String),
}

impl ObjectText {
    /// The text; `file` is the text of the whole file.
    pub fn within<'a>(&'a self, file: &'a str) -> &'a str {
        match self {
            Self::Document(bytes) => &file[bytes.clone()],
            Self::Item(text) => text,
        }
    }
}

/// The documents of a file as JSON, each in one line, whatever their kinds.
///
/// # Errors
/// The findings of a text that is no YAML.
pub fn documents_as_json(file: &str, text: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
    let report = Report::on(file);
    let documents = yaml::documents(text, &report);
    if !report.is_clean_since(0) {
        return Err(report.finish());
    }
    Ok(documents.iter().map(|document| document.node.json()).collect())
}

/// Parses a file of any number of documents; `file` is the name in diagnostics.
///
/// # Errors
/// All findings, warnings included; the caller must apply nothing of the file.
pub fn parse(file: &str, text: &str) -> Result<Manifest, Vec<Diagnostic>> {
    let report = Report::on(file);
    let documents = yaml::documents(text, &report);
    let (name, mut positions) = (file.into(), PolicyPositions::default());
    let (mut objects, mut texts) = (Vec::new(), Vec::new());
    for Document { node, bytes } in &documents {
        for described in document::read(&Item::document(node, &report)) {
            if let Object::Policy(policy) = &described.object {
                positions.note(policy, &described.document, &name);
            }
            texts.push(
                described.list_item().map_or_else(|| ObjectText::Document(bytes.clone()), ObjectText::Item),
            );
            objects.push(described.object);
        }
    }
    let (is_clean, skipped) = (report.is_clean_since(0), report.skipped());
    let findings = report.finish();
    if is_clean {
        Ok(Manifest { objects, texts, positions, warnings: findings, skipped })
    } else {
        Err(findings)
    }
}
