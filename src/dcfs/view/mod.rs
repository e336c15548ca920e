//! `dcfs view`: a page that shows a dataset, served to this machine only.
//!
//! It shows one dataset with its versions, and the versions that it was made from or that were made from it;
//! read-only, unless `--write` lets the page save a filter. The page is compiled into the binary; it sends no
//! requests to other hosts and runs no script but its own. Files of rows are served with types that cannot run
//! anything, in an origin of their own.
//!
//! | file | contents |
//! |---|---|
//! | [`server`] | HTTP: access checks, and the headers of every answer |
//! | [`answers`] | answers about one version: rows, counts, statistics, one row |
//! | [`near`] | the versions around it: lineage and differences |
//! | [`saving`] | saves a filter as a new version |
//! | [`bytes`] | files of rows, whole and in parts |
//! | [`thumbs`] | thumbnails, cached on disk |
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

/// One version that is shown.
pub struct View {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    pub pack: Arc<Pack>,
    pub queries: Queries,
    pub stores: Arc<Stores>,
    /// The initial filter of the page.
    pub filter: Option<String>,
    pub thumbs: Arc<Thumbs>,
}

impl View {
    /// The rows that a filter selects; all rows if it is empty.
    ///
    /// # Errors
    /// Errors in the filter, with a caret; those of the catalog.
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
