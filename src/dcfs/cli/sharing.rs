//! The folder that hosts share, for commands that take no flags about stores.

use std::sync::Arc;

use super::access;
use super::usage;
use crate::session::{TIMEOUT, Who, tier};
use dcfs_core::error::{Error, Result};
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::shared::Tier;
use dcfs_store as store;

/// The folder that the user's settings name, for commands without flags about stores.
///
/// # Errors
/// As [`tier`]. Unreadable settings count as none: such commands do not need them.
pub fn of_settings(catalog: &Arc<Catalog>) -> Result<Option<Arc<Tier>>> {
    let settings = access::settings(None).unwrap_or_default();
    tier(store::Config { settings, ..store::Config::new(TIMEOUT) }, catalog, Who::Reader)
}

/// The error if the settings name no folder.
pub fn none_named() -> Error {
    usage(
        "no folder is shared: name one in `config.toml`, as `[shared]` with `prefix = \"s3://bucket/dcfs\"`",
    )
}
