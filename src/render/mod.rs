//! Pages from facts: `_schema.json`, `_lineage.md`, `_README.md`, the README at the top, and the
//! tables of the command line.
//!
//! Pure: equal facts give equal bytes. Every text of a stranger is escaped here: pages are read by
//! people and agents, tables by terminals.
//!
//! | file | what lives there |
//! |---|---|
//! | [`schema_json`], [`lineage`], [`graph`], [`readme`] | one page each, and the lineage as JSON and dot |
//! | [`markdown`] | escaping for Markdown and Mermaid |
//! | [`table`], [`numbers`] | plain text tables; sizes and counts for people |

pub mod graph;
pub mod lineage;
pub mod markdown;
pub mod numbers;
pub mod readme;
pub mod schema_json;
pub mod table;

use crate::time::Timestamp;

/// The version that a page is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// As a person types it: `pets`, `team.brain.eeg`.
    pub dataset: String,
    pub version: String,
    pub uuid: String,
    pub rows: Option<u64>,
    /// Bytes of all File columns.
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
