//! A single object of a store as a file of this machine, for commands that read one from its beginning to its end, twice.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

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

/// The error for an object that cannot be kept below `folder`.
fn unkept(folder: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Denied,
        _ => Kind::Broken,
    };
    let folder = folder.display();
    Error::new(kind, format!("cannot keep the object below `{folder}`: {error}"))
}

/// The bytes of the object at `uri`, in a file without a name that is gone when it is closed.
///
/// # Errors
/// Errors of the store; a disk that is full or cannot be written to.
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
    let mut file = scratch::file(&cache).map_err(|error| unkept(&cache, &error))?;
    let progress = Progress::new(Unit::Bytes);
    runtime.block_on(async {
        let origin = stores.settle(origin).await?;
        if origin.end() != End::Object {
            let message = format!("`{uri}` is not an object");
            return Err(Error::new(Kind::Missing, message));
        }
        let (to, mut listed) = tokio::sync::mpsc::channel::<Vec<Listed>>(1);
        let (stores, origin) = (&stores, &origin);
        // Each side ends with the other: the sender goes with the listing, the receiver with the first rows.
        let list = async move { stores.list(origin, How::default(), &to).await };
        let first = async move { listed.recv().await };
        let (found, row) = future::join(list, first).await;
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
            file.write_all(&bytes).map_err(|error| unkept(&cache, &error))?;
            at += bytes.len() as u64;
            progress.reach(at);
        }
        Ok(())
    })?;
    progress.clear();
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_is_called_full() {
        let cases = [
            (io::ErrorKind::StorageFull, Kind::NoSpace),
            (io::ErrorKind::QuotaExceeded, Kind::NoSpace),
            (io::ErrorKind::PermissionDenied, Kind::Denied),
            (io::ErrorKind::NotFound, Kind::Broken),
        ];
        for (from, kind) in cases {
            let error = unkept(Path::new("/cache"), &from.into());
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("below `/cache`"), "{error}");
        }
    }
}
