//! One cached object: its blocks in a sparse file, each checked before it is believed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags};
use roaring::RoaringBitmap;

use super::Key;
use super::flight::Flights;
use super::map::{self, BLOCK, Map, Sum};
use super::nowait;

/// The files of a folder.
const DATA: &str = "data";
pub const MAP: &str = "map";

/// A cached object, its files open. While somebody has a [`Hold`] nobody removes them.
#[derive(Debug)]
pub struct Entry {
    folder: PathBuf,
    size: u64,
    data: Arc<File>,
    map: Map,
    verified: Mutex<Verified>,
    /// Who has it open.
    users: Mutex<usize>,
    /// Blocks that are being fetched.
    pub flights: Flights,
}

/// Blocks whose checksum held, for as long as nobody else writes `data`.
#[derive(Debug, Default)]
struct Verified {
    blocks: RoaringBitmap,
    /// What `data` was like when this process last looked or wrote.
    stamp: Option<Stamp>,
}

impl Verified {
    /// Forgets everything if somebody else wrote `data` since.
    fn follow(&mut self, data: &File) {
        let now = Stamp::of(data);
        if now.is_none() || self.stamp != now {
            *self = Self { blocks: RoaringBitmap::new(), stamp: now };
        }
    }
}

/// What changes when anybody writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Some(Self { size: meta.len(), modified, changed: (meta.ctime(), meta.ctime_nsec()) })
    }
}

/// Keeps an entry's files from being removed, until dropped.
#[derive(Debug)]
pub struct Hold(Arc<Entry>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut users = self.0.users();
        *users -= 1;
        if *users == 0 {
            let _ = self.0.map.file().unlock();
        }
    }
}

/// Some blocks in a row, and whether they are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// In bytes of the object.
    pub range: Range<u64>,
    pub is_here: bool,
}

impl Entry {
    /// Opens the files of an object, or makes them. `None` where another process is removing them right now.
    ///
    /// # Errors
    /// The disk is full, or the folder cannot be written.
    pub fn open(folder: &Path, key: Key, size: u64) -> io::Result<Option<Self>> {
        for _ in 0..3 {
            let files = match open(folder, key, size) {
                // Nothing is there, most often; else a part of it, or another is at it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, key, size)
                    .or_else(|error| match is_foreign(&error) {
                        true => remove(folder).map(|()| None),
                        false => Err(error),
                    })?,
                Err(error) if is_foreign(&error) => {
                    remove(folder)?;
                    None
                }
                found => found?,
            };
            if let Some((data, map)) = files {
                let (folder, data) = (folder.to_owned(), Arc::new(data));
                let (verified, users, flights) = Default::default();
                return Ok(Some(Self { folder, size, data, map, verified, users, flights }));
            }
        }
        Ok(None)
    }

    /// Notes that the object is wanted, for whoever makes room.
    pub fn touch(&self) {
        let _ = self.map.file().set_modified(SystemTime::now());
    }

    /// Whether none of these blocks is here. `false` where that cannot be told without a wait.
    pub fn lacks_now(&self, aligned: &Range<u64>) -> bool {
        let sums = self.map.sums_now(&numbers(aligned));
        sums.is_some_and(|sums| sums.iter().all(Option::is_none))
    }

