//! Applying a filter to a version: the catalog, the columns, the pack, and cached results.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::progress::{Progress, Unit};
use super::{CatalogArg, places, sharing};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Query;
use dcfs_core::expr::sql::Sql;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::rows::Beside;
use dcfs_core::schema::Schema;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::lost;
use dcfs_data::pack::{Limits, Pack, Packs};
use dcfs_data::query::{self, Queries, Selected, Version};
use dcfs_data::tables::source::with_keys;
use dcfs_data::tables::{Rows, Source};
use dcfs_data::usage::Use;

/// The flags, as typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AskingArgs {
    #[command(flatten)]
    pub catalog: CatalogArg,
    /// Directory of packed versions [default: $XDG_CACHE_HOME/dcfs]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// A version that filters can be applied to.
pub struct Asked {
    pub catalog: Arc<Catalog>,
    pub of: VersionInfo,
    pub schema: Arc<Schema>,
    cache: Option<PathBuf>,
    queries: Queries,
}

impl AskingArgs {
    /// Finds the version.
    ///
    /// # Errors
    /// No catalog; no such dataset or version, with the nearest names.
    pub fn ask(&self, dataset: &DatasetRef) -> Result<Asked> {
        let catalog = Arc::new(self.catalog.open()?);
        let of = catalog.find(dataset)?;
        self.asked(catalog, of)
    }

    /// The same for a version that has been found already.
    ///
    /// # Errors
    /// No catalog; a version that was removed meanwhile.
    pub fn ask_exactly(&self, of: &VersionInfo) -> Result<Asked> {
        self.asked(Arc::new(self.catalog.open()?), of.clone())
    }

    fn asked(&self, catalog: Arc<Catalog>, of: VersionInfo) -> Result<Asked> {
        let schema = Arc::new(catalog.schema(&of)?);
        let cache = self.cache_dir.clone();
        Ok(Asked { catalog, of, schema, cache, queries: Queries::for_a_command() })
    }
}

impl Asked {
    /// Parses and checks a filter against the columns.
    ///
    /// # Errors
    /// The mistake in it, with a caret.
    pub fn check(&self, filter: &str) -> Result<Query> {
        lost::check(&self.catalog, &self.of, &self.schema, filter)
    }

    /// A filter that the engine beside the rows can be told as a whole, with no order and no limit; `None` in a file.
    pub fn told(&self, query: &Query) -> Option<Sql> {
        let filter = query.filter.as_ref()?;
        if !query.order.is_empty() || query.limit.is_some() || query.offset > 0 {
            return None;
        }
        let split = self.catalog.split(&self.of, filter, &|_| false)?;
        split.rest.is_none().then_some(split.sql)
    }

    /// Why a filter selects no row, where that is known.
    pub fn why_empty(&self, pack: &Arc<Pack>, query: &Query) -> Option<String> {
        let version = Version { catalog: &self.catalog, of: &self.of, pack, each: &|_| {} };
        query::why(&self.queries, version, query, None)
    }

    /// Opens the pack, or builds it.
    ///
    /// # Errors
    /// A cache directory that is not writable; the catalog's.
    pub fn pack(&self) -> Result<Arc<Pack>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| Error::new(Kind::Broken, error))?;
        let cache = self.cache.clone().unwrap_or_else(places::cache);
        places::private_cache(&cache)?;
        let tier = sharing::of_settings(&self.catalog)?;
        let packs = Packs::shared(self.catalog.clone(), cache, Limits::default(), tier);
        runtime.block_on(packs.get(&self.of))
    }

    /// The rows that a filter selects, with a progress bar if columns have to be packed first.
    ///
    /// # Errors
    /// Those of the filter, the pack and the catalog.
    pub fn select(&self, pack: &Arc<Pack>, query: &Query) -> Result<Selected> {
        let progress = Progress::new(Unit::Rows).labelled("filtering");
        let told = AtomicU64::new(0);
        progress.set_total(pack.row_count().into());
        let each = |rows: u64| {
            let before = told.swap(rows, Ordering::Relaxed);
            progress.add(rows.saturating_sub(before));
        };
        let version = Version { catalog: &self.catalog, of: &self.of, pack, each: &each };
        if query.filter.is_some() || !query.order.is_empty() {
            let cache = self.cache.clone().unwrap_or_else(places::cache);
            let now = Timestamp::of_system(SystemTime::now());
            places::usage(&cache, self.catalog.path()).note(Use::filtered(&self.of, query), now);
        }
        let selected = self.queries.select(version, query, None);
        progress.clear();
        selected
    }

    /// The rows to show: those that a filter selects, else all; at most `limit` of them after the first
    /// `offset`.
    ///
    /// # Errors
    /// As [`Asked::select`].
    pub fn source(&self, query: Option<&Query>, offset: u64, limit: Option<u64>) -> Result<Source> {
        let pack = self.pack()?;
        let all = Query::default();
        let query = query.or_else(|| (offset > 0 || limit.is_some()).then_some(&all));
        let selected = query.map(|query| self.select(&pack, query)).transpose()?;
        let selected = selected.map(|rows| rows.slice(offset, limit.unwrap_or(u64::MAX)));
        let (schema, rows) = match selected {
            None => (self.schema.clone(), Rows::All),
            Some(Selected { ranking: Some(ranking), .. }) => {
                (Arc::new(with_keys(&self.schema, &ranking)), Rows::Ranked(ranking))
            }
            Some(Selected { rows, .. }) => (self.schema.clone(), Rows::Some(rows)),
        };
        let (catalog, of) = (self.catalog.clone(), self.of.clone());
        let beside = Beside::ALL;
        Ok(Source { catalog, of, schema, pack, rows, root: None, is_ranked: false, beside })
    }
}
