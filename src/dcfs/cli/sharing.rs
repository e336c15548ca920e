//! The folder that hosts share, as settings name it, for commands that read it and for those that write it.

use std::sync::Arc;

use super::access::{self, Access};
use super::usage;
use dcfs_core::error::{Error, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::shared::{Rules, Tier};
use dcfs_store as store;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Reads what others share.
    Reader,
    /// Shares what it builds, where settings say so.
    Mount,
    /// Was told to share.
    Told,
}

/// The folder that `[shared]` names, reached as `config` says; `None` where it names none.
///
/// # Errors
/// `Invalid`: it is no place that can be written to.
pub fn tier(config: store::Config, catalog: &Arc<Catalog>, who: Who) -> Result<Option<Arc<Tier>>> {
    let Some(said) = config.settings.shared().cloned() else { return Ok(None) };
    let objects = store::shared::open(&config, &said.prefix)?;
    let may_write = match who {
        Who::Reader => false,
        Who::Mount => said.write,
        Who::Told => true,
    };
    let rules = Rules { may_write, lease: said.lease };
    Ok(Some(Tier::new(objects, catalog.clone(), rules)))
}

/// The folder that the user's settings name, for commands without flags of stores.
///
/// # Errors
/// As [`tier`]. Settings that cannot be read name none: such commands need none.
pub fn of_settings(catalog: &Arc<Catalog>) -> Result<Option<Arc<Tier>>> {
    let settings = access::settings(None).unwrap_or_default();
    tier(store::Config { settings, ..store::Config::new(access::TIMEOUT) }, catalog, Who::Reader)
}

/// That no settings name a folder.
pub fn none_named() -> Error {
    usage(
        "no folder is shared: name one in `config.toml`, as `[shared]` with `prefix = \"s3://bucket/dcfs\"`",
    )
}

impl Access {
    /// The folder that hosts share, reached as objects are.
    ///
    /// # Errors
    /// As [`tier`].
    pub fn tier(&self, catalog: &Arc<Catalog>, who: Who) -> Result<Option<Arc<Tier>>> {
        tier(self.reach(), catalog, who)
    }
}
