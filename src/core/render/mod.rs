//! Renders pages from facts: `_schema.json`, `_lineage.md`, `_README.md`, the README at the top,
//! and the tables of the command line.
//!
//! Pure: equal facts give equal bytes. All text of strangers is escaped here: people and agents
//! read the pages, terminals show the tables.
//!
//! | file | what lives there |
//! |---|---|
//! | [`schema_json`], [`lineage`], [`graph`], [`readme`] | one page each, and the lineage as JSON and dot |
//! | [`schema_tree`] | the columns as a tree, for people |
//! | [`grid`] | rows of a dataset for a terminal |
//! | [`rows`] | rows as JSON and CSV |
//! | [`beside`], [`hub`], [`gallery`] | the pages of `_views/` |
//! | [`diff`] | the differences between two versions |
//! | [`markdown`] | escaping for Markdown and Mermaid |
//! | [`table`], [`numbers`] | plain text tables; sizes and counts for people |

pub mod beside;
pub mod diff;
pub mod gallery;
pub mod graph;
pub mod grid;
pub mod hub;
pub mod lineage;
pub mod markdown;
pub mod numbers;
pub mod readme;
pub mod rows;
pub mod schema_json;
pub mod schema_tree;
pub mod stranger;
pub mod table;

use serde::Serialize;

use crate::id::RowId;
use crate::schema::{FileColumn, Schema};
use crate::time::Timestamp;
use crate::tree::place::column_directories;

/// The version that a page is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// As a person types it: `pets`, `team.brain.eeg`.
    pub dataset: String,
    pub version: String,
    pub uuid: String,
    pub rows: Option<u64>,
    /// The total size of all File columns, in bytes.
    pub size: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Subject {
    /// `pets@1.0.0`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.dataset, self.version)
    }
}

/// The rows of a query directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Narrowed {
    /// For rows that differ from another version: which, e.g. `added since 1.0.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The canonical form of each filter, outermost first.
    pub filters: Vec<String>,
    /// The number of rows that pass.
    pub rows: u64,
    /// Whether `order by` gives them an order.
    #[serde(rename = "ranked")]
    pub is_ranked: bool,
    /// A few rows of it, for examples.
    #[serde(skip)]
    pub first: Vec<RowId>,
    /// Why there are no rows, if known.
    #[serde(skip)]
    pub why_empty: Option<String>,
}

/// The listed File columns and the directories of their files, relative to the version's directory.
fn directories(schema: &Schema) -> Vec<(&FileColumn, String)> {
    let listed: Vec<&FileColumn> = schema.listed_files().collect();
    if let [only] = listed[..] {
        return vec![(only, ".".into())];
    }
    let names: Vec<&str> = listed.iter().map(|file| file.name.as_str()).collect();
    let directories = column_directories(&names).into_iter();
    let text = |name: Vec<u8>| String::from_utf8_lossy(&name).into_owned();
    listed.into_iter().zip(directories.map(text)).collect()
}
