//! Rows for tests that need a policy and no compiler of policies.

use crate::policy::{
    ClassKey, ColumnKey, Direction, GroupKey, VerdictInfo, VerdictKey, WHOLE_INSIDE, WHOLE_WORLD,
};
use crate::row::Row;

/// A policy's verdict on one port of one peer, in grouping 0.
#[derive(Clone, Copy, Debug)]
pub struct OnePort {
    /// The policy's number; its one column has the same.
    pub policy: u32,
    /// The peer's number; its group has the same.
    pub peer: u32,
    /// Which way connections are opened, seen from the policy's subject.
    pub direction: Direction,
    /// IP protocol number.
    pub protocol: u8,
    /// Port of the receiving side.
    pub port: u16,
    /// The verdict.
    pub verdict: VerdictInfo,
}

impl OnePort {
    /// All rows from the peer to the verdict. Rows of several ports, peers and policies may lie beside one another.
    pub fn rows(&self) -> [Row; 5] {
        let Self { policy, peer, .. } = *self;
        let class = policy << 16 | peer & 0xffff;
        let column = |cidr| Row::Column(ColumnKey { policy, cidr }, policy);
        let key = VerdictKey {
            prefix_bits: VerdictKey::ONE_PORT,
            class,
            direction: self.direction as u8,
            protocol: self.protocol,
            port: self.port.to_be_bytes(),
        };
        [
            Row::Group(GroupKey { grouping: 0, peer }, peer),
            column(WHOLE_INSIDE),
            column(WHOLE_WORLD),
            Row::Class(ClassKey { column: policy, group: peer }, class),
            Row::Verdict(key, self.verdict),
        ]
    }
}
