//! The directory of a filter: its own text, or a short name: `_views/q/<hash>/`, for programs that
//! take a path for a pattern.
//!
//! The name is a hash of the canonical form, and a file of that name in the cache directory holds
//! the form, so that every mount over the cache knows it.

use dcfs_disk::{private, regular};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::pack::Pack;
use crate::pack::home::cannot_write;
use dcfs_core::error::Result;
use dcfs_core::expr::{self, Query, SLASH};
use dcfs_core::schema::Schema;

/// The longest filter that can have a short name, in bytes.
const LONGEST: u64 = 128 << 10;

/// The length of a short name in characters.
const NAME: usize = 16;

/// The longest directory name that every kernel accepts, in bytes.
const LONGEST_NAME: usize = 1024;

/// The directory of a filter below a version.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The filter as typed, except for slashes.
    pub name: String,
    /// Why its name is better not used.
    pub trouble: Option<&'static str>,
}

impl Directory {
    /// The directory of a filter that fits the schema.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn new(pack: &Pack, schema: &Schema, filter: &str) -> Result<Self> {
        let name = filter.trim().replace('/', SLASH.encode_utf8(&mut [0; 4]));
        let trouble = match trouble(&name) {
            None if expr::directory(&name, schema).is_none() => {
                Some("a directory of this name would not be a filter")
            }
            None if is_recorded(pack, name.as_bytes())? => {
                Some("the version has a file or directory of this name, which takes precedence")
            }
            trouble => trouble,
        };
        Ok(Self { name, trouble })
    }
}

/// Whether a file, a directory or a File column of the version has this name at its top.
fn is_recorded(pack: &Pack, name: &[u8]) -> Result<bool> {
    match (pack.columns(), pack.root(0)) {
        ([_], Some(top)) => Ok(pack.lookup(top, name, None)?.is_some()),
        (columns, _) => Ok(columns.iter().any(|column| column.directory == name)),
    }
}

/// Why a name is better not used.
fn trouble(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_NAME {
        return Some("the filter is longer than a name may be");
    }
    if name.contains('\0') {
        return Some("the filter holds a NUL, which no name may");
    }
    name.contains(['*', '?', '[']).then_some(
        "`*`, `?` and `[` are legal in a name, but programs that expand patterns would expand them",
    )
}

/// Beside the packs, in a folder named after the pack: a rebuilt pack finds them, and so does the
/// whole pack after names in blocks.
fn folder(pack: &Pack) -> PathBuf {
    let home = pack.folder();
    let cache = home.ancestors().nth(2).unwrap_or(home);
    cache.join("aliases").join(pack.name())
}

/// The short name of a filter.
pub fn name(filter: &str) -> String {
    Sha256::digest(filter)[..NAME / 2].iter().map(|b| format!("{b:02x}")).collect()
}

/// Stores a filter, in canonical form, and returns its short name.
///
/// # Errors
/// The cache directory cannot be written to.
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

/// Stores a filter, and returns its path below the version: `_views/q/<name>`.
///
/// # Errors
/// As [`remember`].
pub fn remember_below(pack: &Pack, query: &Query) -> Result<String> {
    Ok(format!("_views/q/{}", remember(pack, &query.to_string())?))
}

/// The filter of a short name, if it was stored.
pub fn find(pack: &Pack, name: &[u8]) -> Option<String> {
    let is_hash = name.len() == NAME && name.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(name).ok().filter(|_| is_hash)?;
    let path = folder(pack).join(text);
    let filter = regular::read_text(&path, LONGEST).ok()?;
    // Ignores a file that someone else wrote.
    (self::name(&filter) == text).then_some(filter)
}

/// The short names that are stored, in order.
pub fn names(pack: &Pack) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder(pack)) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| find(pack, name.as_bytes()).is_some()).collect();
    names.sort();
    names
}
