//! What every connection of a proxy uses: its limits, policy, network and slots.

use crate::config::ProxyConfig;
use crate::network::ProxyNetwork;
use crate::policy::RequestPolicy;
use crate::slots::Slots;
use std::sync::Arc;

/// The limits, interfaces and slots that all connections use.
pub(crate) struct Resources {
    pub(crate) config: ProxyConfig,
    pub(crate) policy: Arc<dyn RequestPolicy>,
    pub(crate) network: Arc<dyn ProxyNetwork>,
    pub(crate) slots: Arc<Slots>,
}
