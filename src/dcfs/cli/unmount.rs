//! `dcfs unmount`.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::complete;
use super::output::Output;
use super::registry::Note;
use crate::fuse::mountpoint;
use dcfs_core::error::Result;

/// How long to wait for the process behind the mount to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between attempts to unmount a busy mount: the kernel does not notify when a file system becomes idle.
const AGAIN: Duration = Duration::from_millis(500);

/// Unmount a catalog
#[derive(Debug, clap::Args)]
pub struct Unmount {
    /// The mountpoint
    #[arg(add = complete::mountpoints())]
    mountpoint: PathBuf,
    /// Detach it from the tree even while it is in use; open files stay readable until closed
    #[arg(long)]
    force: bool,
    /// Wait until nobody uses it: to replace a running dcfs without errors for anybody
    #[arg(long, conflicts_with = "force")]
    when_idle: bool,
}

impl Unmount {
    /// Unmounts, and waits until the mount's process has ended, so that a new mount does not meet the old one.
    ///
    /// # Errors
    /// Nothing is mounted there, or it is in use, and neither `--force` nor `--when-idle` was given.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let note = Note::read(&mountpoint::absolute(&self.mountpoint));
        let path = loop {
            match mountpoint::unmount(&self.mountpoint, self.force) {
                Err(mountpoint::Error::InUse(_)) if self.when_idle => thread::sleep(AGAIN),
                told => break told?,
            }
        };
        if let Some(Note { pid, .. }) = note {
            // After a forced unmount it lives on until its users are gone.
            if !self.force {
                wait_for_end(pid);
            }
            Note::remove(&path, pid);
        }
        out.line(format_args!("{} is unmounted", path.display()))
    }
}

/// Waits for a `dcfs` process to end. Does not wait for a pid that was reused by another program, nor for a
/// zombie that no process reaps, as in containers without an init: its memory is freed.
fn wait_for_end(pid: u32) {
    let since = Instant::now();
    let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}"));
    let runs = || read("cmdline").is_ok_and(|words| !words.is_empty());
    let ours = || read("comm").is_ok_and(|name| name.trim() == "dcfs");
    while ours() && runs() && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
}
