//! Services, the EndpointSlices behind them, and the backend set of each frontend.
//!
//! A frontend is one address, port and protocol of a service. Its backends come from EndpointSlices only: those that
//! manifests list, and those that the [`SelectorSource`] makes from the workloads that a service selects. The packet path
//! looks a frontend up and finds a numbered set of backends; a changed set gets a new number, so that one write switches
//! the frontend from the old set to the new.
#![forbid(unsafe_code)]

mod candidate;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod frontend;
mod selector;
mod service;
mod services;
mod slice;
mod table;

pub use candidate::Candidate;
pub use frontend::{Frontend, frontends, frontends_among};
pub use selector::SelectorSource;
pub use service::{API_SERVER, Service, ServiceName, ServicePort, TargetPort, TransportProtocol};
pub use services::{BackendSource, Services};
pub use slice::{EndpointPort, EndpointSlice, ServicePortRef};
pub use table::{BackendSet, ServiceListing, ServiceTable, SliceList, Switch};
