//! A folder of files as shared objects: a list of files, and the pieces they consist of.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dcfs_disk::regular;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{AWAY, AWAY_FOR_NAMES, Lost, Shared};
use crate::catalog::{Digest, SharedName};
use crate::pack::error::PackError;
use crate::pack::output::Sums;
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::shared::Seen;

/// The size of a piece in bytes, except for the last of a file.
pub const PIECE: u64 = 8 << 20;

/// The most pieces in transfer: they are the memory that fetching takes.
const AT_ONCE: usize = 4;

/// The longest list in bytes.
pub const LONGEST: u64 = 16 << 20;

/// The file of a folder that describes the others; fetched last, because a folder that has one is
/// complete.
const MANIFEST: &str = "manifest.json";

/// See the module.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bundle {
    /// The name it is shared under.
    name: String,
    pub files: Vec<Part>,
}

/// One file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub name: String,
    pub length: u64,
    /// The SHA-256 of each piece.
    pub pieces: Vec<Digest>,
}

impl Part {
    /// The digest and the length of each piece.
    pub fn pieces(&self) -> impl Iterator<Item = (&Digest, u64)> {
        let length = |number: u64| PIECE.min(self.length.saturating_sub(number * PIECE));
        self.pieces.iter().zip(0..).map(move |(digest, number)| (digest, length(number)))
    }
}

/// One piece of a file, to be fetched.
struct Piece<'a> {
    file: &'a File,
    digest: Digest,
    at: u64,
    length: u64,
}

/// The amount that was shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    pub objects: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}

impl Shared {
    /// Whether the bundle shared as `name` is complete, according to a listing.
    ///
    /// # Errors
    /// Errors of the folder.
    pub fn is_whole(&self, name: &str) -> Result<bool> {
        Ok(self.listed(name)?.is_some())
    }

