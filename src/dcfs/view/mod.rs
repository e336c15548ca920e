//! `dcfs view`: a page that shows what a dataset holds, served to this machine alone.
//!
//! One dataset with its versions, and the versions that it was made from or that were made from it; read-only, unless `--write` lets the
//! page save a filter. The page is a file of the binary; it asks no other host and runs no script but its own. What rows name is shown by
//! types that cannot run anything, in an origin of its own.
//!
//! | file | what lives there |
//! |---|---|
//! | [`server`] | HTTP: who may ask, which headers every answer has |
//! | [`answers`] | what the page asks of one version: rows, counts, statistics, one row |
//! | [`near`] | the versions around it: lineage, and what differs |
//! | [`saving`] | a filter as a new version |
//! | [`bytes`] | files of rows, whole and in parts |
//! | [`thumbs`] | small pictures, kept on disk |
//! | `page/` | the page, its style and its scripts |

mod answers;
mod bytes;
mod near;
mod saving;
mod server;
mod thumbs;

use std::sync::Arc;

use dcfs_core::error::Result;
use dcfs_core::expr::Query;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::Pack;
use dcfs_data::query::{Queries, Selected, Version};
use dcfs_store::Stores;

pub use near::Near;
pub use server::{Listening, listen};
pub use thumbs::Thumbs;

use dcfs_core::schema::Schema;

/// What is shown: one version.
pub struct View {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    pub pack: Arc<Pack>,
    pub queries: Queries,
    pub stores: Arc<Stores>,
    /// The filter that the page begins with.
    pub filter: Option<String>,
    pub thumbs: Arc<Thumbs>,
}

impl View {
    /// What a filter selects; all rows where it is empty.
    ///
    /// # Errors
    /// What is wrong with it, with a caret; what the catalog says.
    pub fn select(&self, filter: &str) -> Result<Selected> {
        let query = match filter.trim() {
            "" => Query::default(),
            filter => dcfs_data::lost::check(&self.catalog, &self.of, &self.schema, filter)?,
        };
        let version =
            Version { catalog: &self.catalog, of: &self.of, pack: &self.pack, each: &|_| {} };
        self.queries.select(version, &query, None)
    }
}
