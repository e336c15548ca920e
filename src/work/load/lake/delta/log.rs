//! The log of a Delta table: its checkpoints and versions, and the state that they give.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::super::{Allowed, MOST_FILES, Reach, Root, SourceFile, missing, wrong};
use super::decoded;
use crate::load::records::Record;
use crate::load::{parquet, records};
use dcfs_core::error::Result;

/// The folder of the log.
const FOLDER: &str = "_delta_log";

/// The most parts of a checkpoint, and the most files beside one.
const MOST_PARTS: u32 = 100_000;

/// The part of a protocol that a reader needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: i64,
    pub reader_features: Option<Vec<String>>,
}

/// The schema and the settings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub format: Option<Provider>,
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    configuration: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
pub struct Provider {
    pub provider: String,
}

impl Metadata {
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.configuration.as_ref()?.get(name)?.as_deref()
    }
}

/// A data file of a version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    pub path: String,
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    pub size: i64,
    pub modification_time: i64,
    pub deletion_vector: Option<Vector>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove {
    path: String,
    deletion_vector: Option<Vector>,
}

/// Where the deleted rows of a file are written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vector {
    pub storage_type: String,
    pub path_or_inline_dv: String,
    pub offset: Option<i64>,
    pub size_in_bytes: i64,
    pub cardinality: i64,
}

impl Vector {
    /// Its unique id, as in the protocol.
    pub fn id(&self) -> String {
        let start = format!("{}{}", self.storage_type, self.path_or_inline_dv);
        self.offset.map_or_else(|| start.clone(), |offset| format!("{start}@{offset}"))
    }
}

/// A file with more actions of a checkpoint.
#[derive(Debug, Deserialize)]
struct Sidecar {
    path: String,
}

/// The key of a file: its path and the id of its vector.
type FileKey = (String, Option<String>);

/// The state of a table at a version.
#[derive(Debug, Default)]
pub struct State {
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
    pub files: HashMap<FileKey, Add>,
    sidecars: Vec<String>,
}

impl State {
    /// Applies the actions of one record.
    fn apply(&mut self, record: &Map<String, Json>) -> Result<(), String> {
        if let Some(protocol) = action(record, "protocol")? {
            self.protocol = Some(protocol);
        }
        if let Some(metadata) = action(record, "metaData")? {
            self.metadata = Some(metadata);
        }
        if let Some(remove) = action::<Remove>(record, "remove")? {
            self.files.remove(&key(&remove.path, remove.deletion_vector.as_ref())?);
        }
        if let Some(add) = action::<Add>(record, "add")? {
            self.files.insert(key(&add.path, add.deletion_vector.as_ref())?, add);
            if self.files.len() > MOST_FILES {
                return Err(format!("the table has more than {MOST_FILES} files"));
            }
        }
        if let Some(sidecar) = action::<Sidecar>(record, "sidecar")? {
            self.sidecars.push(sidecar.path);
            if self.sidecars.len() > MOST_PARTS as usize {
                return Err(format!("it names more than {MOST_PARTS} other files"));
            }
        }
        Ok(())
    }
}

fn key(path: &str, vector: Option<&Vector>) -> Result<FileKey, String> {
    Ok((decoded(path)?, vector.map(Vector::id)))
}

/// The action of a name, if a record has it.
fn action<'r, A: Deserialize<'r>>(
    record: &'r Map<String, Json>,
    name: &str,
) -> Result<Option<A>, String> {
    let found = record.get(name).filter(|found| !found.is_null());
    let read = |found| A::deserialize(found).map_err(|error| format!("`{name}`: {error}"));
    found.map(read).transpose()
}

/// A checkpoint, by the part of its name after the version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Whole,
    Parts(u32),
    Named(String),
}

/// A parsed file name of a log.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Version(u64),
    /// A checkpoint, and the number of this part, from 1 on.
    Checkpoint(u64, Form, u32),
}

