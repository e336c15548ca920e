//! Objects of stores as files of this machine, for commands that read them from their beginning to their end, twice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use futures_util::future;
use tokio::runtime::Runtime;

use super::access::{self, AccessArgs};
use super::places;
use super::progress::{Progress, Unit};
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_disk::scratch;
use dcfs_store::Stores;
use dcfs_store::list::{End, How, Listed, Origin};
use dcfs_work::load::SourceFile;
use dcfs_work::load::lake::Reach;

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

/// Objects of stores, and the files that hold their bytes.
pub struct Fetching {
    stores: Stores,
    runtime: Runtime,
    cache: PathBuf,
    /// The files of objects that are read more than once, by their addresses. Few, as each of them is open.
    held: RefCell<HashMap<String, File>>,
}

impl Fetching {
    /// # Errors
    /// Wrong settings; a cache folder that cannot be used.
    pub fn new(access: &AccessArgs) -> Result<Self> {
        let settings = access::settings(access.config.as_deref())?;
        let stores = access.stores(settings);
        stores.check()?;
        let runtime = session::runtime()?;
        let cache = access.cache_dir.clone().unwrap_or_else(places::cache);
        places::private_cache(&cache)?;
        Ok(Self { stores, runtime, cache, held: RefCell::default() })
    }

    /// The objects that an address names, in the order of their keys, and what each key begins with: one, those that a
    /// pattern matches, or those of a folder that have one of the `endings`.
    ///
    /// # Errors
    /// Errors of the store; no such object.
    pub fn list(&self, uri: &str, endings: &[&str]) -> Result<Vec<SourceFile>> {
        let all = self.found(uri, Some(endings))?;
        match all.is_empty() {
            true => Err(Error::new(Kind::Missing, format!("`{uri}` names no object to load"))),
            false => Ok(all),
        }
    }

    /// The objects that an address names; of a folder, those with one of the `endings`, or all.
    fn found(&self, uri: &str, endings: Option<&[&str]>) -> Result<Vec<SourceFile>> {
        let folder = std::env::current_dir().map_err(|error| Error::new(Kind::Broken, error))?;
        let mut all = Vec::new();
        for origin in Origin::parse(uri, &folder)? {
            let (origin, listed) = self.runtime.block_on(self.listed(origin))?;
            let prefix = origin.prefix();
            let is_whole = origin.end() == End::Folder && origin.globs().is_empty();
            for row in listed.into_iter().filter(|row| origin.selects(&row.path)) {
                let object = Object {
                    source: origin.source(),
                    path: row.path.into_bytes(),
                    size: Some(row.size),
                    version: row.version,
                    etag: row.etag,
                    last_modified: Some(row.last_modified),
                    location: None,
                };
                let file = SourceFile::object(object, &prefix);
                if !is_whole || endings.is_none_or(|endings| file.ends_with(endings)) {
                    all.push(file);
                }
            }
        }
        all.sort_by(|one: &SourceFile, other| one.name.cmp(&other.name));
        all.dedup_by(|one, other| one.name == other.name);
        Ok(all)
    }

    async fn listed(&self, origin: Origin) -> Result<(Origin, Vec<Listed>)> {
        let origin = self.stores.settle(origin).await?;
        let (to, mut listed) = tokio::sync::mpsc::channel::<Vec<Listed>>(1);
        let (stores, of) = (&self.stores, &origin);
        // Each side ends with the other: the sender goes with the listing, the receiver with the last rows.
        let list =
            async move { stores.list(of, How { is_current: true, ..How::default() }, &to).await };
        let gather = async move {
            let mut all = Vec::new();
            while let Some(rows) = listed.recv().await {
                all.extend(rows);
            }
            all
        };
        let (found, rows) = future::join(list, gather).await;
        found?;
        Ok((origin, rows))
    }

    /// The bytes of an object, in a file without a name that is gone when it is closed. `is_kept`: it is asked for again.
    ///
    /// # Errors
    /// Errors of the store; a disk that is full or cannot be written to.
    pub fn fetch(&self, object: &Object, is_kept: bool) -> Result<File> {
        let uri = format!("{}/{}", object.source, String::from_utf8_lossy(&object.path));
        if let Some(held) = self.held.borrow().get(&uri) {
            return anew(held).map_err(|error| unkept(&self.cache, &error));
        }
        let file = self.runtime.block_on(self.fetched(object, &uri))?;
        let fresh = anew(&file).map_err(|error| unkept(&self.cache, &error))?;
        if is_kept {
            self.held.borrow_mut().insert(uri, file);
        }
        Ok(fresh)
    }

    async fn fetched(&self, object: &Object, uri: &str) -> Result<File> {
        let mut file = scratch::file(&self.cache).map_err(|error| unkept(&self.cache, &error))?;
        let progress = Progress::new(Unit::Bytes);
        let reader = self.stores.open(object).await?;
        let size = object.size.unwrap_or(0);
        progress.set_total(size);
        let mut at = 0;
        while at < size {
            let bytes = reader.read(at, PIECE).await?;
            if bytes.is_empty() {
                return Err(Error::new(Kind::Stale, format!("`{uri}` became shorter")));
            }
            file.write_all(&bytes).map_err(|error| unkept(&self.cache, &error))?;
            at += bytes.len() as u64;
            progress.reach(at);
        }
        progress.clear();
        Ok(file)
    }
}

impl Reach for Fetching {
    fn below(&self, folder: &str) -> Result<Vec<SourceFile>> {
        match self.found(folder, None) {
            Err(error) if error.kind() == Kind::Missing => Ok(Vec::new()),
            found => found,
        }
    }

    fn one(&self, address: &str) -> Result<SourceFile> {
        let found = self.found(address, None)?;
        let own = found.into_iter().find(|file| file.name == address.as_bytes());
        own.ok_or_else(|| Error::new(Kind::Missing, format!("there is no `{address}`")))
    }

    fn fetch(&self, object: &Object) -> Result<File> {
        Fetching::fetch(self, object, false)
    }
}

/// The same file, to be read from its beginning.
fn anew(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
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
