//! Loads, pins and attaches the programs of the packet path, and writes and reads their maps.
//!
//! [`ObjectSpec`] is the content of the object file, the same on every machine. [`Loaded`] owns the programs and maps that the
//! kernel made of it.
//! No other crate calls bpf(2) or attaches programs by netlink.
//!
//! Needs Linux 5.15 by the features it uses (batches on tries 5.14, ring buffer 5.8, links 5.7); from 6.6 on programs
//! are attached as tcx links, before that as clsact filters. Tested on Linux 6.18.

mod apply;
mod attach;
mod baseline;
mod clsact;
mod events;
pub mod inspect;
mod lease;
mod links;
mod loaded;
mod mapped;
mod namespace;
mod pin;
mod pinned;
mod read;
mod shared_words;
mod spec;
mod sys;
mod test_run;
mod tracking;
mod type_information;
mod upkeep;
mod usage;

pub use abi::capacity::Capacities;
pub use apply::ApplyError;
pub use attach::Attacher;
pub use baseline::Baseline;
pub use events::{EventRings, EventSignal};
pub use lease::{ReadLease, read_lease};
pub use links::{AttachError, Mode, detach_filters};
pub use loaded::{Loaded, OpenError, Options};
pub use mapped::MappedEpoch;
pub use pin::{PinError, lock_pins, pin_directory, remove_other_layouts, remove_pins};
pub use pinned::{Pinned, clear, set_proxy_sockets};
pub use read::{CounterRow, Counters, LostCounts, MapEntries, ReadError};
pub use shared_words::SharedWords;
pub use spec::{MapSpec, ObjectSpec, ProgramSpec, SpecError};
pub use test_run::{PacketContext, ProgramAction, TestRun, TestRunError};
pub use tracking::{TrackingError, tracking_offsets};
pub use upkeep::{Restored, Upkeep};
pub use usage::{MapUsage, UsageReader};

/// The compiled programs, as `build.rs` found or made them.
pub static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nexin.bpf.o"));