impl Name {
    /// `None` of files that a reader does not need.
    fn parse(name: &str) -> Option<Self> {
        let (version, rest) = name.split_once('.')?;
        // Versions are signed in the protocol, so there is always a next one.
        let version = number(version, 20).filter(|version| i64::try_from(*version).is_ok())?;
        let words: Vec<&str> = rest.split('.').collect();
        match words[..] {
            ["json"] => Some(Self::Version(version)),
            ["checkpoint", "parquet"] => Some(Self::Checkpoint(version, Form::Whole, 1)),
            ["checkpoint", own, "parquet" | "json"] => {
                Some(Self::Checkpoint(version, Form::Named(own.to_owned()), 1))
            }
            ["checkpoint", part, parts, "parquet"] => {
                let part = u32::try_from(number(part, 10)?).ok()?;
                let parts = u32::try_from(number(parts, 10)?).ok()?;
                let is_part = (1..=parts).contains(&part) && parts <= MOST_PARTS;
                is_part.then_some(Self::Checkpoint(version, Form::Parts(parts), part))
            }
            _ => None,
        }
    }
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The files of a log.
#[derive(Debug, Default)]
pub struct Log {
    versions: BTreeMap<u64, SourceFile>,
    /// The parts of checkpoints, by version.
    checkpoints: BTreeMap<(u64, Form), BTreeMap<u32, SourceFile>>,
}

impl Log {
    /// Lists the log of a table.
    ///
    /// # Errors
    /// Errors of the store; no log.
    pub fn list(root: &Root, reach: &dyn Reach, allowed: &Allowed) -> Result<Self> {
        let mut log = Self::default();
        for (name, file) in
            root.list(FOLDER, &|name| Name::parse(name).is_some(), reach, allowed)?
        {
            match Name::parse(&name) {
                Some(Name::Version(version)) => drop(log.versions.insert(version, file)),
                Some(Name::Checkpoint(version, form, part)) => {
                    log.checkpoints.entry((version, form)).or_default().insert(part, file);
                }
                None => {}
            }
        }
        // A writer that was stopped leaves some parts.
        log.checkpoints.retain(|(_, form), parts| match form {
            Form::Parts(all) => parts.len() == *all as usize,
            _ => true,
        });
        if log.versions.is_empty() && log.checkpoints.is_empty() {
            return Err(missing(root, format!("it has no version: `{FOLDER}` is empty")));
        }
        Ok(log)
    }

    /// The state at a version, by default the newest, and the number of it.
    ///
    /// # Errors
    /// A version that is not there, or was removed from the log; damaged files; errors of the store.
    pub fn state(
        &self,
        root: &Root,
        wanted: Option<u64>,
        reach: &dyn Reach,
        allowed: &Allowed,
    ) -> Result<(u64, State)> {
        let all: BTreeSet<u64> = self.versions.keys().copied().chain(self.checkpointed()).collect();
        let newest = all.last().copied().unwrap_or_default();
        let version = wanted.unwrap_or(newest);
        if version > newest {
            return Err(missing(
                root,
                format!("it has no version {version}; the newest is {newest}"),
            ));
        }
        let checkpoint = self.checkpoints.iter().rev().find(|((of, _), _)| *of <= version);
        let mut state = State::default();
        let mut next = 0;
        if let Some(((of, _), parts)) = checkpoint {
            self.summed(parts.values(), &mut state, root, reach, allowed)?;
            next = of + 1;
        }
        for version in next..=version {
            let Some(file) = self.versions.get(&version) else {
                let what = format!(
                    "its log has no version {version} any more; a newer version that follows a checkpoint can be read"
                );
                return Err(missing(root, what));
            };
            read(file, &mut state, reach)?;
        }
        match state.sidecars.is_empty() {
            true => Ok((version, state)),
            false => {
                Err(wrong(root.shown(), "a version of its log names files of a checkpoint").into())
            }
        }
    }

    fn checkpointed(&self) -> impl Iterator<Item = u64> {
        self.checkpoints.keys().map(|(of, _)| *of)
    }

    /// Reads a checkpoint, and the files that it names.
    fn summed<'f>(
        &self,
        parts: impl Iterator<Item = &'f SourceFile>,
        state: &mut State,
        root: &Root,
        reach: &dyn Reach,
        allowed: &Allowed,
    ) -> Result<()> {
        parts.into_iter().try_for_each(|part| read(part, state, reach))?;
        for path in std::mem::take(&mut state.sidecars) {
            let path = decoded(&path).map_err(|what| wrong(root.shown(), what))?;
            let path = match path.contains('/') {
                true => path,
                false => format!("{FOLDER}/_sidecars/{path}"),
            };
            read(&root.file(&path, None, reach, allowed)?, state, reach)?;
            if !state.sidecars.is_empty() {
                let what = format!("its checkpoint's file `{path}` names further files");
                return Err(wrong(root.shown(), what).into());
            }
        }
        Ok(())
    }
}

