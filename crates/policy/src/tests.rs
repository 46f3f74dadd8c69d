//! Tests that the model has the meaning of the documented semantics, and that the compiled rows agree with the model.

mod answers;
mod differential;
mod domains;
mod grouping;
mod node;
mod reuse;
mod semantics;
