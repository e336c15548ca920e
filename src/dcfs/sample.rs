//! A short description of a file's beginning: a picture's format and size, the header of a table, the first
//! line of a text.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dcfs_core::error::Result;
use dcfs_core::object::Object;
use dcfs_core::render::numbers::counted;
use dcfs_data::parquet_file;
use dcfs_store::{Reader, Stores};
use dcfs_work::image::{self, Answer, Pieces};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Bytes of a text that are read for its first line.
const TEXT: u32 = 4 << 10;

/// Bytes of the footer of a Parquet file at most: one of thousands of columns has half of it.
const FOOTER: u32 = 4 << 20;

/// The end of a Parquet file: the length of its footer, and a mark.
const TAIL: u32 = 8;

/// Columns of a Parquet file that are told.
const MOST_COLUMNS: usize = 20;

/// How long somebody who reads a page waits for one file; where one took as long, others are not asked for in this time.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(60);

/// Pieces of a picture that are read for its size.
const MOST_PIECES: usize = 4;

/// Extensions of text files whose first line is informative.
const TEXTS: [&str; 10] =
    ["csv", "tsv", "txt", "md", "json", "jsonl", "ndjson", "xml", "yaml", "log"];

/// Describes the beginning of an object; `None` if it cannot be read, or is not informative.
pub async fn beginning(stores: &Stores, object: &Object) -> Option<String> {
    let name = String::from_utf8_lossy(&object.path).to_ascii_lowercase();
    let ending = name.rsplit('/').next()?.rsplit_once('.').map(|(_, ending)| ending)?;
    let reader = stores.open(object).await.ok()?;
    match ending {
        _ if TEXTS.contains(&ending) => first_line(&reader.read(0, TEXT).await.ok()?),
        "parquet" | "pq" => parquet(&reader).await,
        _ => picture(&reader).await,
    }
}

/// Looks into files while somebody waits for a page: never for long, and not again where a store is slow.
#[derive(Debug, Default)]
pub struct Patient {
    slow: Mutex<Option<Instant>>,
}

impl Patient {
    /// As [`beginning`], of a thread that may block.
    pub fn beginning(&self, stores: &Stores, object: &Object) -> Option<String> {
        let slow = *self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        if slow.is_some_and(|since| since.elapsed() < PAUSE) {
            return None;
        }
        let Ok(told) = Handle::current().block_on(timeout(PATIENCE, beginning(stores, object)))
        else {
            *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            return None;
        };
        told
    }
}

/// The rows of a Parquet file and its columns, by its footer.
async fn parquet(reader: &Reader) -> Option<String> {
    let end = reader.size().checked_sub(TAIL.into())?;
    let tail = whole(reader, end, TAIL).await.ok()?;
    let (length, mark) = tail.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    if mark != b"PAR1" || length > FOOTER {
        return None;
    }
    let footer = whole(reader, end.checked_sub(length.into())?, length).await.ok()?;
    let (rows, columns) = parquet_file::heading(&footer)?;
    let named = columns.iter().take(MOST_COLUMNS).cloned().collect::<Vec<_>>().join(", ");
    Some(format!("Parquet, {}: {named}", counted(rows, "row")))
}

/// So many bytes from `at` on, fewer only at the end of the object.
async fn whole(reader: &Reader, at: u64, length: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length as usize {
        let more = reader.read(at + bytes.len() as u64, length - bytes.len() as u32).await?;
        if more.is_empty() {
            break;
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// The first line that is not empty, if the bytes are text.
fn first_line(start: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character is cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let line = text.trim_start_matches('\u{feff}').lines().find(|line| !line.trim().is_empty())?;
    (!line.contains('\0')).then(|| line.trim().to_owned())
}

async fn picture(reader: &Reader) -> Option<String> {
    let mut pieces = Pieces::new(reader.size());
    let (mut at, mut length) = (0, image::FIRST);
    while pieces.count() < MOST_PIECES {
        let bytes = reader.read(at, u32::try_from(length).ok()?).await.ok()?;
        pieces.add(at, bytes);
        match image::look(&pieces) {
            Answer::Is(found) => {
                return Some(format!("{}, {} x {}", found.format, found.width, found.height));
            }
            Answer::No => return None,
            Answer::Needs(next) => (at, length) = (next, image::MORE),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_something_by_its_first_line() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"\xef\xbb\xbfid,name\n1,a\n", Some("id,name")),
            (b"\n  \n {\"a\": 1}\n", Some("{\"a\": 1}")),
            ("caf\u{e9}".as_bytes(), Some("caf\u{e9}")),
            (b"caf\xc3", Some("caf")),
            (b"\x89PNG\xff\xfe", None),
            (b"", None),
        ];
        for (start, want) in cases {
            assert_eq!(first_line(start).as_deref(), want, "{start:?}");
        }
    }
}
