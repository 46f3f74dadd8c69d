//! The seeds of one fuzz target.

use std::collections::BTreeSet;

/// The seeds of one target, and words that its inputs are made of.
#[derive(Debug, Default)]
pub struct Seeds {
    /// Whole inputs.
    pub inputs: BTreeSet<Vec<u8>>,
    /// Words for the fuzzer's dictionary.
    pub words: BTreeSet<String>,
}
