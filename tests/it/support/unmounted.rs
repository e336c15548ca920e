//! The file system over a catalog without a kernel: the operations that [`mounted`](super::mounted) performs by
//! system calls, called on the `Vfs` itself, in milliseconds and without a device.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dcfs_core::error::Result;
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::{Limits, Packs};
use dcfs_store::{Config, Stores};
use dcfs_vfs::siblings::Prefetch;
use dcfs_vfs::{Attr, FileKind, Vfs};
use tokio::runtime::{Builder, Runtime};

use crate::mount::Files;

/// Longer than any answer of a test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file system of one catalog, with a cache of its own.
pub struct Unmounted {
    runtime: Runtime,
    vfs: Arc<Vfs>,
}

impl Unmounted {
    /// Opens the database `catalog`, with its cache below the folder `home`.
    pub fn new(catalog: &Path, home: &Path) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let catalog = Arc::new(Catalog::open(catalog).expect("a catalog"));
        let packs = Packs::new(catalog.clone(), home.join("packs"), Limits::default());
        let stores = Stores::with_environment(Config::new(PATIENCE), Vec::new());
        let vfs = Vfs::new(catalog, packs, stores, PATIENCE, Prefetch::default());
        Self { runtime: runtime.expect("a runtime"), vfs }
    }

    /// The file or directory at `path` below `datasets/`, links followed.
    pub fn find(&self, path: &str) -> Result<Attr> {
        self.runtime.block_on(self.vfs.find(path.as_bytes()))
    }

    /// Every file below `path` by its names, with size and time in microseconds. Each listed name is looked up
    /// as well.
    pub fn walk(&self, path: &str) -> Files {
        self.runtime.block_on(self.walked(path)).expect("walked")
    }

    async fn walked(&self, top: &str) -> Result<Files> {
        let mut found = Files::new();
        let mut tree = self.vfs.tree(&self.vfs.find(top.as_bytes()).await?).await?;
        while let Some(node) = tree.next().await {
            let node = node?;
            let whole = [top.as_bytes(), b"/", &node.path].concat();
            let looked_up = self.vfs.find(&whole).await?;
            assert_eq!(looked_up, node.attr, "{}", whole.escape_ascii());
            if node.attr.kind == FileKind::Directory {
                tree.enter(node.path, &node.attr).await?;
                continue;
            }
            let names = node.path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
            let since = node.attr.mtime.duration_since(SystemTime::UNIX_EPOCH);
            let micros = match since {
                Ok(after) => after.as_micros() as i64,
                Err(before) => -(before.duration().as_micros() as i64),
            };
            let is_new = found.insert(names, (node.attr.size, micros)).is_none();
            assert!(is_new, "{} is listed twice", whole.escape_ascii());
        }
        Ok(found)
    }

    /// The bytes of the file at `path` below `datasets/`.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.runtime.block_on(async {
            let file = self.vfs.find(path.as_bytes()).await?;
            self.vfs
                .pour(&file, |chunk| {
                    bytes.extend_from_slice(&chunk);
                    Ok(())
                })
                .await
        })?;
        Ok(bytes)
    }
}
