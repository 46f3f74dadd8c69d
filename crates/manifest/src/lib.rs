//! YAML and JSON manifests into policies, services and workloads, with positions and messages.
//!
//! Text comes in, values or [`Diagnostic`]s go out; nothing here opens a file. A document with any error is refused
//! whole, and all errors of a file are told together.
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
pub mod test;
mod tiered;
mod tree;
mod workload;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use kind::kind_named;
pub use object::{
    CidrGroup, EndpointPort, EndpointSlice, Endpoints, NamedPort, Namespace, NodeObject, Object, ObjectName,
    OwnerReference, Ownership, PodCount, Policy, Protocol, Service, ServicePort, ServicePortRef, TargetPort,
    WorkloadObject,
};
pub use positions::{PolicyPositions, Position};

use document::DescribedObject;
use item::Item;
use report::Report;

/// What a file describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its objects, in order.
    pub objects: Vec<Object>,
    /// Where its policies stand.
    pub positions: PolicyPositions,
    /// What is worth knowing about them.
    pub warnings: Vec<Diagnostic>,
    /// How many documents were of kinds that have nothing to do with policy, and were left alone.
    pub skipped: usize,
}

/// Reads a file of any number of documents; `file` is what diagnostics call it.
///
/// # Errors
/// Everything that is wrong with the file, warnings included; then nothing of it should be applied.
pub fn parse(file: &str, text: &str) -> Result<Manifest, Vec<Diagnostic>> {
    let report = Report::on(file);
    let nodes = yaml::documents(text, &report);
    let described = nodes.iter().flat_map(|node| document::read(&Item::document(node, &report)));
    let (name, mut positions, mut objects) = (file.into(), PolicyPositions::default(), Vec::new());
    for DescribedObject { object, document } in described {
        if let Object::Policy(policy) = &object {
            positions.note(policy, &document, &name);
        }
        objects.push(object);
    }
    let (is_clean, skipped) = (report.is_clean_since(0), report.skipped());
    let findings = report.finish();
    if is_clean { Ok(Manifest { objects, positions, warnings: findings, skipped }) } else { Err(findings) }
}
