//! A short description of a file's beginning: a picture's format and size, the header of a table, the first
//! line of a text.

use dcfs_core::object::Object;
use dcfs_store::{Reader, Stores};
use dcfs_work::image::{self, Answer, Pieces};

/// Bytes of a text that are read for its first line.
const TEXT: u32 = 4 << 10;

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
    match TEXTS.contains(&ending) {
        true => first_line(&reader.read(0, TEXT).await.ok()?),
        false => picture(&reader).await,
    }
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