    /// Whether the bundle shared as `name` is complete, and every piece what the list says. Reads all
    /// of it.
    ///
    /// # Errors
    /// Errors of the folder.
    pub fn is_intact(&self, name: &str) -> Result<bool> {
        // Lengths first: an object that is too long is an error of the folder.
        let Some(bundle) = self.listed(name)? else { return Ok(false) };
        for (digest, length) in bundle.files.iter().flat_map(Part::pieces) {
            cancel::check()?;
            let seen = self.tier.ask(|objects| objects.get(&self.key(digest), length))?;
            if seen.is_none_or(|seen| Digest::from(Sha256::digest(&seen.bytes)) != *digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The list shared as `name`, if it is intact and all its pieces are there in full length.
    fn listed(&self, name: &str) -> Result<Option<Bundle>> {
        let Some(digest) = self.digest(name) else { return Ok(None) };
        let seen = self.tier.ask(|objects| objects.get(&self.key(&digest), LONGEST))?;
        let whole = |seen: &Seen| Digest::from(Sha256::digest(&seen.bytes)) == digest;
        let bundle = seen.filter(whole).and_then(|seen| read(&seen.bytes, name).ok());
        let Some(bundle) = bundle else { return Ok(None) };
        let listed = self.tier.ask(|objects| objects.list(&format!("{}/", self.home)))?;
        let there: HashMap<String, u64> = listed.into_iter().map(|o| (o.key, o.size)).collect();
        let has = |(digest, length)| there.get(&self.key(digest)) == Some(&length);
        let is_whole = bundle.files.iter().flat_map(Part::pieces).all(has);
        Ok(is_whole.then_some(bundle))
    }

    /// Fetches the files shared as `name` into the folder `into`; `false` if there are none, or
    /// they fail verification: then discard the folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn fetch(&self, name: &str, into: &Path) -> Result<bool, PackError> {
        match self.fetch_or(name, into, false)? {
            Ok(is_there) => Ok(is_there),
            Err(lost) => {
                tracing::warn!(name, error = %lost, "what is shared cannot be used; building it here");
                Ok(false)
            }
        }
    }

    /// The same for callers who decide themselves what follows; `is_awaited` if they wait for the folder.
    ///
    /// # Errors
    /// The folder `into` cannot be written to; inside, why what is shared cannot be had.
    pub fn fetch_or(
        &self,
        name: &str,
        into: &Path,
        is_awaited: bool,
    ) -> Result<Result<bool, Lost>, PackError> {
        let Some(digest) = self.digest(name) else { return Ok(Ok(false)) };
        let pause = if is_awaited { AWAY_FOR_NAMES } else { AWAY };
        let listed = self.get_after(pause, &digest, LONGEST);
        let bundle = match listed.and_then(|bytes| Ok(read(&bytes, name)?)) {
            Ok(bundle) => bundle,
            Err(lost) => return Ok(Err(lost)),
        };
        let files = bundle.files.iter().map(|part| Ok((part, create(into, part)?)));
        let files: Vec<(&Part, File)> = files.collect::<Result<_, PackError>>()?;
        Ok(self.fetch_all(&digest, pause, &files).map(|()| true))
    }

    /// Fetches every piece, several at a time, and stops at the first error.
    fn fetch_all(
        &self,
        list: &Digest,
        pause: Duration,
        files: &[(&Part, File)],
    ) -> Result<(), Lost> {
        let pieces: Vec<Piece<'_>> =
            files.iter().flat_map(|(part, file)| pieces(part, file)).collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.fetch_piece(list, pause, piece) {
                    next.store(pieces.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..AT_ONCE.min(pieces.len()) {
                // If a thread cannot start, the others do its work.
                let _ = thread::Builder::new().name("dcfs-shared".into()).spawn_scoped(scope, work);
            }
            work();
        });
        failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
    }

    fn fetch_piece(&self, list: &Digest, pause: Duration, piece: &Piece<'_>) -> Result<(), Lost> {
        let bytes = self.get_piece(pause, list, &piece.digest, piece.length)?;
        if bytes.len() as u64 != piece.length {
            return Err(Error::new(Kind::Broken, "a shared piece has the wrong length").into());
        }
        let written = piece.file.write_all_at(&bytes, piece.at);
        Ok(written.map_err(|error| Error::new(Kind::Broken, error))?)
    }

    /// As [`Shared::share`], unless it is already shared.
    ///
    /// # Errors
    /// As [`Shared::share`].
    pub fn share_if_missing(&self, name: &str, folder: &Path, sums: &Sums) -> Result<Written> {
        if self.is_whole(name)? { Ok(Written::default()) } else { self.share(name, folder, sums) }
    }

    /// Shares `manifest.json` and the files of `sums` in `folder` as `name`, after verifying each
    /// checksum.
    ///
    /// # Errors
    /// A file that does not match its checksum; errors of the folder and the catalog.
    pub fn share(&self, name: &str, folder: &Path, sums: &Sums) -> Result<Written> {
        self.check_writable()?;
        let mut kept = Written::default();
        let mut files = Vec::new();
        for (file, sum) in sums {
            let (part, crc) = self.put_file(folder, file, &mut kept)?;
            if (part.length, crc) != (sum.length, sum.crc32) {
                let why = format!("`{file}` does not match its checksum");
                return Err(PackError::damaged(why).into());
            }
            files.push(part);
        }
        files.push(self.put_file(folder, MANIFEST, &mut kept)?.0);
        let bundle = Bundle { name: name.to_owned(), files };
        let bytes = serde_json::to_vec(&bundle).map_err(|e| Error::new(Kind::Broken, e))?;
        kept.objects += 1;
        kept.bytes += bytes.len() as u64;
        let digest = self.put(bytes)?;
        self.note(name, &digest)?;
        Ok(kept)
    }

    fn put_file(&self, folder: &Path, name: &str, kept: &mut Written) -> Result<(Part, u32)> {
        let path = folder.join(name);
        let mut file = regular::open(&path).map_err(PackError::read(&path))?;
        let (mut crc, mut length, mut pieces) = (crc32fast::Hasher::new(), 0, Vec::new());
        loop {
            let mut bytes = Vec::new();
            let read = file.by_ref().take(PIECE).read_to_end(&mut bytes);
            read.map_err(PackError::read(&path))?;
            if bytes.is_empty() {
                break;
            }
            crc.update(&bytes);
            length += bytes.len() as u64;
            kept.objects += 1;
            kept.bytes += bytes.len() as u64;
            pieces.push(self.put(bytes)?);
        }
        Ok((Part { name: name.to_owned(), length, pieces }, crc.finalize()))
    }
}

/// Parses a list whose digest matched; its structure is validated all the same.
pub(super) fn read(bytes: &[u8], name: &str) -> Result<Bundle> {
    let odd = |why: &str| Error::new(Kind::Broken, format!("the list of files {why}"));
    let bundle: Bundle = serde_json::from_slice(bytes).map_err(|_| odd("cannot be read"))?;
    let plain = |name: &str| {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.';
        !name.is_empty() && name.len() < 64 && !name.starts_with('.') && name.bytes().all(known)
    };
    if bundle.name != name {
        return Err(odd("is another's"));
    }
    for (at, part) in bundle.files.iter().enumerate() {
        let is_new = bundle.files[..at].iter().all(|other| other.name != part.name);
        let count = usize::try_from(part.length.div_ceil(PIECE)).ok();
        if !plain(&part.name) || !is_new || count != Some(part.pieces.len()) {
            return Err(odd("makes no sense"));
        }
    }
    Ok(bundle)
}

/// The keys of the pieces in a list; empty if it is damaged, because they are of no use then.
///
/// # Errors
/// Errors of the folder: a list that could not be read may refer to anything.
pub fn pieces_of(shared: &Shared, each: &SharedName) -> Result<Vec<String>> {
    let seen = shared.tier.objects.get(&shared.key(&each.digest), LONGEST)?;
    let whole = |seen: &Seen| Digest::from(Sha256::digest(&seen.bytes)) == each.digest;
    let found = seen.filter(whole).and_then(|seen| read(&seen.bytes, &each.name).ok());
    let pieces = found.into_iter().flat_map(|bundle| bundle.files).flat_map(|part| part.pieces);
    Ok(pieces.map(|digest| shared.key(&digest)).collect())
}

fn create(into: &Path, part: &Part) -> Result<File, PackError> {
    let path = into.join(&part.name);
    let mut options = File::options();
    let file = regular::open_with(options.read(true).write(true).create_new(true), &path);
    let file = file.map_err(PackError::write(&path))?;
    file.set_len(part.length).map_err(PackError::write(&path))?;
    Ok(file)
}

fn pieces<'a>(part: &'a Part, file: &'a File) -> impl Iterator<Item = Piece<'a>> {
    let pieces = part.pieces().zip(0_u64..);
    pieces.map(move |((digest, length), number)| Piece {
        file,
        digest: *digest,
        at: number * PIECE,
        length,
    })
}
