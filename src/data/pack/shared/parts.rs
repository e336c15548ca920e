//! Bundles of which a host keeps some files, and reads the others by range.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dcfs_disk::regular;
use sha2::{Digest as _, Sha256};

use super::bundle::{self, Bundle, LONGEST, PIECE, Part};
use super::{AWAY_FOR_NAMES, Lost, Shared};
use crate::catalog::Digest;
use crate::pack::error::PackError;
use crate::pack::folder::sibling;
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind, Result};

/// The file that keeps the list of a bundle.
const LIST: &str = "bundle.json";

/// The list of files of a bundle, checked against the catalog.
pub struct List {
    bundle: Bundle,
    digest: Digest,
}

impl Shared {
    /// The list of the bundle shared as `name`, from the folder `home` if it is kept there, else
    /// fetched and kept.
    ///
    /// # Errors
    /// There is none; it fails verification; errors of the folder and the disk.
    pub fn list_in(&self, name: &str, home: &Path) -> Result<List, Lost> {
        let none = || Error::new(Kind::Missing, "nothing is shared under this name");
        let digest = self.digest(name).ok_or_else(none)?;
        let path = home.join(LIST);
        let kept = regular::read(&path, LONGEST).ok();
        let bytes = match kept.filter(|kept| Digest::from(Sha256::digest(kept)) == digest) {
            Some(kept) => kept,
            None => {
                let bytes = self.get_after(AWAY_FOR_NAMES, &digest, LONGEST)?;
                replace(&path, &bytes)?;
                bytes
            }
        };
        Ok(List { bundle: bundle::read(&bytes, name)?, digest })
    }

    /// A range of an object; `None` if it does not exist there.
    ///
    /// A failure does not count for [`super::Tier::ask`], by which a host that can do without the folder
    /// leaves it alone for half a minute: who reads ranges cannot, and has an interval of its own.
    fn range(&self, digest: &Digest, at: u64, length: u64) -> Result<Option<Vec<u8>>> {
        let found = self.tier.objects.get_range(&self.key(digest), at..at + length)?;
        self.tier.note_answer();
        if let Some(bytes) = &found {
            let counts = &self.tier.counts;
            counts.fetched.fetch_add(1, Ordering::Relaxed);
            counts.fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// As [`Self::get_after`], of a piece that a list names: one that is denied while the list can be read is gone.
    pub(super) fn get_piece(
        &self,
        pause: Duration,
        list: &Digest,
        piece: &Digest,
        length: u64,
    ) -> Result<Vec<u8>, Lost> {
        match self.get_after(pause, piece, length) {
            Err(Lost::Away(error)) if error.kind() == Kind::Denied && self.can_read(list) => {
                Err(self.refused(piece, "is gone"))
            }
            found => found,
        }
    }

    /// Whether an object can be read: then one that is denied is only missing, because without
    /// permission to list a bucket S3 answers 403 for a key that does not exist.
    fn can_read(&self, digest: &Digest) -> bool {
        let first = self.tier.objects.get_range(&self.key(digest), 0..1);
        first.is_ok_and(|byte| byte.is_some())
    }
}

impl List {
    fn part(&self, file: &str) -> Result<&Part> {
        let part = self.bundle.files.iter().find(|part| part.name == file);
        part.ok_or_else(|| Error::new(Kind::Broken, format!("no `{file}` is shared")))
    }

    /// Whether a file is in it.
    pub fn has(&self, file: &str) -> bool {
        self.part(file).is_ok()
    }

    /// Puts one file into the folder `home`, unless it is there.
    ///
    /// # Errors
    /// It fails verification; errors of the folder and the disk.
    pub fn keep(&self, shared: &Shared, file: &str, home: &Path) -> Result<(), Lost> {
        let (part, path) = (self.part(file)?, home.join(file));
        if regular::read(&path, part.length).is_ok_and(|kept| is_of(part, &kept)) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for (digest, length) in part.pieces() {
            bytes.extend(shared.get_piece(AWAY_FOR_NAMES, &self.digest, digest, length)?);
        }
        Ok(replace(&path, &bytes)?)
    }

    /// The pieces of a file, to be read by range.
    ///
    /// # Errors
    /// There is no such file.
    pub fn pieces(&self, shared: &Shared, file: &str) -> Result<Pieces> {
        let part = self.part(file)?;
        let digests = part.pieces.clone();
        Ok(Pieces { shared: shared.clone(), length: part.length, digests, list: self.digest })
    }
}

/// Whether these are the bytes of a file.
fn is_of(part: &Part, bytes: &[u8]) -> bool {
    let pieces = bytes.chunks(PIECE as usize).map(|piece| Digest::from(Sha256::digest(piece)));
    bytes.len() as u64 == part.length && pieces.eq(part.pieces.iter().copied())
}

/// Writes a file, or replaces it, at once.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = sibling(path, "building");
    let written = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    Ok(written.map_err(PackError::write(path))?)
}

/// The pieces of a file of which only ranges are read.
pub struct Pieces {
    shared: Shared,
    length: u64,
    digests: Vec<Digest>,
    /// The list that names them.
    list: Digest,
}

impl Pieces {
    /// The length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes `at..at + length`, which are in one piece. They are not verified.
    ///
    /// # Errors
    /// [`Kind::Stale`] if the object is gone or too short; errors of the folder.
    pub fn range(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let gone = || Error::new(Kind::Stale, "a shared object is gone or cut short");
        let piece = usize::try_from(at / PIECE).ok().and_then(|piece| self.digests.get(piece));
        let found = match self.shared.range(piece.ok_or_else(gone)?, at % PIECE, length) {
            Err(error) if error.kind() == Kind::Denied && self.shared.can_read(&self.list) => None,
            found => found?,
        };
        found.filter(|bytes| bytes.len() as u64 == length).ok_or_else(gone)
    }

    /// Hands all bytes, verified, to `each`, one piece after the other.
    ///
    /// # Errors
    /// [`PackError::Damaged`] if a piece is gone or fails verification; errors of the folder, and of `each`.
    pub fn each(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        for digest in &self.digests {
            cancel::check().map_err(PackError::Other)?;
            let bytes = self.shared.get_piece(AWAY_FOR_NAMES, &self.list, digest, PIECE);
            each(&bytes.map_err(|lost| match lost {
                Lost::Away(error) => PackError::Other(error),
                Lost::Unusable(error) => PackError::damaged(error.to_string()),
            })?)?;
        }
        Ok(())
    }

    /// Counts bytes that are not what the catalog says.
    pub fn count_refused(&self, why: &str) {
        self.shared.tier.counts.refused.fetch_add(1, Ordering::Relaxed);
        let place = self.shared.tier.objects.place();
        tracing::warn!(place, why, "shared names cannot be used; the whole pack is");
    }
}
