//! What a version remembers of its load: how files were read, the types found, and the state and the rows of each file.
//!
//! Rows of a version stand in the order of its files, so that the numbers of their rows tell which rows are of which
//! file. A file is known by digests of its name and of its state: 24 bytes each, in base64.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dcfs_core::provenance::Provenance;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::lake::TableVersion;
use super::sources::SourceFile;
use super::types::Columns;

/// The kind of the recipe, and the command.
pub const LOAD: &str = "load";

/// The most files that are remembered: 8 MB with the version.
const MOST: usize = 250_000;

/// Bytes of one file: its name, its state, the number of its rows.
const WIDTH: usize = 24;

/// The state of a file of which nothing tells whether it changed.
const UNKNOWN: u64 = 0;

/// One file of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// A digest of its name.
    pub name: u64,
    /// A digest of its size, its version and its etag or times; `UNKNOWN` if there is only a size.
    pub state: u64,
    pub rows: u64,
}

impl Known {
    /// A file that gave `rows` rows; `is_named`: its name below the folder is in them.
    pub fn of(file: &SourceFile, is_named: bool, rows: u64) -> Self {
        let stem = if is_named { file.stem.as_str() } else { "" };
        let size = file.size.to_le_bytes();
        let state = match file.tells_changes() {
            true => digest(&[&size, file.version.as_bytes(), file.etag.as_bytes()]),
            false => UNKNOWN,
        };
        Self { name: digest(&[file.name.as_slice(), stem.as_bytes()]), state, rows }
    }

    /// Whether the file is certainly as it was.
    pub fn is_as(&self, was: &Self) -> bool {
        self.state == was.state && self.state != UNKNOWN
    }
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// How a version was loaded.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recipe {
    kind: String,
    /// Options of reading, by name.
    pub reading: BTreeMap<String, Json>,
    pub columns: Columns,
    /// The table, and its version, whose data files these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableVersion>,
    /// The files in order; `None` if they were too many.
    files: Option<String>,
}

impl Recipe {
    pub fn new(
        reading: BTreeMap<String, Json>,
        columns: Columns,
        table: Option<TableVersion>,
        files: &[Known],
    ) -> Self {
        let written = || {
            let numbers = |file: &Known| [file.name, file.state, file.rows];
            let bytes: Vec<u8> =
                files.iter().flat_map(numbers).flat_map(u64::to_le_bytes).collect();
            STANDARD_NO_PAD.encode(bytes)
        };
        let files = (files.len() <= MOST).then(written);
        Self { kind: LOAD.to_owned(), reading, columns, table, files }
    }

    /// The recipe of a version, if it was loaded.
    pub fn of(by: &Provenance) -> Option<Self> {
        let recipe: Self = serde_json::from_value(by.recipe.clone()?).ok()?;
        (recipe.kind == LOAD).then_some(recipe)
    }

    /// The files in order; `None` if they were too many, or the text is damaged.
    pub fn files(&self) -> Option<Vec<Known>> {
        let bytes = STANDARD_NO_PAD.decode(self.files.as_ref()?).ok()?;
        let (files, []) = bytes.as_chunks::<WIDTH>() else { return None };
        let number = |file: &[u8; WIDTH], at: usize| {
            let mut own = [0; 8];
            own.copy_from_slice(&file[at..at + 8]);
            u64::from_le_bytes(own)
        };
        let known =
            |file| Known { name: number(file, 0), state: number(file, 8), rows: number(file, 16) };
        Some(files.iter().map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::object::Object;
    use dcfs_core::time::Timestamp;

    /// What is known of an object of 5 bytes.
    fn object(version: &str, etag: &str, modified: Option<i64>) -> Known {
        let object = Object {
            source: "s3://b".into(),
            path: b"a.csv".to_vec(),
            size: Some(5),
            version: version.into(),
            etag: etag.into(),
            last_modified: modified.map(Timestamp::from_micros),
            location: None,
        };
        Known::of(&SourceFile::object(object, ""), false, 0)
    }

    #[test]
    fn an_object_is_as_it_was_only_if_something_tells_so() {
        let cases = [
            (object("", "x", Some(1)), object("", "x", Some(2)), true),
            (object("", "x", Some(1)), object("", "y", Some(1)), false),
            (object("1", "", Some(1)), object("1", "", Some(2)), true),
            (object("1", "", Some(1)), object("2", "", Some(1)), false),
            (object("", "", Some(1)), object("", "", Some(1)), true),
            (object("", "", Some(1)), object("", "", Some(2)), false),
            (object("", "", None), object("", "", None), false),
        ];
        for (number, (now, was, is_as)) in cases.iter().enumerate() {
            assert_eq!(now.is_as(was), *is_as, "case {number}");
        }
    }

    #[test]
    fn files_come_back() {
        let files: Vec<Known> =
            (0..5).map(|n| Known { name: n, state: u64::MAX - n, rows: n * n }).collect();
        let recipe = Recipe::new(BTreeMap::new(), Columns::default(), None, &files);
        let recipe = serde_json::to_value(&recipe).expect("JSON");
        let by = Provenance { recipe: Some(recipe.clone()), ..Provenance::default() };
        assert_eq!(Recipe::of(&by).expect("a recipe").files(), Some(files));
        let mut damaged = recipe;
        damaged["files"] = "AAAA".into();
        let by = Provenance { recipe: Some(damaged), ..Provenance::default() };
        assert_eq!(Recipe::of(&by).expect("a recipe").files(), None);
        let many = vec![Known { name: 0, state: 0, rows: 0 }; MOST + 1];
        assert_eq!(Recipe::new(BTreeMap::new(), Columns::default(), None, &many).files(), None);
        assert!(Recipe::of(&Provenance::default()).is_none());
    }
}
