//! Files that are never served, whatever a row says: the open catalog, the cache, the mount.
//!
//! This also protects data: closing any descriptor of the database in this process would drop the locks that
//! SQLite holds on it (POSIX locks belong to the process). So callers check here with a descriptor opened by
//! `O_PATH`, which has no locks, before they open anything.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Suffixes of the files that SQLite keeps beside a database.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// The forbidden folders and files, with symbolic links resolved.
#[derive(Debug)]
pub struct Guard {
    /// Each with whether it was a folder at first: a folder is never examined again, because our own mount may
    /// be there by now.
    forbidden: Vec<(PathBuf, bool)>,
}

impl Guard {
    /// Each of `paths` is a folder, with everything below it, or a file. They need not exist yet.
    pub fn new(paths: &[PathBuf]) -> Self {
        let beside = |path: &PathBuf| {
            let path = canonical(path);
            BESIDE.map(|suffix| {
                let mut name = OsString::from(path.clone());
                name.push(suffix);
                let path = PathBuf::from(name);
                let folder = path.is_dir();
                (path, folder)
            })
        };
        Self { forbidden: paths.iter().flat_map(beside).collect() }
    }

    /// Whether the file at `path` (absolute, links resolved) with that device and inode number is
    /// forbidden: it lies at or below a forbidden path, or is a hard link to a forbidden file.
    pub fn forbids(&self, path: &Path, device: u64, inode: u64) -> bool {
        self.is_below(path) || self.files().any(|file| file == (device, inode))
    }

    /// The same, given a fresh listing of the forbidden files, so that many files are checked with one listing.
    pub fn forbids_now(&self, listed: &[(u64, u64)], path: &Path, file: (u64, u64)) -> bool {
        self.is_below(path) || listed.contains(&file)
    }

    /// Device and inode numbers of the forbidden files that exist.
    pub fn files(&self) -> impl Iterator<Item = (u64, u64)> {
        let files = self.forbidden.iter().filter(|(_, is_folder)| !is_folder);
        files
            .filter_map(|(path, _)| fs::metadata(path).ok().map(|there| (there.dev(), there.ino())))
    }

    fn is_below(&self, path: &Path) -> bool {
        self.forbidden.iter().any(|(forbidden, _)| path.starts_with(forbidden))
    }
}

/// `path` with the links of its longest existing part resolved.
fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for part in path.ancestors() {
        if let Ok(real) = fs::canonicalize(part) {
            return match path.strip_prefix(part) {
                Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
                _ => real,
            };
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn forbids_by_place_and_by_file() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let at = |name: &str| home.join(name);
        fs::create_dir(at("real")).unwrap();
        fs::create_dir(at("data")).unwrap();
        symlink(at("real"), at("link")).unwrap();
        for name in ["real/db", "real/db-wal", "real/db.bak", "real/other", "data/a"] {
            fs::write(at(name), name).unwrap();
        }
        fs::hard_link(at("real/db"), at("data/hard")).unwrap();
        let guard = Guard::new(&[at("link/db"), at("later/cache")]);
        fs::create_dir_all(at("later/cache/x")).unwrap();
        fs::write(at("later/cache/x/y"), "y").unwrap();
        fs::write(at("later/cached"), "y").unwrap();
        let cases = [
            ("real/db", true),
            ("real/db-wal", true),
            ("data/hard", true),
            ("later/cache/x/y", true),
            ("real/db.bak", false),
            ("real/other", false),
            ("data/a", false),
            ("later/cached", false),
        ];
        for (name, forbidden) in cases {
            let there = fs::metadata(at(name)).unwrap();
            assert_eq!(guard.forbids(&at(name), there.dev(), there.ino()), forbidden, "{name}");
        }
    }
}
