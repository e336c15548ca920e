//! Objects that DataChain itself has fetched: `.datachain/cache`, beside the catalog.
//!
//! A file there is called by the SHA-256 of `source/path/version/etag`, and DataChain believes it as it is. Here
//! its size must be the recorded one too, and an object of which neither version nor etag is known is asked for
//! at its store.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use dcfs_core::hex::hex;
use dcfs_core::object::Object;

/// Where DataChain keeps what it fetched for the catalog at `database`.
pub fn folder(database: &Path) -> Option<PathBuf> {
    Some(database.parent()?.join("cache"))
}

/// Where DataChain would keep an object; `None` where its name says too little.
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
