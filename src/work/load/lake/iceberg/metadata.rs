//! The metadata of an Iceberg table: which file of it is the newest, and its snapshots.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value as Json;

use super::super::root::read;
use super::super::{Allowed, Reach, Root, SourceFile, missing, wrong};
use dcfs_core::error::Result;

/// The folder of metadata.
pub const FOLDER: &str = "metadata";

/// The file that may say which metadata is the newest.
const HINT: &str = "version-hint.text";

/// How the name of a file of metadata ends.
const ENDING: &str = ".metadata.json";

/// The longest file of metadata, in bytes, without compression. Parsed, it takes several times as much.
const LONGEST: u64 = 64 << 20;

/// The first bytes of gzip.
const GZIP: &[u8] = b"\x1f\x8b";

/// The newest version of the format that is read.
const FORMAT: i64 = 2;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metadata {
    format_version: i64,
    pub location: String,
    current_snapshot_id: Option<i64>,
    #[serde(default)]
    snapshots: Vec<Snapshot>,
    #[serde(default)]
    refs: HashMap<String, Ref>,
    /// Of the first version of the format.
    pub schema: Option<Json>,
    #[serde(default)]
    pub schemas: Vec<Json>,
    pub current_schema_id: Option<i64>,
    #[serde(default)]
    pub partition_specs: Vec<Spec>,
    #[serde(default)]
    pub properties: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    pub snapshot_id: i64,
    pub manifest_list: Option<String>,
    pub manifests: Option<Json>,
    pub schema_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ref {
    snapshot_id: i64,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// How rows are divided into partitions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spec {
    pub spec_id: i64,
    pub fields: Vec<SpecField>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpecField {
    pub source_id: i64,
    pub transform: String,
}

impl Metadata {
    /// The snapshot of a number or of a name; by default the current one, which an empty table does not have.
    ///
    /// # Errors
    /// A description: there is no such snapshot.
    pub fn snapshot(&self, at: Option<&str>) -> Result<Option<&Snapshot>, String> {
        let number = match at {
            None => match self.current_snapshot_id.filter(|number| *number >= 0) {
                Some(number) => number,
                None => return Ok(None),
            },
            Some(text) => match (self.refs.get(text), text.parse()) {
                (Some(named), _) => named.snapshot_id,
                (None, Ok(number)) => number,
                (None, Err(_)) => {
                    return Err(format!(
                        "it has no branch or tag `{text}`, and no snapshot of that number"
                    ));
                }
            },
        };
        let found = self.snapshots.iter().find(|one| one.snapshot_id == number);
        found.map(Some).ok_or_else(|| format!("it has no snapshot {number}"))
    }

    /// Whether this is the name of a branch, which goes on, unlike a tag.
    pub fn is_branch(&self, name: &str) -> bool {
        self.refs.get(name).and_then(|named| named.kind.as_deref()) == Some("branch")
    }
}

/// The newest metadata of a table, or that of the file that was named; and the folder of the table.
///
/// # Errors
/// No metadata, several that may be the newest; a version of the format that is not read.
pub fn find(root: &Root, reach: &dyn Reach, allowed: &Allowed) -> Result<(Root, Metadata)> {
    let (root, file) = match stem(root.shown()) {
        Some(_) => named(root, reach, allowed)?,
        None => (root.clone(), newest(root, reach, allowed)?),
    };
    let bytes = read(&file, LONGEST, reach)?;
    let bytes = match bytes.starts_with(GZIP) {
        true => inflated(&bytes).map_err(|what| wrong(&file.shown, what))?,
        false => bytes,
    };
    let metadata: Metadata = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(&file.shown, format!("it is no metadata of Iceberg: {error}")))?;
    let version = metadata.format_version;
    if !(1..=FORMAT).contains(&version) {
        let what =
            format!("it is of version {version} of Iceberg's format; 1 and {FORMAT} are read");
        return Err(wrong(root.shown(), what).into());
    }
    Ok((root, metadata))
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let read = GzDecoder::new(bytes).take(LONGEST + 1).read_to_end(&mut all);
    read.map_err(|error| format!("it is damaged: {error}"))?;
    match all.len() as u64 > LONGEST {
        true => Err(format!("it is longer than {} MiB", LONGEST >> 20)),
        false => Ok(all),
    }
}

/// A file of metadata, and the folder of the table that it is in.
fn named(file: &Root, reach: &dyn Reach, allowed: &Allowed) -> Result<(Root, SourceFile)> {
    let parts: Vec<&str> = file.shown().rsplitn(3, '/').collect();
    match parts[..] {
        [name, FOLDER, root] => {
            let root = Root::new(root)?;
            let mut found = root.list(FOLDER, &|own| own == name, reach, allowed)?;
            let (_, found) = found.pop().ok_or_else(|| missing(file, "there is no such file"))?;
            Ok((root, found))
        }
        [name, FOLDER] => named(&Root::new(&format!("./{FOLDER}/{name}"))?, reach, allowed),
        _ => Err(wrong(file.shown(), "it is not in the folder `metadata` of a table").into()),
    }
}

/// The newest metadata: as the hint of the table says, else that of the highest number.
fn newest(root: &Root, reach: &dyn Reach, allowed: &Allowed) -> Result<SourceFile> {
    let is_wanted = |name: &str| name == HINT || is_metadata(name);
    let all = root.list(FOLDER, &is_wanted, reach, allowed)?;
    let hint = all.iter().find(|(name, _)| name == HINT);
    let hint = hint.map(|(_, file)| read(file, 1 << 20, reach)).transpose()?;
    let mut found: Vec<(u64, &str, &SourceFile)> =
        all.iter().filter_map(|(name, file)| Some((number(name)?, name.as_str(), file))).collect();
    if let Some(hint) = hint {
        let hint = String::from_utf8(hint);
        let hint = hint.map_err(|_| wrong(root.shown(), format!("its `{HINT}` is not UTF-8")))?;
        let hint = hint.trim();
        found.retain(|(_, name, _)| is_hinted(name, hint));
        if found.is_empty() {
            let what = format!("its `{HINT}` names the version `{hint}`, which is not there");
            return Err(missing(root, what));
        }
    }
    found.sort_unstable_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
    match found[..] {
        [] => Err(missing(root, format!("there is no `*{ENDING}` in its folder `{FOLDER}`"))),
        [.., (before, one, _), (last, other, _)] if before == last => {
            let what =
                format!("`{one}` and `{other}` may both be its newest metadata; name one of them");
            Err(wrong(root.shown(), what).into())
        }
        [.., (_, _, file)] => Ok(file.clone()),
    }
}

/// Whether a hint names a file of metadata: by its number, by its name, or by that without its endings.
fn is_hinted(name: &str, hint: &str) -> bool {
    let own = stem(name);
    name == hint || own == Some(hint) || own.and_then(|own| own.strip_prefix('v')) == Some(hint)
}

/// Whether a file is one of metadata by its name.
pub fn is_metadata(name: &str) -> bool {
    number(name).is_some()
}

/// Whether a path is that of a table's metadata.
pub fn is_path(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    parts.next().is_some_and(is_metadata) && parts.next() == Some(FOLDER)
}

/// The name of a file of metadata without its endings: `v3.metadata.json`, with gzip `v3.gz.metadata.json` and, by
/// older writers, `v3.metadata.json.gz`.
fn stem(name: &str) -> Option<&str> {
    let own = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(ENDING)?;
    Some(own.strip_suffix(".gz").unwrap_or(own))
}

/// The number in the name of a file of metadata: `v3.metadata.json`, `00003-<uuid>.metadata.json`.
fn number(name: &str) -> Option<u64> {
    let own = stem(name)?;
    let digits = own.strip_prefix('v').unwrap_or(own);
    digits.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metadata() {
        let cases = [
            ("v3.metadata.json", Some(3)),
            ("00012-8a-b.metadata.json", Some(12)),
            ("v7.gz.metadata.json", Some(7)),
            ("v7.metadata.json.gz", Some(7)),
            ("00012-8a-b.gz.metadata.json", Some(12)),
            ("v7.metadata.gz", None),
            ("version-hint.text", None),
            ("x.metadata.json", None),
            ("00001-a.avro", None),
            ("99999999999999999999-a.metadata.json", None),
            ("snap-1.avro", None),
        ];
        for (name, want) in cases {
            assert_eq!(number(name), want, "{name}");
        }
    }

    #[test]
    fn hints_name_metadata() {
        let cases = [
            ("v3.metadata.json", "3", true),
            ("v3.metadata.json", "v3", true),
            ("v3.metadata.json", "v3.metadata.json", true),
            ("v3.gz.metadata.json", "3", true),
            ("00003-a.metadata.json", "00003-a", true),
            ("00003-a.metadata.json", "00003-a.metadata.json", true),
            ("00003-a.metadata.json", "3", false),
            ("v31.metadata.json", "3", false),
            ("v3.metadata.json", "", false),
        ];
        for (name, hint, want) in cases {
            assert_eq!(is_hinted(name, hint), want, "{name} {hint}");
        }
    }

    #[test]
    fn gzip_is_read_within_bounds() {
        let compressed = |length: u64| {
            let zeros = std::io::repeat(b' ').take(length);
            let mut bytes = Vec::new();
            let mut encoder = flate2::read::GzEncoder::new(zeros, flate2::Compression::fast());
            encoder.read_to_end(&mut bytes).expect("compressed");
            bytes
        };
        assert_eq!(inflated(&compressed(3)), Ok(b"   ".to_vec()));
        assert!(inflated(&compressed(LONGEST + 1)).is_err());
        assert!(inflated(&compressed(3)[..9]).is_err());
    }
}
