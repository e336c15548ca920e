//! A session: a catalog, its packs, the stores of its objects and the file system over them, wired together from what
//! it is told.
//!
//! It reads no terminal, no environment and no home folder: the command line, the mount, the server for agents and the
//! page for browsers each find out what was asked for, and open their session with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::sample;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::shared::{Rules, Small, Tier};
use dcfs_data::pack::{Limits, Packs};
use dcfs_data::usage::Usage;
use dcfs_disk::space;
use dcfs_store::{self as store, CacheConfig, Stores};
use dcfs_vfs::Vfs;
use dcfs_vfs::siblings::Prefetch;

/// The longest wait of a program's request, unless `--timeout` says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How long a check of a server waits for its first answer: a healthy one takes less than a second, one that is
/// starting is worth a second try.
pub const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Descriptors that other files of the process may need.
const DESCRIPTORS: u64 = 1024;

/// Limit of cached objects whose files stay open, however many descriptors there are.
const MOST_OPEN: usize = 1 << 15;

/// For [`Session::vfs`]: a person can interrupt, and a build that takes minutes must not fail because one answer
/// took long.
pub const PATIENT: Duration = Duration::MAX;

/// All that a command or a mount needs to know to reach a catalog and the objects of its rows: found, checked, absolute.
#[derive(Clone, Debug)]
pub struct Session {
    /// The database file.
    pub catalog: PathBuf,
    pub cache: PathBuf,
    /// In bytes.
    pub cache_size: u64,
    /// In bytes.
    pub memory: u64,
    pub prefetch: Prefetch,
    /// How long to wait for a server that has never answered.
    pub first_answer: Option<Duration>,
    /// `None`: any local file.
    pub local_roots: Option<Vec<PathBuf>>,
    /// `None`: any address.
    pub addresses: Option<Vec<String>>,
    /// How stores are reached: by flags and by the settings file.
    pub reach: store::Config,
    /// Whether it is noted which datasets and columns are used.
    pub notes_usage: bool,
}

/// The role of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Reads what others share.
    Reader,
    /// Shares what it builds, if the settings say so.
    Mount,
    /// Was explicitly told to share.
    Told,
}

impl Session {
    /// Makes the file system. Its answers take at most `patience`; requests to a store, at most `--timeout`.
    ///
    /// # Errors
    /// The catalog cannot be opened; as [`Session::stores`].
    pub fn vfs(&self, patience: Duration, own: &[&Path]) -> Result<Arc<Vfs>> {
        self.vfs_for(patience, own, Who::Reader)
    }

    /// The same for a caller that may share what it builds.
    ///
    /// # Errors
    /// As [`Session::vfs`].
    pub fn vfs_for(&self, patience: Duration, own: &[&Path], who: Who) -> Result<Arc<Vfs>> {
        let catalog = Arc::new(Catalog::open(&self.catalog)?);
        let stores = self.stores(own)?;
        let tier = self.tier(&catalog, who)?;
        if let Some(tier) = tier.as_ref().filter(|_| self.shares_objects()) {
            stores.share_small(Small::new(tier.clone()));
        }
        let packs = Packs::shared(catalog.clone(), self.cache.clone(), self.limits(), tier);
        let usage = match self.notes_usage {
            true => Usage::new(&self.cache, catalog.path()),
            false => Usage::off(),
        };
        let vfs = Vfs::new(catalog, packs, stores, patience, self.prefetch);
        vfs.note_usage(usage);
        let patient = sample::Patient::default();
        vfs.look_into(move |stores, object| patient.beginning(stores, object));
        Ok(vfs)
    }

    /// Generated tables may take a quarter of the memory for objects.
    fn limits(&self) -> Limits {
        Limits { kept: self.cache_size / 4, ..Limits::default() }
    }

    /// Makes the stores. No row may ever serve the open catalog (and its journals), the cache, or the paths in
    /// `own`: the mount itself, reading which would deadlock.
    ///
    /// # Errors
    /// The address of the store is invalid.
    pub fn stores(&self, own: &[&Path]) -> Result<Stores> {
        let own = own.iter().map(|path| path.to_path_buf());
        let stores = Stores::new(store::Config {
            first_answer: self.first_answer,
            memory: self.memory,
            local_roots: self.local_roots.clone(),
            addresses: self.addresses.clone(),
            database: Some(self.catalog.clone()),
            cache: CacheConfig {
                folder: self.cache.clone(),
                size: self.cache_size,
                free: space::LEAST,
                open: usize::try_from(raise_descriptors() / 4).unwrap_or(usize::MAX).min(MOST_OPEN),
            },
            forbidden: [self.catalog.clone(), self.cache.clone()].into_iter().chain(own).collect(),
            ..self.reach.clone()
        });
        stores.check()?;
        Ok(stores)
    }

    /// Whether small objects are shared too.
    pub fn shares_objects(&self) -> bool {
        self.reach.settings.shared().is_some_and(|shared| shared.objects)
    }

    /// The folder that hosts share, reached with the same settings as objects.
    ///
    /// # Errors
    /// As [`tier`].
    pub fn tier(&self, catalog: &Arc<Catalog>, who: Who) -> Result<Option<Arc<Tier>>> {
        tier(self.reach.clone(), catalog, who)
    }
}

/// The folder that `[shared]` names, reached with `config`; `None` if it names none.
///
/// # Errors
/// `Invalid`: it is not a writable place.
pub fn tier(config: store::Config, catalog: &Arc<Catalog>, who: Who) -> Result<Option<Arc<Tier>>> {
    let Some(said) = config.settings.shared().cloned() else { return Ok(None) };
    let objects = store::shared::open(&config, &said.prefix)?;
    let may_write = match who {
        Who::Reader => false,
        Who::Mount => said.write,
        Who::Told => true,
    };
    let (lease, split, patience) = (said.lease, said.split, said.patience);
    let rules = Rules { may_write, lease, split, patience };
    Ok(Some(Tier::new(objects, catalog.clone(), rules)))
}

/// The runtime, with threads for blocking work.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .thread_name("dcfs-task")
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Broken, error))
}

/// Raises the limit of open files to what the system allows, and returns it. Every open cached object takes
/// some.
fn raise_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return DESCRIPTORS };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}
