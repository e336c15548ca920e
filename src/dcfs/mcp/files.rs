//! `files`: the files of some rows, or the contents of one of them.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::Setup;
use super::answer::{Answer, Fitting, LONGEST};
use super::server::{Server, blocking};
use crate::picture;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Query;
use dcfs_core::name::{DatasetRef, escape};
use dcfs_core::render::numbers::bytes;
use dcfs_core::render::stranger::visible;
use dcfs_core::schema::Schema;
use dcfs_core::secrets::masked;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::lost;
use dcfs_data::pack::{Pack, Subset};
use dcfs_data::query::alias::{self, Directory};
use dcfs_data::query::{Queries, Version};
use dcfs_data::usage::Use;
use dcfs_vfs::attributes::Attribute;
use dcfs_vfs::{Attr, FileKind, Vfs};

/// Limit of files in a list.
const MOST_FILES: usize = 100;

/// Size in bytes up to which a picture is returned unchanged: base64 makes it a third larger, and clients
/// refuse megabytes. Larger ones are scaled to [`SIDE`] pixels.
const LARGEST_PICTURE: u64 = 512 << 10;

/// Longer side of a scaled picture in pixels.
const SIDE: u32 = 1024;

/// Limit of a path or an address in a line, in characters: the kernel's limit of a path.
const LONGEST_PATH: usize = 4096;

const NARROW: &str = "narrow it: a filter, or `limit`";

/// The arguments of `files`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    dataset: String,
    filter: Option<String>,
    limit: Option<usize>,
    read: Option<String>,
}

/// Rows of a version, as a directory of the mount.
struct Chosen {
    of: VersionInfo,
    /// Relative to `datasets/`.
    directory: String,
    /// Number of files in it.
    files: u64,
}

/// Lists files, or reads one.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    let chosen = choose(&setup, &arguments.dataset, arguments.filter.as_deref()).await?;
    match arguments.read {
        Some(path) => read(&setup.vfs, &chosen, &path).await,
        None => list(&setup, &chosen, arguments.limit.unwrap_or(20)).await,
    }
}

async fn choose(setup: &Arc<Setup>, dataset: &str, filter: Option<&str>) -> Result<Chosen> {
    let wanted: DatasetRef = dataset.parse()?;
    let (of, schema) = {
        let setup = setup.clone();
        blocking(move || {
            let of = setup.catalog.find(&wanted)?;
            let schema = setup.catalog.schema(&of)?;
            Ok((of, schema))
        })
        .await?
    };
    let query = filter.map(|filter| lost::check(&setup.catalog, &of, &schema, filter));
    let query = query.transpose()?;
    let pack = setup.packs.get(&of).await?;
    let (setup, filter) = (setup.clone(), filter.map(str::to_owned));
    blocking(move || {
        let version = escape::segment(of.to_string().as_bytes()).into_owned();
        let version = String::from_utf8_lossy(&version).into_owned();
        let (below, files) = match query {
            None => (String::new(), pack.columns().iter().map(|c| c.entries.len() as u64).sum()),
            Some(query) => {
                let below = below(&pack, &schema, filter.as_deref().unwrap_or_default(), &query)?;
                (below, count(&setup, &of, &pack, &query)?)
            }
        };
        let directory = format!("{version}/{below}").trim_end_matches('/').to_owned();
        Ok(Chosen { of, directory, files })
    })
    .await
}

/// The directory of a filter, relative to its version.
fn below(pack: &Pack, schema: &Schema, filter: &str, query: &Query) -> Result<String> {
    let directory = Directory::new(pack, schema, filter)?;
    match directory.trouble {
        None => Ok(directory.name),
        Some(_) => alias::remember_below(pack, query),
    }
}

/// The number of files of matching rows.
fn count(setup: &Setup, of: &VersionInfo, pack: &Arc<Pack>, query: &Query) -> Result<u64> {
    setup.usage.note(Use::filtered(of, query), Timestamp::of_system(SystemTime::now()));
    let version = Version { catalog: &setup.catalog, of, pack, each: &|_| {} };
    let selected = Queries::for_a_command().select(version, query, None)?;
    match selected.ranking {
        Some(ranking) => Ok(ranking.rows.len() as u64),
        None => Ok(pack.entries(&Subset::new(selected.rows))?.len()),
    }
}

async fn list(setup: &Setup, chosen: &Chosen, limit: usize) -> Result<Answer> {
    let mut files = Fitting::new(limit.clamp(1, MOST_FILES));
    let place = match &setup.mount {
        Some(mount) => {
            mount.join("datasets").join(&chosen.directory).to_string_lossy().into_owned()
        }
        None => chosen.directory.clone(),
    };
    files.line(&format!("{}/", visible(&place, LONGEST_PATH)));
    let top = setup.vfs.find(chosen.directory.as_bytes()).await?;
    let mut tree = setup.vfs.tree(&top).await?;
    let mut seen = 0_u64;
    while files.is_open() {
        let Some(node) = tree.next().await else { break };
        let node = node?;
        if node.attr.kind == FileKind::Directory {
            tree.enter(node.path.clone(), &node.attr).await?;
            continue;
        }
        let Some(uri) = uri(&setup.vfs, &node.attr).await? else { continue };
        let path = String::from_utf8_lossy(&node.path).into_owned();
        let size = node.attr.size;
        seen += 1;
        files.item(|| {
            let (place, at) = (visible(&path, LONGEST_PATH), visible(&uri, LONGEST_PATH));
            let line = format!("{place} | {} | {at}", bytes(size));
            (line, json!({ "path": path, "size": size, "uri": uri }))
        });
    }
    // Files that are not visited are counted too.
    files.more(chosen.files.saturating_sub(seen));
    let answer = files.answer("files", "files", NARROW);
    Ok(answer
        .with("dataset", chosen.of.to_string())
        .with("directory", place)
        .with("mounted", setup.mount.is_some()))
}

