//! Thumbnails of pictures, made once and cached on disk by the identity of their object.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::picture;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::hex::hex;
use dcfs_core::object::Object;
use dcfs_disk::{private, regular};

/// Longer side in pixels.
const SIDE: u32 = 256;

/// Size limit in bytes, and number of bytes written between evictions.
const KEPT: u64 = 512 << 20;
const OFTEN: u64 = 32 << 20;

/// The folder of thumbnails.
#[derive(Debug)]
pub struct Thumbs {
    folder: PathBuf,
    /// Bytes and files written since the last eviction.
    written: AtomicU64,
    drafts: AtomicU64,
}

impl Thumbs {
    /// A folder below the cache's; the oldest thumbnails are removed if there are too many.
    ///
    /// # Errors
    /// The folder cannot be created, or belongs to another user.
    pub fn new(cache: &Path) -> Result<Self> {
        let folder = cache.join("thumbs");
        private::folder(&folder)?;
        make_room(&folder);
        Ok(Self { folder, written: AtomicU64::new(0), drafts: AtomicU64::new(0) })
    }

    /// The thumbnail of an object, if cached.
    pub fn find(&self, object: &Object) -> Option<Vec<u8>> {
        regular::read(&self.place(object), 1 << 20).ok()
    }

    /// Makes and caches the thumbnail of an object with these bytes. Blocking.
    ///
    /// # Errors
    /// `Invalid` if they are not a picture of a known format, or too large.
    pub fn make(&self, object: &Object, bytes: &[u8]) -> Result<Vec<u8>> {
        let thumb =
            picture::scaled(bytes, SIDE).map_err(|error| Error::new(Kind::Invalid, error))?;
        // Complete or absent; a full disk stores none.
        let place = self.place(object);
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = place.with_extension(format!("{}-{number}", std::process::id()));
        let mut options = fs::File::options();
        options.write(true).create(true).truncate(true);
        let kept = regular::open_with(&options, &draft)
            .and_then(|mut file| file.write_all(&thumb))
            .and_then(|()| fs::rename(&draft, &place));
        if let Err(error) = kept {
            tracing::debug!(%error, "a thumbnail could not be cached");
            fs::remove_file(&draft).ok();
        }
        let size = thumb.len() as u64;
        let before = self.written.fetch_add(size, Ordering::Relaxed);
        if before / OFTEN != (before + size) / OFTEN {
            make_room(&self.folder);
        }
        Ok(thumb)
    }

    fn place(&self, object: &Object) -> PathBuf {
        self.folder.join(format!("{}.jpg", hex(&object.identity().0)))
    }
}

/// Removes the oldest thumbnails until the rest is within the limit.
fn make_room(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        })
        .collect();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    for (_, size, path) in files {
        if total <= KEPT {
            return;
        }
        fs::remove_file(path).ok();
        total -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Cursor;

    use image::DynamicImage;

    #[test]
    fn a_picture_is_made_small_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let thumbs = Thumbs::new(folder.path()).expect("thumbs");
        let object = Object { path: b"a.png".to_vec(), etag: "1".into(), ..Object::default() };
        assert_eq!(thumbs.find(&object), None);
        let mut png = Vec::new();
        let picture = DynamicImage::ImageRgb8(image::RgbImage::new(1000, 500));
        picture.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).expect("written");
        let made = thumbs.make(&object, &png).expect("made");
        let seen = image::load_from_memory(&made).expect("a picture");
        assert_eq!((seen.width(), seen.height()), (256, 128));
        assert_eq!(thumbs.find(&object), Some(made));
        assert!(thumbs.make(&object, b"no picture").is_err());
        assert!(thumbs.make(&object, &png[..60]).is_err(), "cut short");
    }
}
