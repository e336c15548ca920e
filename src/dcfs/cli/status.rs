//! `dcfs status`: the mounts of this machine that this user sees.

use std::path::Path;

use serde::Serialize;

use super::output::Output;
use super::registry::Note;
use crate::fuse::mounts::{self, Health, Mount};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::table::Table;
use dcfs_core::time::Timestamp;

/// List the mounts, and whether they answer
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One mount.
#[derive(Debug, Serialize)]
struct Line {
    mountpoint: String,
    catalog: String,
    state: &'static str,
    pid: Option<u32>,
    since: Option<u64>,
    log: Option<String>,
    cache: Option<String>,
    /// What the mount says of itself; null where it does not answer.
    live: Option<serde_json::Value>,
}

impl Status {
    /// Asks each mount and prints what is known of it.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let all = mounts::all().map_err(|error| Error::new(Kind::Broken, error))?;
        let lines: Vec<Line> = all.iter().filter(|m| m.is_dcfs()).map(Line::of).collect();
        if self.json {
            return out.json(&lines);
        }
        if lines.is_empty() {
            return out
                .line("nothing is mounted; `dcfs mount DIR` mounts the catalog of this folder");
        }
        let mut table = Table::new(["MOUNTPOINT", "STATE", "PID", "SINCE", "CATALOG", "LOG"]);
        for line in lines {
            let since = line.since.and_then(|s| i64::try_from(s).ok()?.checked_mul(1_000_000));
            table.row([
                line.mountpoint,
                line.state.into(),
                line.pid.map_or("-".into(), |pid| pid.to_string()),
                since.map_or("-".into(), |micros| Timestamp::from_micros(micros).to_string()),
                line.catalog,
                line.log.unwrap_or_else(|| "stderr".into()),
            ]);
        }
        out.text(&table.to_string())
    }
}

impl Line {
    fn of(mount: &Mount) -> Self {
        let note = Note::read(&mount.mountpoint);
        let state = match mounts::health(&mount.mountpoint) {
            Health::Alive => "alive",
            Health::Dead => "dead",
            Health::Stuck => "stuck",
        };
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        Self {
            mountpoint: text(mount.mountpoint.clone()),
            catalog: text(mount.catalog()),
            state,
            pid: note.as_ref().map(|n| n.pid),
            since: note.as_ref().map(|n| n.since),
            log: note.as_ref().and_then(|n| n.log.clone()).map(text),
            cache: note.map(|n| text(n.cache)),
            live: (state == "alive").then(|| live(&mount.mountpoint)).flatten(),
        }
    }
}

/// What an alive mount says of itself. One that is older says nothing.
fn live(mountpoint: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(mountpoint.join("_status.json")).ok()?).ok()
}
