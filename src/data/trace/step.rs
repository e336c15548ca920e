//! The facts about a row: its identity, the condition it passed, what was computed, and its
//! parents.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

/// A row of one version, and its origin.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// `pets@1.0.0`.
    pub dataset: String,
    /// `sys__id`.
    pub row: i64,
    /// The number of rows it may be; more than one if the child does not distinguish them.
    pub rows: u64,
    /// The address of its file, in the first column that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_at: Option<String>,
    /// The author.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The machine and the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The command, or the beginning of the script if Python saved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<Passed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed: Option<Computed>,
    pub from: Vec<From>,
}

/// The condition of a version, and how this row satisfies it.
#[derive(Clone, Debug, Serialize)]
pub struct Passed {
    /// In canonical form.
    pub filter: String,
    /// The columns that the filter reads, with the values of the parent's row.
    pub values: BTreeMap<String, Json>,
    /// Whether the parent's row passes it now, as it should.
    pub passes: bool,
    /// Its rank, counted from 1, if the filter has an order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
}

/// Columns that no parent has.
#[derive(Clone, Debug, Serialize)]
pub struct Computed {
    /// Their values in this row.
    pub values: BTreeMap<String, Json>,
    /// Their types, which every value was checked against.
    pub types: BTreeMap<String, String>,
    /// The function or program, if recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Digests of the program's files, each with the number of rows it produced.
    pub digests: Vec<Digest>,
}

/// A state of a program.
#[derive(Clone, Debug, Serialize)]
pub struct Digest {
    pub digest: String,
    pub rows: u64,
}

/// The origin of a row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// A row of another version.
    Row(Box<Step>),
    /// An object of a storage, as it was listed.
    Storage(Stored),
    /// A version that has no such row, or no longer exists.
    Lost { dataset: String, why: String },
}

/// An object as its row records it.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    pub storage: String,
    pub uri: String,
    pub size: Option<u64>,
    pub etag: String,
    pub version: String,
    pub last_modified: Option<String>,
    pub listed_at: Option<String>,
}
