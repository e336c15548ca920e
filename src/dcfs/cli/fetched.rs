//! A single object of a store as a file of this machine, for commands that read one from its beginning to its end, twice.

use std::fs::File;
use std::io::Write;

use futures_util::future;

use super::access::{self, AccessArgs};
use super::progress::{Progress, Unit};
use super::{places, usage};
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_disk::scratch;
use dcfs_store::list::{End, How, Listed, Origin};

/// Bytes that are asked for at a time.
const PIECE: u32 = 8 << 20;

/// Whether a text is the address of an object, and not the path of a file.
pub fn is_address(text: &str) -> bool {
    text.contains("://")
}

/// The bytes of the object at `uri`, in a file without a name that is gone when it is closed.
///
/// # Errors
/// What the store says; that the disk is full.
pub fn object(uri: &str, access: &AccessArgs) -> Result<File> {
    let folder = std::env::current_dir().map_err(|error| Error::new(Kind::Broken, error))?;
    let settings = access::settings(access.config.as_deref())?;
    let stores = access.stores(settings);
    stores.check()?;
    let runtime = session::runtime()?;
    let [origin] = <[Origin; 1]>::try_from(Origin::parse(uri, &folder)?)
        .map_err(|_| usage(format!("`{uri}` names several objects; one is loaded at a time")))?;
    let cache = access.cache_dir.clone().unwrap_or_else(places::cache);
    places::private_cache(&cache)?;
    let full = |error| Error::new(Kind::NoSpace, format!("cannot keep the object: {error}"));
    let mut file = scratch::file(&cache).map_err(full)?;
    let progress = Progress::new(Unit::Bytes);
    runtime.block_on(async {
        let origin = stores.settle(origin).await?;
        if origin.end() != End::Object {
            let message = format!("`{uri}` is not an object");
            return Err(Error::new(Kind::Missing, message));
        }
        let (to, mut listed) = tokio::sync::mpsc::channel::<Vec<Listed>>(1);
        let (found, row) =
            future::join(stores.list(&origin, How::default(), &to), listed.recv()).await;
        found?;
        let row = row.and_then(|rows| rows.into_iter().next());
        let row =
            row.ok_or_else(|| Error::new(Kind::Missing, format!("`{uri}` is not an object")))?;
        let object = Object {
            source: origin.source(),
            path: row.path.into_bytes(),
            size: Some(row.size),
            version: row.version,
            etag: row.etag,
            last_modified: Some(row.last_modified),
            location: None,
        };
        let reader = stores.open(&object).await?;
        progress.set_total(row.size);
        let mut at = 0;
        while at < row.size {
            let bytes = reader.read(at, PIECE).await?;
            if bytes.is_empty() {
                return Err(Error::new(Kind::Stale, format!("`{uri}` became shorter")));
            }
            file.write_all(&bytes).map_err(full)?;
            at += bytes.len() as u64;
            progress.reach(at);
        }
        Ok(())
    })?;
    progress.clear();
    Ok(file)
}
