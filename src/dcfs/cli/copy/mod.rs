//! Copies files out of the mount's file system without a kernel: several at a time, each complete or absent.
//!
//! Works like cp, with these differences: links named on the command line are followed, files keep their mtime,
//! and each is written under a temporary name beside its target and renamed when complete. A file that fails is
//! reported and counted; the others continue. Memory is bounded by the number of jobs, whatever the size of the
//! tree.
//!
//! | file | contents |
//! |---|---|
//! | [`destination`] | the target path of each source |
//! | [`part`] | temporary files |
//! | [`sums`] | the checksums of an export |
//! | [`bucket`] | files as objects of a bucket |

mod bucket;
pub mod destination;
pub mod part;
pub mod sums;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::task::{JoinSet, block_in_place};

use self::destination::Destination;
use self::part::Part;
use self::sums::{Sum, Sums};
use super::progress::Progress;
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::render::numbers::{bytes, count};
use dcfs_store::put::Target;
use dcfs_vfs::inode::Inode;
use dcfs_vfs::walk::Node;
use dcfs_vfs::{Attr, FileKind, Vfs};

/// Why a target cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is a directory; use `dcfs cp -r`")]
    IsDirectory,
    #[error("`{0}` is not a directory; make it first")]
    NoDirectory(String),
    #[error("`{0}` exists and is not a directory; remove it first")]
    OverFile(String),
    #[error("`{0}` is a directory; a file cannot take its place")]
    OverDirectory(String),
    #[error("`{0}` is not a regular file; use `dcfs cat`")]
    Special(String),
    #[error("`{0}` is a dangling link; remove it first")]
    Dangling(String),
    #[error("`{0}` was just written from another path; copy them into different directories")]
    Twice(String),
    #[error(
        "an export writes checksums there, so no row may have this path; leave it out with `--where`"
    )]
    OfChecksums,
    #[error("its name is not UTF-8, but keys of a bucket must be; leave it out with `--where`")]
    NotUtf8,
    #[error("cannot write `{path}`")]
    Write { path: String, source: io::Error },
    #[error("the work on it was interrupted: {0}")]
    Lost(String),
    #[error(
        "there is nothing to export: no row passes, or no column holds boxes; name one: `--options boxes=<column>`"
    )]
    Nothing,
}

impl Error {
    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.display().to_string(), source }
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Write { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::Missing,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Broken,
            },
            Error::Lost(_) => Kind::Broken,
            Error::Nothing => Kind::Missing,
            _ => Kind::Invalid,
        };
        Self::new(kind, error)
    }
}

/// The summary of a run, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub files: u64,
    pub bytes: u64,
    pub failed: u64,
    /// The highest exit code among the errors.
    #[serde(skip)]
    pub worst: Option<Kind>,
}

impl Tally {
    fn add_failure(&mut self, kind: Kind) {
        self.failed += 1;
        self.worst = self.worst.into_iter().chain([kind]).max_by_key(|kind| kind.codes().1);
    }
}

/// Formats as `copied 7,390 files (774.0 MiB), 2 failed`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        write!(f, "copied {} {files} ({})", count(self.files), bytes(self.bytes))?;
        if self.failed > 0 {
            write!(f, ", {} failed", count(self.failed))?;
        }
        Ok(())
    }
}

/// The result of copying a file: its path for messages, its target, and the outcome.
type Copied = (String, PathBuf, Result<Written>);

/// A file that has been written, or existed.
struct Written {
    bytes: u64,
    /// If checksums are wanted.
    sum: Option<Sum>,
}

/// One run of `dcfs cp`.
pub struct Copier {
    vfs: Arc<Vfs>,
    progress: Arc<Progress>,
    /// Number of files copied concurrently.
    jobs: usize,
    running: JoinSet<Copied>,
    sums: Option<Sums>,
    /// The target bucket, and the path that stands for its prefix.
    target: Option<(Arc<Target>, PathBuf)>,
    pub tally: Tally,
}

