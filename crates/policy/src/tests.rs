//! Proof that the model says what the reference asks for, and that the rows say what the model says.

mod answers;
mod differential;
mod domains;
mod grouping;
mod node;
mod reuse;
mod semantics;
