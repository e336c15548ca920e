//! What is said of stores before the first is asked.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;

/// Bytes of objects that are held in memory where nobody says how many.
const MEMORY: u64 = 64 << 20;

/// How to reach stores; what the command line says, and the user's file of settings. Stores read what else their own
/// command lines read.
#[derive(Clone, Debug)]
pub struct Config {
    /// For S3-compatible servers; wins over all else that names one.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// A profile of `~/.aws`.
    pub profile: Option<String>,
    /// Use no credentials of any store.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// Settings per bucket or prefix, which flags win over.
    pub settings: Settings,
    /// No question waits longer without progress, retries included.
    pub timeout: Duration,
    /// A server that never answered is given up after so long, where that is less: for who asks whether it does.
    pub first_answer: Option<Duration>,
    /// Folders below which local files may be read; `None`: anywhere.
    pub local_roots: Option<Vec<PathBuf>>,
    /// How addresses other than files must begin; `None`: in any way.
    pub addresses: Option<Vec<String>>,
    /// Folders and files never served, whatever a row says: the open catalog, the cache and the
    /// mount point (reading which would wait for ourselves).
    pub forbidden: Vec<PathBuf>,
    /// What was fetched is kept here.
    pub cache: CacheConfig,
    /// Bytes of objects that are held in memory, at most.
    pub memory: u64,
    /// The catalog's database: DataChain keeps beside it what it fetched.
    pub database: Option<PathBuf>,
}

impl Config {
    /// Nothing is said, nothing kept on disk.
    pub fn new(timeout: Duration) -> Self {
        Self {
            endpoint_url: None,
            region: None,
            profile: None,
            anon: false,
            request_payer: false,
            settings: Settings::default(),
            timeout,
            first_answer: None,
            local_roots: None,
            addresses: None,
            forbidden: Vec::new(),
            cache: CacheConfig::none(),
            memory: MEMORY,
            database: None,
        }
    }
}

/// Where objects are kept on disk, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// A directory of dcfs, which is there.
    pub folder: PathBuf,
    /// Bytes of all objects; 0 keeps none.
    pub size: u64,
    /// Bytes that stay free on the disk.
    pub free: u64,
    /// Objects whose files stay open for who opens them again; each takes two descriptors.
    pub open: usize,
}

impl CacheConfig {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), size: 0, free: 0, open: 0 }
    }
}