impl Copier {
    pub fn new(vfs: Arc<Vfs>, progress: Arc<Progress>, jobs: usize) -> Self {
        Self {
            vfs,
            progress,
            jobs,
            running: JoinSet::new(),
            sums: None,
            target: None,
            tally: Tally::default(),
        }
    }

    /// Makes this an export: unchanged files are kept, and checksums of all are written into a folder.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn export(&mut self, folder: &Path) -> Result<()> {
        self.sums = Some(Sums::create(folder)?);
        Ok(())
    }

    /// The same into a bucket, whose prefix is `folder` in the paths of copies.
    ///
    /// # Errors
    /// The store's.
    pub async fn export_to(&mut self, target: Arc<Target>, folder: &Path) -> Result<()> {
        target.remove(sums::NAME).await?;
        self.sums = Some(Sums::of_bucket(folder));
        self.target = Some((target, folder.to_owned()));
        Ok(())
    }

    /// Returns the summary. Checksums are written only if nothing failed.
    ///
    /// # Errors
    /// They cannot be written.
    pub async fn finish(self) -> Result<Tally> {
        if self.sums.is_some() && self.tally == Tally::default() {
            return Err(Error::Nothing.into());
        }
        if let Some(sums) = self.sums.filter(|_| self.tally.failed == 0) {
            let text = sums.finish()?;
            if let Some((target, _)) = &self.target {
                target.put(sums::NAME, text.into(), &[]).await?;
            }
        }
        Ok(self.tally)
    }

    /// Copies every source, and reports those that fail.
    pub async fn copy(&mut self, sources: &[PathBuf], to: &mut Destination, recursive: bool) {
        for source in sources {
            if let Err(error) = self.source(source, to, recursive).await {
                self.fail(&source.to_string_lossy(), &error);
            }
        }
        while self.gather().await {}
    }

    /// Cancels files in progress; nothing of them is left on the disk.
    pub async fn stop(&mut self) {
        self.running.shutdown().await;
    }

    async fn source(&mut self, path: &Path, to: &mut Destination, recursive: bool) -> Result<()> {
        let name = path.as_os_str().as_bytes();
        let found = self.vfs.find(name).await?;
        if found.kind == FileKind::Directory {
            if !recursive {
                return Err(Error::IsDirectory.into());
            }
            return self.tree(path, &found, &to.directory(name)?).await;
        }
        let target = to.file(name)?;
        self.file(path.to_string_lossy().into_owned(), found, target).await;
        Ok(())
    }

    async fn tree(&mut self, path: &Path, top: &Attr, target: &Path) -> Result<()> {
        if self.target.is_none() {
            make_directory(target)?;
        }
        let mut tree = self.vfs.tree(top).await?;
        while let Some(node) = tree.next().await {
            let node = match node {
                Ok(node) => node,
                Err(error) => {
                    self.fail(&path.to_string_lossy(), &error);
                    continue;
                }
            };
            let below = OsStr::from_bytes(&node.path);
            let (from, to) = (path.join(below), target.join(below));
            if self.sums.as_ref().is_some_and(|sums| sums.is_at(&to)) {
                self.fail(&from.to_string_lossy(), &Error::OfChecksums.into());
                continue;
            }
            let done = match node.attr.kind {
                FileKind::File => {
                    self.file(from.to_string_lossy().into_owned(), node.attr, to).await;
                    Ok(())
                }
                FileKind::Link => self.link(&node, &to).await,
                FileKind::Directory if self.target.is_some() => {
                    tree.enter(node.path, &node.attr).await
                }
                FileKind::Directory => match make_directory(&to) {
                    Ok(()) => tree.enter(node.path, &node.attr).await,
                    Err(error) => Err(error.into()),
                },
            };
            if let Err(error) = done {
                self.fail(&from.to_string_lossy(), &error);
            }
        }
        Ok(())
    }

    /// Starts copying a file once a job is free.
    async fn file(&mut self, path: String, file: Attr, target: PathBuf) {
        while self.running.len() >= self.jobs && self.gather().await {}
        let (vfs, progress) = (self.vfs.clone(), self.progress.clone());
        let is_export = self.sums.is_some();
        if let Some((bucket, folder)) = &self.target {
            let bucket = bucket.clone();
            let key = target.strip_prefix(folder).unwrap_or(&target).to_str().map(str::to_owned);
            self.running.spawn(async move {
                let written = match key {
                    Some(key) => bucket::file_to(&vfs, &file, &bucket, &key, &progress).await,
                    None => Err(Error::NotUtf8.into()),
                };
                (path, target, written)
            });
            return;
        }
        self.running.spawn(async move {
            let written = match is_export.then(|| kept(&file, &target, &progress)).flatten() {
                Some(kept) => kept.map_err(Into::into),
                None => file_to(&vfs, &file, &target, &progress, is_export).await,
            };
            (path, target, written)
        });
    }

    /// Copies a link of `datasets/` as a link.
    async fn link(&self, node: &Node, target: &Path) -> Result<()> {
        let leads = self.vfs.readlink(node.attr.inode.number()).wait().await?;
        Ok(part::link(OsStr::from_bytes(&leads), target)?)
    }

    /// Counts the next finished file; false if none is in progress.
    async fn gather(&mut self) -> bool {
        match self.running.join_next().await {
            None => return false,
            Some(Ok((path, target, Ok(written)))) => {
                self.tally.files += 1;
                self.tally.bytes += written.bytes;
                self.progress.add_file();
                let noted = self.sums.as_mut().zip(written.sum);
                let noted = noted.map_or(Ok(()), |(sums, sum)| sums.add(&target, &sum));
                if let Err(error) = noted {
                    self.fail(&path, &error.into());
                }
            }
            Some(Ok((path, _, Err(error)))) => self.fail(&path, &error),
            Some(Err(lost)) => self.fail("a file", &Error::Lost(lost.to_string()).into()),
        }
        true
    }

    fn fail(&mut self, path: &str, error: &error::Error) {
        self.progress.say(&format!("`{path}`: {error}"));
        self.tally.add_failure(error.kind());
    }
}

