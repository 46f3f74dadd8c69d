//! The numbers that rows name, and by which other rows are keyed.

use abi::identity::FIRST_ALLOCATED;
use abi::policy::{FIRST_BLOCK, VerdictKey};
use abi::row::{Row, RowKey};

/// A number that the value of one row names, and by which other rows are keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// A peer or a namespace; peers with reserved numbers always exist.
    Peer(u32),
    Block(u32),
    Policy(u32),
    Grouping(u32),
    Column(u32),
    Class(u32),
    Backends(u32),
}

/// How many kinds of names there are.
pub(crate) const KINDS: usize = 7;

/// The numbers that the value of a row names.
pub(crate) fn names(row: &Row) -> impl Iterator<Item = Name> {
    names_in_places(row).into_iter().flatten()
}

/// The numbers that the value of a row names, each in the place of its field.
pub(crate) fn names_in_places(row: &Row) -> [Option<Name>; 3] {
    let peer = |peer| (peer >= FIRST_ALLOCATED).then_some(Name::Peer(peer));
    let block = |block| (block >= FIRST_BLOCK).then_some(Name::Block(block));
    match row {
        Row::Address(_, info) => [peer(info.peer), peer(info.namespace), block(info.cidr)],
        Row::Endpoint(_, info) => {
            [Some(Name::Policy(info.policy)), Some(Name::Grouping(info.grouping.number())), None]
        }
        Row::Service(_, info) => [Some(Name::Backends(info.backends)), None, None],
        Row::Column(_, column) => [Some(Name::Column(*column)), None, None],
        Row::CidrParent(_, around) => [block(*around), None, None],
        Row::Class(_, class) => {
            [Some(Name::Class(*class)).filter(|_| *class != VerdictKey::SILENT), None, None]
        }
        Row::Group(..) | Row::Verdict(..) | Row::Backend(..) | Row::Unmasqueraded(..) | Row::Config(_) => {
            [None; 3]
        }
    }
}

/// The numbers in the key of a row; a root row has none.
pub(crate) fn numbers(key: &RowKey) -> impl Iterator<Item = Name> {
    let peer = |peer| (peer >= FIRST_ALLOCATED).then_some(Name::Peer(peer));
    let block = |block| (block >= FIRST_BLOCK).then_some(Name::Block(block));
    let numbers = match key {
        RowKey::Address(_) | RowKey::Endpoint(_) | RowKey::Service(_) | RowKey::Unmasqueraded(_) => [None; 2],
        RowKey::Group(key) => [Some(Name::Grouping(key.grouping)), peer(key.peer)],
        RowKey::Column(key) => [Some(Name::Policy(key.policy)), block(key.cidr)],
        RowKey::CidrParent(class) => [block(*class), None],
        RowKey::Class(key) => [Some(Name::Column(key.column)), None],
        RowKey::Verdict(key) => [Some(Name::Class(key.class)), None],
        RowKey::Backend(key) => [Some(Name::Backends(key.backends)), None],
    };
    numbers.into_iter().flatten()
}

impl Name {
    /// The class of a block; none for another number.
    pub(crate) fn block(self) -> Option<u32> {
        match self {
            Self::Block(class) => Some(class),
            _ => None,
        }
    }

    /// The kind of the name, below [`KINDS`], and the number.
    pub(crate) fn place(self) -> (usize, u32) {
        match self {
            Self::Peer(number) => (0, number),
            Self::Block(number) => (1, number),
            Self::Policy(number) => (2, number),
            Self::Grouping(number) => (3, number),
            Self::Column(number) => (4, number),
            Self::Class(number) => (5, number),
            Self::Backends(number) => (6, number),
        }
    }
}
