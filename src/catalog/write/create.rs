//! The tables of a new catalog, as DataChain 0.62 makes them.

use rusqlite::Transaction;

use super::naming::now;
use crate::catalog::error::Error;

/// Makes the tables where there are none. Tables of somebody else are left alone: the check that follows tells of them.
pub fn tables(transaction: &Transaction<'_>) -> Result<(), Error> {
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Ok(());
    }
    transaction.execute_batch(include_str!("tables.sql"))?;
    transaction.execute("INSERT INTO meta (id, schema_version) VALUES (1, 1)", [])?;
    super::publish::project(transaction, "system", "listing", &now())?;
    Ok(())
}