/// Copies one file to its target.
async fn file_to(
    vfs: &Arc<Vfs>,
    file: &Attr,
    target: &Path,
    progress: &Progress,
    is_summed: bool,
) -> Result<Written> {
    let mut part = block_in_place(|| Part::create(target))?;
    let mut hash = is_summed.then(Sha256::new);
    let copied = vfs.pour(file, |bytes| {
        progress.add(bytes.len() as u64);
        block_in_place(|| {
            if let Some(hash) = &mut hash {
                hash.update(&bytes);
            }
            Ok(part.write(&bytes)?)
        })
    });
    let bytes = copied.await?;
    block_in_place(|| part.finish(file.mtime))?;
    Ok(Written { bytes, sum: hash.map(|hash| hash.finalize().into()) })
}

/// An existing copy of a row's own object with the size and the time that it would get: an earlier export wrote
/// it completely. A row without a time may be of another version, and is written again.
///
/// Files generated by dcfs (shards, labels, annotations, tables) have the time of their version, whatever the
/// filter and the options were, so they are written again.
fn kept(file: &Attr, target: &Path, progress: &Progress) -> Option<Result<Written, Error>> {
    if !tells_its_version(file) {
        return None;
    }
    let there = fs::symlink_metadata(target).ok()?;
    let is_same = there.is_file()
        && there.len() == file.size
        && there.modified().is_ok_and(|mtime| mtime == file.mtime);
    is_same.then(|| {
        let sum = block_in_place(|| sums::of(target))?;
        progress.add(file.size);
        Ok(Written { bytes: file.size, sum: Some(sum) })
    })
}

