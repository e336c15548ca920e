//! The tables of a new catalog, as DataChain 0.62 creates them.

use rusqlite::Transaction;

use super::naming::now;
use crate::catalog::ask::Ask;
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;

/// The tables, with types as SQLite has them.
pub const TABLES: &str = include_str!("tables.sql");

/// Creates the tables if there are none. Foreign tables are left alone: the check that follows
/// reports them.
pub fn tables(transaction: &Transaction<'_>) -> Result<(), Error> {
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Ok(());
    }
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO meta (id, schema_version) VALUES (1, 1)", [])?;
    super::publish::project(transaction, "system", "listing", &now())?;
    Ok(())
}

/// Columns of a catalog that are written, besides those that every reader needs.
const WRITTEN: [(&str, &[&str]); 5] = [
    ("namespaces", &["uuid", "description", "created_at"]),
    ("projects", &["uuid", "description", "created_at"]),
    (
        "datasets",
        &[
            "uuid",
            "description",
            "attrs",
            "status",
            "feature_schema",
            "created_at",
            "finished_at",
            "error_message",
            "error_stack",
            "script_output",
            "sources",
            "query_script",
            "schema",
        ],
    ),
    (
        "datasets_versions",
        &[
            "uuid",
            "status",
            "feature_schema",
            "created_at",
            "finished_at",
            "error_message",
            "error_stack",
            "script_output",
            "num_objects",
            "size",
            "preview",
            "sources",
            "query_script",
            "schema",
            "removed_at",
            "pending_metadata_drop",
        ],
    ),
    (
        "datasets_dependencies",
        &["source_dataset_id", "source_dataset_version_id", "dataset_id", "dataset_version_id"],
    ),
];

/// Refuses a catalog of an older DataChain, which a newer one completes on its first use.
pub fn check(tables: &dyn Ask) -> Result<(), Error> {
    for (table, columns) in WRITTEN {
        Columns::of(tables, table)?.require(columns)?;
    }
    Ok(())
}
