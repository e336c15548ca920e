//! `dcfs status`: the mounts of this machine that this user can see.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use serde::Serialize;

use super::output::Output;
use super::registry::Note;
use super::terminal;
use crate::fuse::mounts::{self, Health, Mount};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::count;
use dcfs_core::render::table::TextTable;
use dcfs_core::time::Timestamp;

/// List the mounts, and whether they respond
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
    /// The contents of the mount's own status file; null if it does not respond.
    live: Option<serde_json::Value>,
    /// Whether this user's note of it was found: if that names no log, the log is stderr.
    #[serde(skip)]
    is_noted: bool,
}

impl Status {
    /// Queries each mount and prints its state.
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
        let mut table =
            TextTable::of_paths(["MOUNTPOINT", "STATE", "PID", "SINCE", "CATALOG", "LOG"]);
        let work = lines.iter().flat_map(|line| line.pulling().into_iter().chain(line.packing()));
        let work: Vec<String> = work.collect();
        for line in lines {
            let since = line.since.and_then(|s| i64::try_from(s).ok()?.checked_mul(1_000_000));
            let log = match (line.log, line.is_noted) {
                (Some(log), _) => log,
                (None, true) => "stderr".into(),
                (None, false) => "-".into(),
            };
            table.row([
                line.mountpoint,
                line.state.into(),
                line.pid.map_or("-".into(), |pid| pid.to_string()),
                since.map_or("-".into(), |micros| Timestamp::from_micros(micros).to_string()),
                line.catalog,
                log,
            ]);
        }
        out.text(&table.fitted(terminal::width(&io::stdout())))?;
        work.into_iter().try_for_each(|line| out.line(line))
    }
}

impl Line {
    fn of(mount: &Mount) -> Self {
        let state = match mounts::health(&mount.mountpoint) {
            Health::Alive => "alive",
            Health::Dead => "dead",
            Health::Stuck => "stuck",
        };
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let live = (state == "alive").then(|| live(&mount.mountpoint)).flatten();
        let number = |name: &str| live.as_ref().and_then(|live| live[name].as_u64());
        let pid = number("pid").and_then(|pid| u32::try_from(pid).ok());
        let note = Note::read(&mount.mountpoint).filter(|note| is_of(note, mount, pid));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let since = number("uptime").map(|uptime| now.saturating_sub(uptime));
        Self {
            mountpoint: text(mount.mountpoint.clone()),
            catalog: text(mount.catalog()),
            state,
            pid: pid.or(note.as_ref().map(|n| n.pid)),
            since: note.as_ref().map(|n| n.since).or(since),
            log: note.as_ref().and_then(|n| n.log.clone()).map(text),
            is_noted: note.is_some(),
            cache: note.map(|n| text(n.cache)),
            live,
        }
    }
}

impl Line {
    /// A line for each version that is currently being packed by the mount.
    fn packing(&self) -> Vec<String> {
        self.work("packing")
    }

    /// A line for each version whose rows the mount is pulling.
    fn pulling(&self) -> Vec<String> {
        self.work("pulling")
    }

    fn work(&self, what: &str) -> Vec<String> {
        let all = self.live.as_ref().and_then(|live| live[what].as_array());
        let line = |work: &serde_json::Value| {
            let number = |name: &str| work[name].as_u64().unwrap_or(0);
            let far = match number("of") {
                0 => count(number("done")),
                of => format!("{}%", number("done").saturating_mul(100) / of),
            };
            let text = |name: &str| work[name].as_str().unwrap_or("-").to_owned();
            let seconds = work["seconds"].as_f64().unwrap_or(0.0);
            let (at, version, doing) = (&self.mountpoint, text("version"), text("doing"));
            format!("{at}: {what} {version}: {doing}, {far}, for {seconds:.0} s")
        };
        all.into_iter().flatten().map(line).collect()
    }
}

/// Whether a note of this user belongs to this mount. Another user may have mounted there since; the mount's
/// own status decides, else its owner.
fn is_of(note: &Note, mount: &Mount, pid: Option<u32>) -> bool {
    match pid {
        Some(pid) => note.pid == pid,
        None => mount.owner.is_none_or(|owner| owner == geteuid().as_raw()),
    }
}

/// The status file of a live mount. Older versions of dcfs have none.
fn live(mountpoint: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(mountpoint.join("_status.json")).ok()?).ok()
}