/// Whether the mtime of a file identifies its bytes: true for a row's own object, if the row has a time.
fn tells_its_version(file: &Attr) -> bool {
    is_object(file.inode) && file.mtime != UNIX_EPOCH
}

/// Whether the bytes are those of a row's object, not generated by dcfs.
fn is_object(inode: Inode) -> bool {
    matches!(inode, Inode::File(..))
}

/// Creates a directory, unless it exists.
fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A link does not count: like cp, which does not take a link for a directory.
            let is_directory = fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
            is_directory.then_some(()).ok_or_else(|| Error::OverFile(path.display().to_string()))
        }
        made => made.map_err(|error| Error::write(path, error)),
    }
}

/// The total size of the files below these paths, as far as they can be listed.
pub async fn measure(vfs: &Arc<Vfs>, sources: &[PathBuf]) -> u64 {
    let mut total = 0;
    for source in sources {
        let Ok(found) = vfs.find(source.as_os_str().as_bytes()).await else { continue };
        if found.kind == FileKind::File {
            total += found.size;
            continue;
        }
        let Ok(mut tree) = vfs.tree(&found).await else { continue };
        while let Some(node) = tree.next().await {
            match node {
                Ok(Node { attr, .. }) if attr.kind == FileKind::File => total += attr.size,
                Ok(Node { path, attr }) if attr.kind == FileKind::Directory => {
                    tree.enter(path, &attr).await.ok();
                }
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_was_done() {
        let mut tally = Tally { files: 7390, bytes: 774 << 20, ..Tally::default() };
        assert_eq!(tally.to_string(), "copied 7,390 files (774.0 MiB)");
        for kind in [Kind::Missing, Kind::Stale, Kind::Invalid] {
            tally.add_failure(kind);
        }
        assert_eq!(tally.to_string(), "copied 7,390 files (774.0 MiB), 3 failed");
        assert_eq!(tally.worst, Some(Kind::Stale));
        let json = serde_json::to_string(&tally).expect("JSON");
        assert_eq!(json, r#"{"files":7390,"bytes":811597824,"failed":3}"#);
        let one = Tally { files: 1, bytes: 5, ..Tally::default() };
        assert_eq!(one.to_string(), "copied 1 file (5 B)");
    }

    #[test]
    fn what_dcfs_makes_is_never_taken_for_what_is_there() {
        use dcfs_core::id::EntryId;
        use dcfs_vfs::inode::Slot;

        assert!(is_object(Inode::File(Slot(0), EntryId::new(1))));
        assert!(!is_object(Inode::ViewsPage(Slot(0))));
        assert!(!is_object(Inode::Status));
    }

    #[test]
    fn a_row_without_a_time_is_copied_again() {
        use dcfs_core::id::EntryId;
        use dcfs_vfs::inode::Slot;
        use std::time::Duration;

        let attr = |inode, mtime| Attr {
            inode,
            kind: FileKind::File,
            size: 1,
            mtime,
            ttl: Duration::ZERO,
        };
        let (row, later) =
            (Inode::File(Slot(0), EntryId::new(1)), UNIX_EPOCH + Duration::from_secs(1));
        assert!(!tells_its_version(&attr(row, UNIX_EPOCH)));
        assert!(tells_its_version(&attr(row, later)));
        assert!(!tells_its_version(&attr(Inode::Status, later)));
    }

    #[test]
    fn a_directory_is_made_or_was_there() {
        let home = tempfile::tempdir().expect("a folder");
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), "x").expect("written");
        std::os::unix::fs::symlink(home.path(), path("link")).expect("linked");
        for name in ["new", "new"] {
            make_directory(&path(name)).expect(name);
        }
        for name in ["file", "link"] {
            assert!(matches!(make_directory(&path(name)), Err(Error::OverFile(_))), "{name}");
        }
        assert!(matches!(make_directory(&path("no/new")), Err(Error::Write { .. })));
    }
}
