//! Rules in; verdicts, map rows and layer-7 tables out.
//!
//! [`rule`] is the one internal form of every kind of policy. Two implementations give it meaning and must agree:
//! [`model`], written to be read, and [`compile`], which makes the rows that the packet path looks up.
#![forbid(unsafe_code)]

pub mod book;
pub mod catalog;
pub mod cidr;
pub mod class;
mod column;
pub mod compile;
pub mod compiled_rule;
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
pub mod rule;
pub mod set;
mod share;
#[cfg(test)]
mod tests;
mod text;
pub mod traffic;
