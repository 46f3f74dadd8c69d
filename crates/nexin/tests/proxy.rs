//! The node proxy's connections for real: source ports that come again, many at a time, abandoned ones, and those that a
//! change of policy or the end of a workload ends.
//!
//! Some of them repeat for as long as the environment says; `make connections` has them do so for a minute.

#[path = "node/bed.rs"]
#[expect(dead_code, reason = "the bed is made for other tests too")]
mod bed;
#[path = "proxy/changes.rs"]
mod changes;
#[path = "proxy/churn.rs"]
mod churn;
#[path = "proxy/ends.rs"]
mod ends;
#[path = "proxy/stage.rs"]
mod stage;
