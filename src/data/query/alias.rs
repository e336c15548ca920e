//! Short names of long filters: `_views/q/<hash>/`, for programs that take a path for a pattern.
//!
//! The name is a hash of the printed form, and a file of that name in the cache directory holds the form, so
//! that every mount over the cache knows it.

use dcfs_disk::{private, regular};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::pack::Pack;
use crate::pack::home::cannot_write;
use dcfs_core::error::Result;

/// Bytes of a filter that a name can have for it.
const LONGEST: u64 = 128 << 10;

/// Characters of a name.
const NAME: usize = 16;

/// Beside the packs, in a folder with the pack's name: a pack that is built anew finds them.
fn folder(pack: &Pack) -> PathBuf {
    let pack = pack.folder();
    let cache = pack.ancestors().nth(2).unwrap_or(pack);
    cache.join("aliases").join(pack.file_name().unwrap_or_default())
}

/// The name of a filter.
pub fn name(filter: &str) -> String {
    Sha256::digest(filter)[..NAME / 2].iter().map(|b| format!("{b:02x}")).collect()
}

/// Remembers a filter, by its printed form, and gives its name.
///
/// # Errors
/// The cache directory cannot be written.
pub fn remember(pack: &Pack, filter: &str) -> Result<String> {
    let name = name(filter);
    let folder = folder(pack);
    let write = || {
        private::folder(&folder).map_err(std::io::Error::other)?;
        let draft = folder.join(format!(".{name}-{}", Uuid::new_v4().simple()));
        let mut options = fs::OpenOptions::new();
        let mut file = regular::open_with(options.write(true).create_new(true), &draft)?;
        file.write_all(filter.as_bytes())?;
        file.sync_data()?;
        fs::rename(&draft, folder.join(&name))
    };
    write().map_err(|error| cannot_write(&folder, error))?;
    Ok(name)
}

/// The filter of a name, if it was remembered.
pub fn find(pack: &Pack, name: &[u8]) -> Option<String> {
    let is_hash = name.len() == NAME && name.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(name).ok().filter(|_| is_hash)?;
    let path = folder(pack).join(text);
    let filter = regular::read_text(&path, LONGEST).ok()?;
    // A file that someone else wrote means nothing.
    (self::name(&filter) == text).then_some(filter)
}

/// The names that were remembered, in order.
pub fn names(pack: &Pack) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder(pack)) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| find(pack, name.as_bytes()).is_some()).collect();
    names.sort();
    names
}