/// The address of a row's file, without secrets; `None` for a generated file.
async fn uri(vfs: &Arc<Vfs>, file: &Attr) -> Result<Option<String>> {
    match vfs.attribute(file.inode.number(), b"user.dcfs.uri").wait().await? {
        Attribute::Value(uri) => Ok(Some(masked(&String::from_utf8_lossy(&uri)))),
        Attribute::TooLong => Ok(Some("(too long)".into())),
        Attribute::Absent => Ok(None),
    }
}

async fn read(vfs: &Arc<Vfs>, chosen: &Chosen, path: &str) -> Result<Answer> {
    let path = path.trim_start_matches('/');
    let inside =
        path.strip_prefix(&chosen.directory).map_or(path, |path| path.trim_start_matches('/'));
    let found = vfs.find(format!("{}/{inside}", chosen.directory).as_bytes()).await;
    let found = found.map_err(|error| {
        let message = format!("{error}; give the path as it was listed, with the same filter");
        Error::new(error.kind(), message)
    })?;
    if found.kind == FileKind::Directory {
        let message = format!("`{path}` is a directory; `read` takes a file");
        return Err(Error::new(Kind::Invalid, message));
    }
    let start = start(vfs, &found, LONGEST as u64).await?;
    let answer = |answer: Answer| answer.with("path", inside).with("size", found.size);
    let told = visible(inside, LONGEST_PATH);
    if let Some(mime) = picture_type(&start) {
        let text = format!("{told}: {mime}, {}", bytes(found.size));
        if found.size > LARGEST_PICTURE {
            return Ok(answer(match scaled(vfs, &found).await {
                Ok(small) => {
                    Answer::text(format!("{text}, here at most {SIDE} pixels wide and high"))
                        .with_picture(STANDARD.encode(small), "image/jpeg")
                }
                Err(error) => Answer::text(format!(
                    "{text}, too large to hand over, and it cannot be made smaller: {error}"
                )),
            }));
        }
        let whole = self::start(vfs, &found, found.size).await?;
        return Ok(answer(Answer::text(text).with_picture(STANDARD.encode(whole), mime)));
    }
    Ok(answer(match text(&start) {
        Some(text) if (start.len() as u64) < found.size => Answer::text(format!(
            "{text}\n... ({} of {})",
            bytes(start.len() as u64),
            bytes(found.size)
        )),
        Some(text) => Answer::text(text),
        None => Answer::text(format!(
            "{told}: {}, neither text nor a picture; `dcfs cat` prints it, `dcfs cp` copies it",
            bytes(found.size)
        )),
    }))
}

/// A picture as a JPEG with sides of at most [`SIDE`] pixels.
async fn scaled(vfs: &Arc<Vfs>, file: &Attr) -> Result<Vec<u8>> {
    if file.size > picture::LARGEST {
        let most = bytes(picture::LARGEST);
        return Err(Error::new(Kind::Invalid, format!("at most {most} are decoded")));
    }
    let whole = start(vfs, file, file.size).await?;
    blocking(move || {
        picture::scaled(&whole, SIDE).map_err(|error| Error::new(Kind::Invalid, error))
    })
    .await
}

/// The first `most` bytes of a file.
async fn start(vfs: &Arc<Vfs>, file: &Attr, most: u64) -> Result<Vec<u8>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (mut start, mut is_enough) = (Vec::new(), false);
    let poured = vfs.pour(file, |bytes| {
        start.extend_from_slice(&bytes[..bytes.len().min(most - start.len())]);
        is_enough = start.len() == most;
        // An error is the only way to stop the reader.
        if is_enough { Err(Error::new(Kind::Interrupted, "enough")) } else { Ok(()) }
    });
    match poured.await {
        Err(error) if error.kind() != Kind::Interrupted => Err(error),
        _ => Ok(start),
    }
}

/// The MIME type of a picture that clients can show, by its first bytes.
fn picture_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The bytes as text, if they are UTF-8; a character cut at the end is dropped.
fn text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        assert_eq!(picture_type(b"\x89PNG\r\n"), Some("image/png"));
        assert_eq!(picture_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(picture_type(b"RIFF\0\0\0\0WAVE"), None);
        let cut = "caf\u{e9}".as_bytes();
        assert_eq!(text(cut), Some("caf\u{e9}"));
        assert_eq!(text(&cut[..4]), Some("caf"));
        assert_eq!(text(b"\xff\xfeabc"), None);
        assert_eq!(text(b"a\0b"), None);
    }
}
