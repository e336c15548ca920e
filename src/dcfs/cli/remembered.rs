//! Advice for sources that were reached in another way when they were indexed than they would be now.
//!
//! `dcfs index` notes endpoint, region and `--anon` beside the version. They are advice and nothing more: a catalog may be a
//! stranger's, and an endpoint that is used without a word would be sent this user's signatures.

use std::collections::{BTreeMap, BTreeSet};

use super::warn;
use dcfs_core::provenance::Reached;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_store::Stores;

/// Sources that are told one by one.
const TOLD: usize = 5;

/// Characters of a source; longer ones are no bucket.
const LONGEST: usize = 500;

/// How `sources` are reached, where it is not by default: for [`dcfs_core::provenance::Provenance`].
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

/// Where a version has files, as far as its first rows tell.
pub fn sources(catalog: &Catalog, of: &VersionInfo) -> BTreeSet<String> {
    let Ok(schema) = catalog.schema(of) else { return BTreeSet::new() };
    let examples = catalog.examples(of, LONGEST).unwrap_or_default();
    let of_files = |column: &String| schema.files.iter().any(|f| f.source.as_ref() == Some(column));
    examples.into_iter().filter(|(column, _)| of_files(column)).map(|(_, source)| source).collect()
}

/// Says which flags each of `sources` was indexed with, where nothing sets them now.
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

/// The advice for one source; `None` where nothing is missing.
pub fn advice(stores: &Stores, source: &str, was: &Reached) -> Option<String> {
    let flags = was.flags_missing_in(&stores.reached(source)?).join(" ");
    let text =
        "which nothing says now; pass it, if you trust who indexed it, or say it in `config.toml`";
    (!flags.is_empty()).then(|| format!("`{source}` was indexed with `{flags}`, {text}"))
}
