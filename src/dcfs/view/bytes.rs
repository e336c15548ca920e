//! The bytes of a row's file, whole or in part, and its thumbnail.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use tokio::sync::Semaphore;

use super::View;
use crate::picture;

/// Bytes read at a time.
pub const PIECE: u32 = 1 << 20;

/// Limit of a partial answer in bytes: a player requests more.
pub const PART: u64 = 8 << 20;

/// Limit of thumbnails made concurrently: each takes a core, and memory for its pixels.
static AT_WORK: Semaphore = Semaphore::const_new(2);

/// MIME types that a browser shows without running anything, by file extension. All text is shown as plain
/// text, including HTML and SVG.
const TYPES: [(&[&str], &str); 17] = [
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["png"], "image/png"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["avif"], "image/avif"),
    (&["bmp"], "image/bmp"),
    (&["mp4", "m4v"], "video/mp4"),
    (&["webm"], "video/webm"),
    (&["ogv"], "video/ogg"),
    (&["mp3"], "audio/mpeg"),
    (&["wav"], "audio/wav"),
    (&["flac"], "audio/flac"),
    (&["ogg", "oga", "opus"], "audio/ogg"),
    (&["m4a"], "audio/mp4"),
    (
        &[
            "txt", "md", "csv", "tsv", "log", "py", "yaml", "yml", "toml", "xml", "html", "htm",
            "svg",
        ],
        "text/plain; charset=utf-8",
    ),
    (&["json", "jsonl", "ndjson"], "text/plain; charset=utf-8"),
    (&[], ""),
];

/// The MIME type for showing a file; `None` if it can only be downloaded.
pub fn type_of(object: &Object) -> Option<&'static str> {
    let name = String::from_utf8_lossy(&object.path).to_ascii_lowercase();
    let ending = name.rsplit('/').next()?.rsplit_once('.')?.1.to_owned();
    let known = TYPES.iter().find(|(endings, _)| endings.contains(&ending.as_str()));
    known.map(|(_, kind)| *kind)
}

impl View {
    /// The object that a row names in a File column. Blocking.
    ///
    /// # Errors
    /// `Missing` if it names none.
    pub fn object(&self, row: RowId, column: usize) -> Result<Object> {
        let file = self.file(column)?;
        let found = self.catalog.objects(&self.of, file, &[row])?.pop().flatten();
        found.ok_or_else(|| Error::new(Kind::Missing, format!("row {row} names no file")))
    }

    /// The bytes `range` of an object, and its length.
    ///
    /// # Errors
    /// Those of the store; bytes of another object than the row's.
    pub async fn part(
        &self,
        object: &Object,
        range: impl FnOnce(u64) -> Range<u64>,
    ) -> Result<(Bytes, Range<u64>, u64)> {
        let reader = self.stores.open(object).await?;
        let size = reader.size();
        let range = range(size);
        let range = range.start.min(size)..range.end.min(size);
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let most = u32::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let piece = reader.read(at, most).await?;
            if piece.is_empty() {
                return Err(Error::new(Kind::Stale, "its bytes end before its size"));
            }
            at += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes.into(), range, size))
    }

    /// The thumbnail of an object.
    ///
    /// # Errors
    /// It is not a picture, or too large; those of the store.
    pub async fn thumb(self: &Arc<Self>, object: Object) -> Result<Vec<u8>> {
        if let Some(found) = self.thumbs.find(&object) {
            return Ok(found);
        }
        if object.size.is_some_and(|size| size > picture::LARGEST) {
            return Err(Error::new(Kind::Invalid, "too large for a thumbnail"));
        }
        let turn = AT_WORK.acquire().await.map_err(|error| Error::new(Kind::Broken, error))?;
        // Many rows may name the same picture.
        if let Some(found) = self.thumbs.find(&object) {
            return Ok(found);
        }
        let (bytes, ..) = self.part(&object, |size| 0..size.min(picture::LARGEST)).await?;
        let view = Arc::clone(self);
        // The client may be gone; the permit is released when the work ends.
        let make = move || {
            let _turn = turn;
            view.thumbs.make(&object, &bytes)
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.unwrap_or_else(|_| Err(Error::new(Kind::Invalid, "a picture that cannot be decoded")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_runs_is_shown_as_what_it_is() {
        let shown = |path: &str| type_of(&Object { path: path.into(), ..Object::default() });
        assert_eq!(shown("a/b.JPG"), Some("image/jpeg"));
        assert_eq!(shown("a/x.svg"), Some("text/plain; charset=utf-8"));
        assert_eq!(shown("a/x.html"), Some("text/plain; charset=utf-8"));
        assert_eq!((shown("a.b/c"), shown("x.exe"), shown("x.")), (None, None, None));
    }
}
