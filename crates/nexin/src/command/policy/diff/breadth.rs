//! How much a comparison covers, and where it gives up.

use policy::domain::TooManyOverlaps;

/// How much a comparison covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breadth {
    /// Workloads and nodes that are known, and each block, domain and entity by itself.
    Known,
    /// All combinations of what rules tell apart.
    Everything,
}

/// Why not everything that rules tell apart can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("selectors of workloads or nodes can be combined in more than {} ways", MAX_LABEL_SETS)]
    Kinds,
    #[error(transparent)]
    Overlaps(#[from] TooManyOverlaps),
    #[error("one subject's rules call {0} ports by name, which can be combined in too many ways")]
    PortNames(usize),
    #[error("{0} pairs of workloads, nodes and addresses would have to be compared")]
    Pairs(usize),
}

/// Maximum number of label sets in one comparison.
pub(super) const MAX_LABEL_SETS: usize = 4096;