/// Applies the actions of one file.
fn read(file: &SourceFile, state: &mut State, reach: &dyn Reach) -> Result<()> {
    let opened = file.open(&|object| reach.fetch(object))?;
    let mut each = |line: u64, record: Record<'_>| {
        let Record::Json(fields) = record else { return Ok(()) };
        let at = |what| wrong(&file.shown, format!("action {line}: {what}"));
        Ok(state.apply(fields).map_err(at)?)
    };
    match file.ends_with(&["json"]) {
        true => records::lines(opened, &file.shown, &mut each),
        false => parquet::each(opened, &file.shown, None, &mut each),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_log() {
        let checkpoint = |form, part| Some(Name::Checkpoint(10, form, part));
        let cases = [
            ("00000000000000000010.json", Some(Name::Version(10))),
            ("00000000000000000010.checkpoint.parquet", checkpoint(Form::Whole, 1)),
            (
                "00000000000000000010.checkpoint.0000000002.0000000003.parquet",
                checkpoint(Form::Parts(3), 2),
            ),
            (
                "00000000000000000010.checkpoint.ab-c.json",
                checkpoint(Form::Named("ab-c".into()), 1),
            ),
            (
                "00000000000000000010.checkpoint.ab-c.parquet",
                checkpoint(Form::Named("ab-c".into()), 1),
            ),
            ("00000000000000000010.checkpoint.0000000004.0000000003.parquet", None),
            ("00000000000000000010.checkpoint.0000000000.0000000003.parquet", None),
            ("00000000000000000010.checkpoint.0000000001.4000000000.parquet", None),
            ("00000000000000000003.00000000000000000005.compacted.json", None),
            ("09223372036854775807.json", Some(Name::Version(i64::MAX as u64))),
            ("09223372036854775808.json", None),
            ("18446744073709551615.checkpoint.parquet", None),
            ("99999999999999999999.json", None),
            ("+0000000000000000010.json", None),
            ("00000000000000000010.crc", None),
            ("10.json", None),
            ("_last_checkpoint", None),
            (".00000000000000000010.json.crc", None),
        ];
        for (name, want) in cases {
            assert_eq!(Name::parse(name), want, "{name}");
        }
    }

    fn applied(records: &[Json]) -> Result<Vec<FileKey>, String> {
        let mut state = State::default();
        for record in records {
            state.apply(record.as_object().expect("an object"))?;
        }
        let mut files: Vec<FileKey> = state.files.into_keys().collect();
        files.sort();
        Ok(files)
    }

    #[test]
    fn a_file_is_known_by_its_path_and_its_vector() {
        let vector = serde_json::json!({
            "storageType": "i", "pathOrInlineDv": "x", "sizeInBytes": 1, "cardinality": 1
        });
        let add = |path: &str, vector: &Json| {
            serde_json::json!({"add": {
                "path": path, "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": true,
                "deletionVector": vector, "stats": null
            }, "remove": null})
        };
        let remove = |path: &str, vector: &Json| serde_json::json!({"remove": { "path": path, "deletionVector": vector }});
        let null = Json::Null;
        let key = |path: &str, id: Option<&str>| (path.to_owned(), id.map(str::to_owned));
        let all = [
            add("a%20b", &null),
            add("c", &null),
            // In one version, in no order: the same file with its rows deleted.
            add("c", &vector),
            remove("c", &null),
            remove("never there", &null),
        ];
        assert_eq!(applied(&all), Ok(vec![key("a b", None), key("c", Some("ix"))]));
        assert_eq!(
            applied(&[all.as_slice(), &[remove("a b", &null)]].concat()).map(|f| f.len()),
            Ok(1)
        );
        assert!(applied(&[serde_json::json!({"add": {"path": 7}})]).is_err());
        assert!(applied(&[serde_json::json!({"add": []})]).is_err());
        assert!(applied(&[add("%ff", &null)]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "[0-9.a-z]{0,60}") {
            let _ = Name::parse(&name);
        }
    }
}
