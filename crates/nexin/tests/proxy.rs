//! Tests of the node proxy's connections: repeated source ports, many connections at a time, abandoned ones, and
//! connections that a change of policy or the removal of a workload ends; and the events of requests.
//!
//! Some tests repeat for the time given in the environment; `make connections` repeats them for a minute.

#[path = "node/bed.rs"]
#[expect(dead_code, reason = "the bed is made for other tests too")]
mod bed;
#[path = "proxy/changes.rs"]
mod changes;
#[path = "proxy/churn.rs"]
mod churn;
#[path = "proxy/ends.rs"]
mod ends;
#[path = "proxy/events.rs"]
mod events;
#[path = "proxy/stage.rs"]
mod stage;
