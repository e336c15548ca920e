//! The files of cached objects: opening, creation, removal. A small object has one file, others two in a
//! folder.
//!
//! If many processes create the same files, one wins. Removal renames the folder first, so that nobody opens
//! half of it. A shared lock on the map protects an object; removal takes the lock exclusively.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Key;
use super::map::{self, BLOCK, Map};
use super::small::Small;

/// Names of the files in a folder.
const DATA: &str = "data";
pub const MAP: &str = "map";

/// Blocks that are counted at a time.
const SOME: u64 = 1 << 16;

/// Both files, data first.
pub type Files = (File, Map);

/// Opens the files of an object, or creates them. `None` if another process is removing them right now.
///
/// # Errors
/// The disk is full, the folder is not writable, the object is too large for the disk.
pub fn open_or_make(folder: &Path, key: Key, size: u64) -> io::Result<Option<Files>> {
    for _ in 0..3 {
        let found = match open(folder, key, size) {
            // Usually nothing is there; otherwise a part of it, or another process is creating it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, key, size),
            found => found,
        };
        match found {
            Ok(Some(files)) => return Ok(Some(files)),
            Ok(None) => {}
            // Another process removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if is_foreign(&error) => remove(folder)?,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The existing files, if they belong to the object.
pub fn existing(folder: &Path, key: Key, size: u64) -> Option<Files> {
    let map = Map::of(rewritable(&folder.join(MAP)).ok()?, key, size).ok()??;
    let data = rewritable(&folder.join(DATA)).ok()?;
    (data.metadata().ok()?.len() == size).then_some((data, map))
}

/// The number of bytes that the file or folder at `folder` holds of a range of an object, and whether that is
/// all of it.
pub fn kept(folder: &Path, key: Key, size: u64, part: &Range<u64>) -> (u64, bool) {
    if Small::existing(folder, key, size).is_some() {
        return (part.end - part.start, true);
    }
    let count = || {
        let map = Map::of(File::open(folder.join(MAP)).ok()?, key, size).ok()??;
        let end = part.end.div_ceil(BLOCK).max(part.start / BLOCK + 1);
        let (mut bytes, mut is_whole) = (0, true);
        let mut blocks = part.start / BLOCK..end;
        while !blocks.is_empty() {
            let some = blocks.start..blocks.end.min(blocks.start + SOME);
            for (number, sum) in some.clone().zip(map.sums(&some).ok()?) {
                let block = (number * BLOCK).max(part.start)..((number + 1) * BLOCK).min(part.end);
                is_whole &= sum.is_some();
                bytes += sum.map_or(0, |_| block.end.saturating_sub(block.start));
            }
            blocks.start = some.end;
        }
        Some((bytes, is_whole))
    };
    count().unwrap_or_default()
}

fn open(folder: &Path, key: Key, size: u64) -> io::Result<Option<Files>> {
    let map = rewritable(&folder.join(MAP))?;
    let data = rewritable(&folder.join(DATA))?;
    match Map::of(map, key, size)? {
        Some(map) if data.metadata()?.len() == size => Ok(Some((data, map))),
        _ => {
            tracing::warn!(folder = %folder.display(), "not the cache of this object; recreated");
            remove(folder)?;
            Ok(None)
        }
    }
}

/// Whether something other than a file has the file's name.
fn is_foreign(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    is_in_the_way(error) || code.is_some_and(|code| [libc::EISDIR, libc::ENOTDIR].contains(&code))
}

/// Whether the name belongs to a link, a FIFO or a socket rather than to a file or folder.
pub fn is_in_the_way(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [libc::ELOOP, libc::ENXIO].contains(&code))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Opening a FIFO must not block.
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Opens a regular file for reading and writing.
///
/// # Errors
/// There is not a regular file of that name.
pub fn rewritable(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// Creates the files. The map is written last and atomically: an existing map means a complete set. `None` if
/// another process was first, and if the existing files belonged to another object and have been removed now.
fn make(folder: &Path, key: Key, size: u64) -> io::Result<Option<Files>> {
    make_folder(folder)?;
    let data = options().create(true).truncate(false).open(folder.join(DATA))?;
    match data.metadata()? {
        meta if meta.is_file() && meta.len() == size => {}
        meta if meta.is_file() && meta.len() == 0 => data.set_len(size)?,
        _ => return remove(folder).map(|()| None),
    }
    let draft = folder.join(unique(".map"));
    let map = options().create_new(true).open(&draft)?;
    let made = name(&map, &draft, folder, key, size);
    if !matches!(made, Ok(true)) {
        let _ = fs::remove_file(&draft);
    }
    match made? {
        true => Ok(Map::of(map, key, size)?.map(|map| (data, map))),
        false => Ok(None),
    }
}

/// Fills a new map and links it to its name, unless the name is taken.
fn name(map: &File, draft: &Path, folder: &Path, key: Key, size: u64) -> io::Result<bool> {
    let (header, length) = map::header(key, size);
    map.write_all_at(&header, 0)?;
    map.set_len(length)?;
    match fs::hard_link(draft, folder.join(MAP)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Ok(()) => fs::remove_file(draft).map(|()| true),
        // The file system has no hard links.
        Err(_) => fs::rename(draft, folder.join(MAP)).map(|()| true),
    }
}

/// Creates the file of a small object, and the folders above it.
///
/// # Errors
/// It exists already; the folder is not writable.
pub fn made(path: &Path) -> io::Result<File> {
    let mut how = options();
    how.create_new(true).mode(0o600);
    match how.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(path.parent().unwrap_or(path))?;
            how.open(path)
        }
        made => made,
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            builder.recursive(true).create(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// A unique temporary name.
fn unique(what: &str) -> String {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let (number, process) = (GIVEN.fetch_add(1, Ordering::Relaxed), std::process::id());
    format!("{what}-{process}-{number}")
}

/// Locks a map, or the file of a small object, against removal, if it still has its name.
pub fn lock(file: &File) -> io::Result<bool> {
    // Whoever holds the exclusive lock is about to remove it. After a removal, the lock is on a file without a
    // name.
    Ok(file.try_lock_shared().is_ok() && file.metadata()?.nlink() > 0)
}

/// Whether `path` still names this file.
pub fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let (held, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// Removes an object's files: renames the folder first, so that nobody opens half of it.
///
/// # Errors
/// The parent folder is not writable.
pub fn remove(folder: &Path) -> io::Result<()> {
    let shelf = folder.parent().unwrap_or(folder);
    loop {
        let trash = shelf.join(unique(".gone"));
        match fs::rename(folder, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A leftover of another process with this pid.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(error),
            Ok(()) if trash.is_dir() => return fs::remove_dir_all(trash),
            Ok(()) => return fs::remove_file(trash),
        }
    }
}

/// Removes an object that nobody has open; returns whether it is gone. A folder without a map is being created,
/// or a leftover.
///
/// # Errors
/// The folder is not writable.
pub fn remove_unused(path: &Path) -> io::Result<bool> {
    let Ok(known) = fs::symlink_metadata(path) else { return Ok(false) };
    let is_folder = known.is_dir();
    let locked = if is_folder { path.join(MAP) } else { path.to_owned() };
    match rewritable(&locked) {
        Ok(file) => {
            if file.try_lock().is_err() || !is_named(&file, &locked).unwrap_or(false) {
                return Ok(false);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) if is_foreign(&error) => {}
        Err(error) => return Err(error),
    }
    if is_folder { remove(path) } else { fs::remove_file(path) }.map(|()| true)
}
