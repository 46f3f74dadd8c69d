//! `nexin bpf maps`: the maps, their sizes and their memory.

use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use abi::map::PREFIX;
use clap::Args;
use loader::inspect;
use serde::Serialize;

/// Show the maps: kind, sizes, capacity and memory
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin bpf maps\n  nexin bpf maps --all -o json")]
pub(super) struct Maps {
    /// Show the maps of other programs, too
    #[arg(long)]
    all: bool,
}

/// A map, as it is printed.
#[derive(Serialize)]
struct Row {
    id: u32,
    name: String,
    kind: &'static str,
    key_bytes: u32,
    value_bytes: u32,
    capacity: u32,
    memory_bytes: Option<u64>,
}

impl Maps {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let ours = |map: &inspect::LoadedMap| self.all || map.name.starts_with(PREFIX);
        let rows: Vec<Row> = inspect::maps()?.into_iter().filter(ours).map(Row::new).collect();
        listing::print(session, &rows, ["id", "name", "kind", "key", "value", "capacity", "memory"], |row| {
            [
                row.id.to_string(),
                row.name.clone(),
                row.kind.into(),
                row.key_bytes.to_string(),
                row.value_bytes.to_string(),
                row.capacity.to_string(),
                row.memory_bytes.map_or("-".into(), |bytes| format!("{} KiB", bytes.div_ceil(1024))),
            ]
        })
    }
}

impl Row {
    fn new(map: inspect::LoadedMap) -> Self {
        Self {
            id: map.id,
            name: map.name,
            kind: map.kind,
            key_bytes: map.key_size,
            value_bytes: map.value_size,
            capacity: map.capacity,
            memory_bytes: map.memory,
        }
    }
}
