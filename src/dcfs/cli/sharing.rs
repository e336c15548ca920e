//! The folder that hosts share: for commands that take no flags about stores, and the small objects of a version in it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::access;
use super::progress::{Progress, Unit};
use super::selecting::Selected;
use super::usage;
use crate::session::{self, TIMEOUT, Who, tier};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::shared::{Small, Tier, Written};
use dcfs_store::{self as store, Stores};
use dcfs_work::Found;

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

/// Number of failures that are listed; the rest is counted.
const TOLD: u64 = 20;

/// The result of [`objects`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SmallObjects {
    #[serde(flatten)]
    pub written: Written,
    /// Objects that some host had shared before.
    pub there: u64,
    pub failed: u64,
}

/// The outcome for one object.
enum Outcome {
    /// It was written: its bytes.
    Now(u64),
    There,
    /// It is not shared: large, local, or nothing tells it from a replacement.
    Never,
}

/// Writes the small objects of a version to the folder that hosts share. Objects that are not cached are fetched; those
/// that are in the folder are left alone.
///
/// # Errors
/// The folder cannot be listed, or nothing can be sealed; an object that fails is reported, and the others continue.
pub fn objects(selected: &Selected, small: &Arc<Small>, jobs: usize) -> Result<SmallObjects> {
    // The members of an archive are one object.
    let there = Arc::new(Mutex::new(small.keys()?));
    let progress = Progress::new(Unit::Bytes).labelled("sharing small objects");
    progress.set_total(selected.selection.totals()?.1);
    let mut result = SmallObjects::default();
    let work = |found: Found| {
        let (stores, small, there) = (selected.stores.clone(), small.clone(), there.clone());
        async move {
            let size = found.size();
            let shared = match found.object() {
                Ok(object) => share(&stores, &small, &there, object).await,
                Err(gone) => Err(gone),
            };
            (found.path, size, shared)
        }
    };
    let done = |(path, size, shared)| {
        progress.add(size);
        progress.add_file();
        match shared {
            Ok(Outcome::Now(bytes)) => {
                result.written.objects += 1;
                result.written.bytes += bytes;
            }
            Ok(Outcome::There) => result.there += 1,
            Ok(Outcome::Never) => {}
            Err(error) => {
                result.failed += 1;
                if result.failed <= TOLD {
                    progress.say(&format!("`{path}`: {error}"));
                }
            }
        }
    };
    session::runtime()?.block_on(selected.selection.each(jobs, work, done))?;
    progress.clear();
    Ok(result)
}

async fn share(
    stores: &Stores,
    small: &Arc<Small>,
    there: &Mutex<HashSet<[u8; 16]>>,
    object: &Object,
) -> Result<Outcome> {
    let Some((whole, key)) = stores.shareable(object)? else { return Ok(Outcome::Never) };
    if !there.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
        return Ok(Outcome::There);
    }
    let reader = stores.open(&whole).await?;
    let size = reader.size();
    let bytes = reader.read(0, u32::try_from(size).unwrap_or(u32::MAX)).await?;
    let small = small.clone();
    let put = tokio::task::spawn_blocking(move || small.put(&key, &bytes));
    put.await.unwrap_or_else(|error| Err(Error::new(Kind::Broken, error)))?;
    Ok(Outcome::Now(size))
}