    /// Keeps the files from being removed. `None` where they were, or are being, removed: the entry is to be
    /// opened anew.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut users = self.users();
        if *users == 0 {
            lock(self.map.file(), &self.folder).ok().filter(|is_ours| *is_ours)?;
        }
        *users += 1;
        Some(Hold(Arc::clone(self)))
    }

    /// `data`, if all of it is there and every checksum held. Asked at every open: what somebody else wrote since is
    /// believed no more.
    pub fn whole(&self) -> Option<Arc<File>> {
        let mut verified = self.verified();
        verified.follow(&self.data);
        let is_whole = verified.blocks.len() == map::blocks(self.size);
        is_whole.then(|| Arc::clone(&self.data))
    }

    /// The smallest range of whole blocks that holds `range`.
    pub fn aligned(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.div_ceil(BLOCK).saturating_mul(BLOCK).min(self.size);
        range.start / BLOCK * BLOCK..end.max(range.end)
    }

    /// The bytes of `range`, if all of them are here and right. Waits for the disk.
    pub fn read(&self, range: &Range<u64>) -> Option<Bytes> {
        let aligned = self.aligned(range);
        if self.is_verified(&aligned) {
            return self.bytes(range).or_else(|| {
                self.distrust(&aligned);
                None
            });
        }
        self.part(&self.checked(&aligned)?, &aligned, range)
    }

    /// The bytes of `range`, if all of them are here, right, and in the system's memory: never waits for the
    /// disk.
    pub fn read_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let aligned = self.aligned(range);
        if self.is_verified(&aligned) {
            return self.bytes_now(range);
        }
        let sums = self.map.sums_now(&numbers(&aligned))?;
        let bytes = self.bytes_now(&aligned)?;
        let same = blocks(&bytes).map(|block| Some(Sum::of(block))).eq(sums);
        // What is damaged is looked into by who may wait.
        same.then(|| self.trust(&aligned))?;
        self.part(&bytes, &aligned, range)
    }

    fn bytes_now(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let found = nowait::read_at(&self.data, &mut bytes, range.start)?;
        (found == bytes.len()).then(|| bytes.into())
    }

    /// The bytes of `range` out of those of whole blocks.
    fn part(&self, bytes: &Bytes, aligned: &Range<u64>, range: &Range<u64>) -> Option<Bytes> {
        let start = usize::try_from(range.start - aligned.start).ok()?;
        let end = start + usize::try_from(range.end - range.start).ok()?;
        Some(bytes.slice(start..end))
    }

    /// Which blocks of `aligned` are here, and which are not.
    pub fn runs(&self, aligned: &Range<u64>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for block in numbers(aligned) {
            let range = self.block(block);
            let is_here = self.is_verified(&range) || self.checked(&range).is_some();
            match runs.last_mut() {
                Some(last) if last.is_here == is_here => last.range.end = range.end,
                _ => runs.push(Run { range, is_here }),
            }
        }
        runs
    }

    /// Compares all of it with its checksums, if all is there.
    pub fn check(&self) {
        let all = 0..self.size;
        if !self.is_verified(&all) {
            self.checked(&all);
        }
    }

    /// Compares every block with its checksum: how many there are, and how many do not hold.
    pub fn verify(&self) -> (u64, u64) {
        let (mut found, mut damaged) = (0, 0);
        for number in 0..map::blocks(self.size) {
            let is_there = self.map.sums(&(number..number + 1)).is_ok_and(|sums| sums[0].is_some());
            if is_there {
                found += 1;
                damaged += u64::from(self.checked(&self.block(number)).is_none());
            }
        }
        (found, damaged)
    }

    /// Keeps whole blocks that begin at `start`.
    pub fn write(&self, start: u64, bytes: &[u8]) -> io::Result<()> {
        let sums: Vec<_> = blocks(bytes).map(|block| Some(Sum::of(block))).collect();
        let mut verified = self.verified();
        verified.follow(&self.data);
        self.data.write_all_at(bytes, start)?;
        self.map.set(start / BLOCK, &sums)?;
        if let Some(numbers) = small(&numbers(&(start..start + bytes.len() as u64))) {
            verified.blocks.insert_range(numbers);
        }
        verified.stamp = Stamp::of(&self.data);
        Ok(())
    }

    /// The bytes of whole blocks, if all are here and their checksums hold. What is damaged is forgotten.
    fn checked(&self, aligned: &Range<u64>) -> Option<Bytes> {
        let numbers = numbers(aligned);
        let sums = self.map.sums(&numbers).ok()?;
        if sums.iter().any(Option::is_none) {
            return None;
        }
        let bytes = self.bytes(aligned);
        // `data` may be shorter than it was.
        let blocks: Vec<&[u8]> = bytes.as_deref().map(blocks).into_iter().flatten().collect();
        let mut all_hold = true;
        for (at, (number, sum)) in numbers.zip(sums).enumerate() {
            if blocks.get(at).map(|block| Sum::of(block)) != sum {
                all_hold = false;
                self.forget(number);
            }
        }
        if !all_hold {
            return None;
        }
        self.trust(aligned);
        bytes
    }

    /// A damaged block is fetched again.
    fn forget(&self, block: u64) {
        tracing::warn!(folder = %self.folder.display(), block, "a cached block is damaged; fetched again");
        let _ = self.map.set(block, &[None]);
    }

    fn bytes(&self, range: &Range<u64>) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        self.data.read_exact_at(&mut bytes, range.start).ok()?;
        Some(bytes.into())
    }

    fn is_verified(&self, aligned: &Range<u64>) -> bool {
        let Some(numbers) = small(&numbers(aligned)) else { return false };
        self.verified().blocks.contains_range(numbers)
    }

    fn trust(&self, aligned: &Range<u64>) {
        let mut verified = self.verified();
        verified.follow(&self.data);
        if let Some(numbers) = small(&numbers(aligned)) {
            verified.blocks.insert_range(numbers);
        }
    }

    /// `data` lost what it had.
    fn distrust(&self, aligned: &Range<u64>) {
        if let Some(numbers) = small(&numbers(aligned)) {
            self.verified().blocks.remove_range(numbers);
        }
    }

    fn users(&self) -> std::sync::MutexGuard<'_, usize> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64) -> Range<u64> {
        number * BLOCK..((number + 1) * BLOCK).min(self.size)
    }
}

