//! The folder that hosts share, as configured, for commands that read it and for those that write it.

use std::sync::Arc;

use super::access::{self, Access};
use super::usage;
use dcfs_core::error::{Error, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::shared::{Rules, Tier};
use dcfs_store as store;

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
    let rules = Rules { may_write, lease: said.lease };
    Ok(Some(Tier::new(objects, catalog.clone(), rules)))
}

/// The folder that the user's settings name, for commands without flags about stores.
///
/// # Errors
/// As [`tier`]. Unreadable settings count as none: such commands do not need them.
pub fn of_settings(catalog: &Arc<Catalog>) -> Result<Option<Arc<Tier>>> {
    let settings = access::settings(None).unwrap_or_default();
    tier(store::Config { settings, ..store::Config::new(access::TIMEOUT) }, catalog, Who::Reader)
}

/// The error if the settings name no folder.
pub fn none_named() -> Error {
    usage(
        "no folder is shared: name one in `config.toml`, as `[shared]` with `prefix = \"s3://bucket/dcfs\"`",
    )
}

impl Access {
    /// The folder that hosts share, reached with the same settings as objects.
    ///
    /// # Errors
    /// As [`tier`].
    pub fn tier(&self, catalog: &Arc<Catalog>, who: Who) -> Result<Option<Arc<Tier>>> {
        tier(self.reach(), catalog, who)
    }
}
