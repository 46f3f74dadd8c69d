//! HTTP/1.1 and HTTP/1.0 without I/O: the request head, the frame of a body, and the rules that decide on a request.
//!
//! Every home of layer 7 uses this one parser and this one matcher, so that the answer to the same bytes is the same.
//! What cannot be read with certainty is refused, never guessed ([`Refusal`]).
//!
//! A connection goes like this: a [`Scanner`] finds the end of a head, [`Request::parse`] makes the one canonical form
//! of it, [`Matcher::matches`] decides on its [`Request::view`], [`Request::write`] makes the bytes that are forwarded,
//! and a [`Body`] tells how far the body goes.
#![forbid(unsafe_code)]

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

pub use body::{Body, Framing};
pub use head::{Scanner, Version};
pub use matcher::{Matcher, RuleError, TooCostly};
pub use refusal::Refusal;
pub use request::Request;
pub use response::{Persistence, Response};
pub use rule::{Field, HttpRule, RequestView};
