//! Hints about sources whose settings at indexing time were different from the current ones.
//!
//! `dcfs index` records endpoint, region and `--anon` with the version. They are hints only: a catalog may come
//! from a stranger, and if its endpoint were used automatically, it would receive requests with this user's
//! signatures.

use std::collections::{BTreeMap, BTreeSet};

use super::warn;
use dcfs_core::provenance::Reached;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_store::Stores;

/// Number of sources with a hint of their own.
const TOLD: usize = 5;

/// Limit of a source in characters; longer ones are not buckets.
const LONGEST: usize = 500;

/// The non-default settings of `sources`, for [`dcfs_core::provenance::Provenance`].
pub fn settings(
    stores: &Stores,
    sources: impl IntoIterator<Item = String>,
) -> BTreeMap<String, Reached> {
    let reached = |source: String| {
        let reached = stores.reached(&source)?;
        (reached != Reached::default()).then_some((source, reached))
    };
    sources.into_iter().filter_map(reached).collect()
}

/// The sources of a version's files, judging by its first rows.
pub fn sources(catalog: &Catalog, of: &VersionInfo) -> BTreeSet<String> {
    let Ok(schema) = catalog.schema(of) else { return BTreeSet::new() };
    let examples = catalog.examples(of, None, LONGEST).unwrap_or_default();
    let of_files = |column: &String| schema.files.iter().any(|f| f.source.as_ref() == Some(column));
    examples.into_iter().filter(|(column, _)| of_files(column)).map(|(_, source)| source).collect()
}

/// Prints the flags with which each of `sources` was indexed, if nothing sets them now.
pub fn advise(catalog: &Catalog, stores: &Stores, sources: &BTreeSet<String>) {
    let known = catalog.settings().unwrap_or_default();
    let told = known.iter().filter(|(source, _)| sources.contains(*source));
    told.filter_map(|(source, was)| advice(stores, source, was)).take(TOLD).for_each(warn);
}

/// The same for all sources of the catalog.
pub fn advise_all(catalog: &Catalog, stores: &Stores) {
    let known = catalog.settings().unwrap_or_default();
    let told = known.iter().filter_map(|(source, was)| advice(stores, source, was));
    told.take(TOLD).for_each(warn);
}

/// The hint for one source; `None` if nothing is missing.
pub fn advice(stores: &Stores, source: &str, was: &Reached) -> Option<String> {
    let flags = was.flags_missing_in(&stores.reached(source)?).join(" ");
    let text =
        "which nothing sets now; pass it, if you trust who indexed it, or say it in `config.toml`";
    (!flags.is_empty()).then(|| format!("`{source}` was indexed with `{flags}`, {text}"))
}
