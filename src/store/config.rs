//! The configuration of stores.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;

/// Default limit of object bytes in memory.
const MEMORY: u64 = 64 << 20;

/// How to reach stores, from the command line and the user's settings file. Stores read further configuration
/// of their own, as their command lines do.
#[derive(Clone, Debug)]
pub struct Config {
    /// For S3-compatible servers; overrides every other setting of the endpoint.
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    /// A profile of `~/.aws`.
    pub profile: Option<String>,
    /// Use no credentials of any store.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// Settings per bucket or prefix, which flags override.
    pub settings: Settings,
    /// Longest wait without progress, including retries.
    pub timeout: Duration,
    /// A shorter limit for a server that has never answered; used by callers that only want to know whether it
    /// does.
    pub first_answer: Option<Duration>,
    /// Folders below which local files may be read; `None`: anywhere.
    pub local_roots: Option<Vec<PathBuf>>,
    /// Allowed prefixes of addresses other than files; `None`: any.
    pub addresses: Option<Vec<String>>,
    /// Folders and files that are never served, whatever a row says: the open catalog, the cache and the mount
    /// point (reading which would deadlock).
    pub forbidden: Vec<PathBuf>,
    /// The cache on disk.
    pub cache: CacheConfig,
    /// Limit of object bytes in memory.
    pub memory: u64,
    /// The catalog's database: DataChain keeps its own cache beside it.
    pub database: Option<PathBuf>,
}

impl Config {
    /// The default configuration, without a cache on disk.
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

/// The place and the size limits of the cache on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// An existing directory of dcfs.
    pub folder: PathBuf,
    /// Limit of bytes of all objects; 0 disables the cache.
    pub size: u64,
    /// Bytes that stay free on the disk.
    pub free: u64,
    /// Number of unused objects whose files stay open for reuse; each takes two descriptors.
    pub open: usize,
}

impl CacheConfig {
    /// A disabled cache.
    pub fn none() -> Self {
        Self { folder: PathBuf::new(), size: 0, free: 0, open: 0 }
    }
}
