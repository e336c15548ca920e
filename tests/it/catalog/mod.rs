//! The catalog as used by the crates above it: real SQLite files, a real writer beside the reader.

mod cells;
mod damage;
mod opening;
mod reading;
mod versions;

use std::path::Path;

use dcfs_core::error::{Kind, Result};
use dcfs_data::catalog::{Catalog, VersionInfo};
use tempfile::TempDir;

use crate::support::catalog::CatalogBuilder;

/// An empty folder with a new catalog.
fn new() -> (TempDir, CatalogBuilder) {
    let dir = tempfile::tempdir().expect("a folder");
    let writer = CatalogBuilder::new(dir.path());
    (dir, writer)
}

fn open(writer: &CatalogBuilder) -> Catalog {
    Catalog::open(writer.path()).expect("a catalog")
}

fn find(catalog: &Catalog, name: &str) -> VersionInfo {
    catalog.find(&name.parse().expect(name)).expect(name)
}

/// `name@version` of every version shown.
fn names(catalog: &Catalog) -> Vec<String> {
    catalog.versions().expect("versions").iter().map(ToString::to_string).collect()
}

/// The kind and the message of an expected error, with `dir` removed.
fn failure<T: std::fmt::Debug>(result: Result<T>, dir: &Path) -> (Kind, String) {
    let error = result.expect_err("a failure");
    let dir = dir.canonicalize().expect("a folder").display().to_string();
    (error.kind(), error.to_string().replace(&dir, ""))
}