/// The blocks of some bytes that begin with one; an empty object has an empty one.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let none: &[&[u8]] = if bytes.is_empty() { &[&[]] } else { &[] };
    none.iter().copied().chain(bytes.chunks(BLOCK as usize))
}

/// The numbers of the blocks of a range that begins with one; an empty range is the one of an empty object.
fn numbers(aligned: &Range<u64>) -> Range<u64> {
    aligned.start / BLOCK..aligned.end.div_ceil(BLOCK).max(aligned.start / BLOCK + 1)
}

/// As a roaring bitmap counts; objects beyond 256 TiB are checked at every read.
fn small(numbers: &Range<u64>) -> Option<Range<u32>> {
    Some(u32::try_from(numbers.start).ok()?..u32::try_from(numbers.end).ok()?)
}

/// Bytes that the files in `folder` have of an object, and whether that is all of it.
pub fn kept(folder: &Path, key: Key, size: u64) -> (u64, bool) {
    let open = || {
        let map = File::open(folder.join(MAP)).ok()?;
        let map = Map::of(map, key, size).ok()??;
        let sums = map.sums(&(0..map::blocks(size))).ok()?;
        let there = |(number, sum): (usize, &Option<Sum>)| sum.map(|_| number as u64 * BLOCK);
        let starts = sums.iter().enumerate().filter_map(there);
        let bytes = starts.map(|start| (start + BLOCK).min(size) - start).sum();
        Some((bytes, sums.iter().all(Option::is_some)))
    };
    open().unwrap_or_default()
}

/// Locks a map against removal, if it is still the one in the folder.
fn lock(map: &File, folder: &Path) -> io::Result<bool> {
    // Whoever holds it alone is about to remove it. If that is over, the lock is on a file without a name.
    if map.try_lock_shared().is_err() {
        return Ok(false);
    }
    let (held, named) = (map.metadata()?, fs::metadata(folder.join(MAP))?);
    Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
}

/// Both files; `None` where they are not those of the object, and away now.
fn open(folder: &Path, key: Key, size: u64) -> io::Result<Option<(File, Map)>> {
    let file = rewritable(&folder.join(MAP))?;
    let data = rewritable(&folder.join(DATA))?;
    match Map::of(file, key, size)? {
        Some(map) if data.metadata()?.len() == size => Ok(Some((data, map))),
        _ => {
            tracing::warn!(folder = %folder.display(), "not the cache of this object; made anew");
            remove(folder)?;
            Ok(None)
        }
    }
}

/// Whether something else stands where a file should.
fn is_foreign(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| [libc::ELOOP, libc::EISDIR, libc::ENOTDIR, libc::ENXIO].contains(&code))
}

fn rewritable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// New files. The map comes last and whole: who has it has all, and of many who make them one wins. `None` where
/// that was another, and where what is there is not of this object, and away now.
fn make(folder: &Path, key: Key, size: u64) -> io::Result<Option<(File, Map)>> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            builder.recursive(true).create(folder)?;
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let data = options.clone().create(true).open(folder.join(DATA))?;
    match data.metadata()? {
        meta if meta.is_file() && meta.len() == size => {}
        meta if meta.is_file() && meta.len() == 0 => data.set_len(size)?,
        _ => {
            remove(folder)?;
            return Ok(None);
        }
    }
    let draft = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = folder.join(format!(".map-{}-{draft}", std::process::id()));
    let (header, length) = map::header(key, size);
    let map = options.create_new(true).open(&draft)?;
    map.write_all_at(&header, 0)?;
    map.set_len(length)?;
    match nix::fcntl::renameat2(
        AT_FDCWD,
        &draft,
        AT_FDCWD,
        &folder.join(MAP),
        RenameFlags::RENAME_NOREPLACE,
    ) {
        Ok(()) => Ok(Map::of(map, key, size)?.map(|map| (data, map))),
        Err(Errno::EEXIST) => {
            fs::remove_file(&draft)?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes an object's files away: by their folder's name first, so that nobody opens half of them.
pub fn remove(folder: &Path) -> io::Result<()> {
    static REMOVED: AtomicU64 = AtomicU64::new(0);
    let shelf = folder.parent().unwrap_or(folder);
    let number = REMOVED.fetch_add(1, Ordering::Relaxed);
    let trash = shelf.join(format!(".gone-{}-{number}", std::process::id()));
    match fs::rename(folder, &trash) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    fs::remove_dir_all(trash)
}

/// Removes an object that nobody has open; whether it is gone.
pub fn remove_unused(folder: &Path) -> io::Result<bool> {
    let map = match rewritable(&folder.join(MAP)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        map => Some(map?),
    };
    if let Some(map) = &map
        && map.try_lock().is_err()
    {
        return Ok(false);
    }
    remove(folder)?;
    Ok(true)
}
