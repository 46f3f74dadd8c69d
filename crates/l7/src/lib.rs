//! HTTP/1.1 without I/O: the request head, the frame of a body, and the rules that decide on a request.
//!
//! Every home of layer 7 uses this one parser and this one matcher, so that the answer to the same bytes is the same.
#![forbid(unsafe_code)]

pub mod expression;
pub mod matcher;
pub mod rule;

pub use matcher::{Matcher, RuleError};
pub use rule::{Field, HttpRule, RequestView};
