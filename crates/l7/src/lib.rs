//! HTTP/1.1 and HTTP/1.0 without I/O: heads, the framing of bodies, and the rules that match requests.
//!
//! Proxy, reference model and command line use this one parser and this one matcher, so that the same bytes always get the
//! same verdict. Ambiguous bytes are refused, never guessed ([`Refusal`]).
//!
//! A request passes these steps: a [`Scanner`] finds the end of the head, [`Request::parse`] parses it into its canonical
//! form, [`Matcher::matches`] matches its [`Request::view`] against the rules, [`Request::write`] writes the head that is
//! forwarded, and a [`Body`] finds the end of the body.
#![forbid(unsafe_code)]

mod automaton;
pub mod body;
mod chunk;
mod connection;
pub mod cost;
pub mod equivalence;
pub mod expression;
pub mod head;
pub mod matcher;
mod name;
pub mod path;
pub mod reach;
mod refusal;
pub mod request;
pub mod response;
pub mod rule;
pub mod rule_error;

pub use automaton::TooCostly;
pub use body::{Body, Framing};
pub use head::{Scanner, Version};
pub use matcher::Matcher;
pub use refusal::Refusal;
pub use request::Request;
pub use response::{Persistence, Response};
pub use rule::{Field, HttpRule, RequestView};
pub use rule_error::RuleError;
