//! What every connection of a proxy uses: its limits, policy, events, network and slots.

use crate::config::Config;
use crate::event::Events;
use crate::network::Network;
use crate::policy::Policy;
use crate::slots::Slots;
use std::sync::Arc;

/// The limits, interfaces and slots that all connections use.
pub(crate) struct Resources {
    pub(crate) config: Config,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) slots: Arc<Slots>,
}
