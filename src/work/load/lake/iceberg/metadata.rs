//! The metadata of an Iceberg table: which file of it is the newest, and its snapshots.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::super::root::read;
use super::super::{Reach, Root, SourceFile, missing, wrong};
use dcfs_core::error::Result;

/// The folder of metadata.
pub const FOLDER: &str = "metadata";

/// How the name of a file of metadata ends.
const ENDING: &str = ".metadata.json";

/// The longest file of metadata, in bytes.
const LONGEST: u64 = 512 << 20;

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
}

/// The newest metadata of a table, or that of the file that was named; and the folder of the table.
///
/// # Errors
/// No metadata, several that may be the newest; a version of the format that is not read.
pub fn find(root: &Root, reach: &dyn Reach) -> Result<(Root, Metadata)> {
    let (root, file) = match root.shown().ends_with(ENDING) {
        true => named(root, reach)?,
        false => (root.clone(), newest(root, reach)?),
    };
    let bytes = read(&file, LONGEST, reach)?;
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

/// A file of metadata, and the folder of the table that it is in.
fn named(file: &Root, reach: &dyn Reach) -> Result<(Root, SourceFile)> {
    let parts: Vec<&str> = file.shown().rsplitn(3, '/').collect();
    match parts[..] {
        [name, FOLDER, root] => {
            let root = Root::new(root)?;
            let found = root.list(FOLDER, reach)?.into_iter().find(|(own, _)| own == name);
            let (_, found) = found.ok_or_else(|| missing(file, "there is no such file"))?;
            Ok((root, found))
        }
        [name, FOLDER] => named(&Root::new(&format!("./{FOLDER}/{name}"))?, reach),
        _ => Err(wrong(file.shown(), "it is not in the folder `metadata` of a table").into()),
    }
}

/// The newest metadata: as the hint of the table says, else that of the highest number.
fn newest(root: &Root, reach: &dyn Reach) -> Result<SourceFile> {
    let all = root.list(FOLDER, reach)?;
    let hint = all.iter().find(|(name, _)| name == "version-hint.text");
    let hint = hint.map(|(_, file)| read(file, 1 << 20, reach)).transpose()?;
    let mut found: Vec<(u64, &str, &SourceFile)> =
        all.iter().filter_map(|(name, file)| Some((number(name)?, name.as_str(), file))).collect();
    if let Some(hint) = hint.and_then(|hint| String::from_utf8(hint).ok()) {
        let hint = hint.trim();
        let hinted =
            |name: &str| name == format!("v{hint}{ENDING}") || name == format!("{hint}{ENDING}");
        found.retain(|(_, name, _)| hinted(name));
        if found.is_empty() {
            let what =
                format!("its `version-hint.text` names the version `{hint}`, which is not there");
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

/// Whether a file is one of metadata by its name.
pub fn is_metadata(name: &str) -> bool {
    number(name).is_some()
}

/// Whether a path is that of a table's metadata.
pub fn is_path(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    parts.next().is_some_and(is_metadata) && parts.next() == Some(FOLDER)
}

/// The number in the name of a file of metadata: `v3.metadata.json`, `00003-<uuid>.metadata.json`.
fn number(name: &str) -> Option<u64> {
    let own = name.strip_suffix(ENDING)?;
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
            ("x.metadata.json", None),
            ("00001-a.avro", None),
            ("99999999999999999999-a.metadata.json", None),
            ("snap-1.avro", None),
        ];
        for (name, want) in cases {
            assert_eq!(number(name), want, "{name}");
        }
    }
}
