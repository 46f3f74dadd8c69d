//! `nexin bpf net`: the programs at each attach point of a network namespace.

use super::place::Place;
use crate::listing;
use crate::outcome::Outcome;
use crate::session::Session;
use clap::Args;
use loader::inspect;
use serde::Serialize;
use std::collections::BTreeMap;

/// Show the programs at the interfaces and at the network namespace, in the order they run
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexin bpf net\n  nexin bpf net --netns nexin-demo-node -o json")]
pub(super) struct Net {
    #[command(flatten)]
    place: Place,
}

/// A program at its attach point.
#[derive(Serialize)]
struct Row {
    interface: String,
    index: u32,
    mode: String,
    hook: String,
    program: u32,
    name: String,
    link: Option<u32>,
}

impl Net {
    pub(super) fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let attachments = self.place.attachments()?;
        let names: BTreeMap<u32, String> =
            inspect::programs()?.into_iter().map(|program| (program.id, program.name)).collect();
        let row = |attachment: inspect::Attachment| {
            let point = attachment.point.to_string();
            let (mode, hook) = point.split_once('/').unwrap_or((&point, "ingress"));
            Row {
                mode: mode.into(),
                hook: hook.into(),
                name: names.get(&attachment.program).cloned().unwrap_or_default(),
                interface: attachment.name,
                index: attachment.interface,
                program: attachment.program,
                link: attachment.link,
            }
        };
        let rows: Vec<Row> = attachments.into_iter().map(row).collect();
        listing::print(
            session,
            &rows,
            ["interface", "index", "mode", "hook", "program", "name", "link"],
            |row| {
                [
                    row.interface.clone(),
                    row.index.to_string(),
                    row.mode.clone(),
                    row.hook.clone(),
                    row.program.to_string(),
                    row.name.clone(),
                    row.link.map_or("-".into(), |link| link.to_string()),
                ]
            },
        )
    }
}
