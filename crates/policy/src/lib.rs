//! Compiles rules into map entries and layer-7 rule sets; with a reference model.
//!
//! [`rule`] is the internal form of every kind of policy. Two implementations evaluate it and must agree: [`model`],
//! which is written for readers, and [`compile`], which computes the entries that the packet path looks up.
#![forbid(unsafe_code)]

pub mod book;
pub mod catalog;
pub mod cidr;
pub mod class;
pub mod compile;
mod compiled_rule;
pub mod directory;
pub mod domain;
pub mod endpoint_view;
mod facet;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
#[cfg(any(test, feature = "generate"))]
pub mod generate;
pub mod grouping;
pub mod lint;
pub mod model;
pub mod names;
pub mod registry;
pub mod rule;
pub mod set;
mod share;
#[cfg(test)]
mod tests;
mod text;
pub mod traffic;
