//! The status files of a mount, with their state when opened: `_status.json` and `_metrics.prom` at its top.
//!
//! As in `/proc`, such a file has size 0 and is read to its end; both can be looked up but are not listed.

use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;

use super::handles::Handle;
use super::inode::Inode;
use super::{Attr, FileKind, Opened, Vfs};
use dcfs_data::catalog::{Pulling, pulls};
use dcfs_data::pack::progress::{self, UnderWay};
use dcfs_data::pack::shared::Told;
use dcfs_store::metrics::Snapshot;

/// The contents of `_status.json`.
#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    /// Seconds since the mount.
    uptime: u64,
    /// Files and directories that are open now.
    open: usize,
    /// Versions that are being packed now, with their progress.
    packing: Vec<UnderWay>,
    /// Versions whose rows are being pulled from Studio now, with their progress.
    pulling: Vec<Pulling>,
    /// Counters of the folder that hosts share; null if `[shared]` names nothing.
    shared: Option<Told>,
    store: Snapshot,
}

impl Vfs {
    /// The attributes of such a file.
    pub(super) fn live(&self, inode: Inode) -> Attr {
        let (size, mtime) = (0, self.born);
        Attr { inode, kind: FileKind::File, size, mtime, ttl: super::SHORT }
    }

    /// Opens such a file.
    pub(super) fn open_live(&self, inode: Inode) -> Opened {
        let text = match inode {
            Inode::Metrics => self.stores.prometheus(),
            _ => self.status(),
        };
        let text = Handle::Text(Bytes::from(text));
        Opened { keep: false, is_live: true, ..self.opened(text) }
    }

    fn status(&self) -> String {
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: SystemTime::now().duration_since(self.born).map_or(0, |time| time.as_secs()),
            open: self.handles.count(),
            packing: progress::under_way(),
            pulling: pulls(),
            shared: self.packs.told(),
            store: self.stores.metrics(),
        };
        serde_json::to_string_pretty(&status).unwrap_or_default() + "\n"
    }
}
