//! Objects that DataChain itself has fetched: `.datachain/cache`, beside the catalog.
//!
//! A file there is named by the SHA-256 of `source/path/version/etag`, and DataChain trusts it as it is. Here
//! its size must also match the recorded one, and an object without a recorded version or etag is requested
//! from its store.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use dcfs_core::hex::hex;
use dcfs_core::object::Object;

/// The folder where DataChain caches objects of the catalog at `database`.
pub fn folder(database: &Path) -> Option<PathBuf> {
    Some(database.parent()?.join("cache"))
}

/// The path where DataChain would cache an object; `None` if the object has neither version nor etag.
pub fn place(folder: &Path, object: &Object) -> Option<PathBuf> {
    if object.version.is_empty() && object.etag.is_empty() {
        return None;
    }
    let path = std::str::from_utf8(&object.path).ok()?;
    let Object { source, version, etag, .. } = object;
    let hash = Sha256::digest(format!("{source}/{path}/{version}/{etag}"));
    let name = hex(&hash);
    Some(folder.join(&name[..2]).join(&name[2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_datachain() {
        let object = Object {
            source: "s3://b".into(),
            path: "dir/a b.jpg".into(),
            etag: "abc".into(),
            ..Object::default()
        };
        // printf 's3://b/dir/a b.jpg//abc' | sha256sum
        let name = "4c19f28868aaf83022f5f719b067eb4594ad1796e7583b5ad9727af06fee14a4";
        let found = place(Path::new("/c"), &object).expect("a place");
        assert_eq!(found, Path::new("/c").join(&name[..2]).join(&name[2..]));
        assert_eq!(place(Path::new("/c"), &Object { etag: String::new(), ..object }), None);
        assert_eq!(folder(Path::new("/p/.datachain/db")), Some("/p/.datachain/cache".into()));
    }
}
