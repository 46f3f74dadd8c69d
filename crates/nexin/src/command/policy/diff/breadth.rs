//! What a comparison covers, and its limits.

use policy::domain::TooManyOverlaps;

/// What a comparison covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breadth {
    /// Known workloads and nodes, and each CIDR block, domain and entity by itself.
    Known,
    /// All combinations of what rules distinguish.
    Everything,
}

/// Why not everything that rules distinguish can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("selectors of workloads or nodes have more than {} combinations", MAX_LABEL_SETS)]
    Kinds,
    #[error(transparent)]
    Overlaps(#[from] TooManyOverlaps),
    #[error("the rules of one subject use {0} named ports, which have too many combinations")]
    PortNames(usize),
    #[error("{0} pairs of workloads, nodes and addresses would have to be compared")]
    Pairs(usize),
}

/// Maximum number of label sets in one comparison.
pub(super) const MAX_LABEL_SETS: usize = 4096;
