//! Versions of the specification.

use serde_json::{Value, json};
use std::fmt;

/// A supported version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecVersion {
    /// 0.3.1: results with several interfaces and addresses.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses without their family.
    V1_0_0,
    /// 1.1.0: GC and STATUS.
    V1_1_0,
}

/// All of them, oldest first.
const ALL: [SpecVersion; 4] =
    [SpecVersion::V0_3_1, SpecVersion::V0_4_0, SpecVersion::V1_0_0, SpecVersion::V1_1_0];

impl SpecVersion {
    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// Parses `cniVersion`; none for a version that is not supported.
    pub fn parse(text: &str) -> Option<Self> {
        ALL.into_iter().find(|version| version.text() == text)
    }

    /// The version as `cniVersion` has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// All versions, oldest first.
    pub fn names() -> Vec<&'static str> {
        ALL.map(Self::text).to_vec()
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The answer to VERSION.
pub fn versions() -> Value {
    json!({ "cniVersion": SpecVersion::NEWEST.text(), "supportedVersions": SpecVersion::names() })
}
