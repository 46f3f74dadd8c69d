//! The settings that the parts of the operator share.

use ::operator::NodeBlocks;
use kubernetes::Connection;
use std::time::Duration;

/// What the parts of the operator share.
#[derive(Debug)]
pub(super) struct OperatorSettings {
    pub(super) connection: Connection,
    pub(super) cluster_name: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) grace: Duration,
    pub(super) webhook_port: u16,
    pub(super) blocks: NodeBlocks,
}
