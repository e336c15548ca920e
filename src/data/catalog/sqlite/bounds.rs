//! Limits for one query to a stranger's database: memory, text, and steps.
//!
//! A database of a hundred kilobytes can hold a column computed to gigabytes, or a tree whose pages
//! refer to each other endlessly. So values have a longest length, SQLite's memory a limit, and a
//! transaction a number of steps that its file could explain: scanning an honest table visits each
//! byte of the file a few times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::limits::Limit;

use crate::catalog::error::Error;
use dcfs_core::cancel;

/// The longest text or blob, in bytes.
const LONGEST: i32 = 64 << 20;

/// The longest statement: ours name every column of a table.
const LONGEST_SQL: i32 = 4 << 20;

/// The most memory that SQLite may use, for all connections of the process, in bytes.
const HEAP: i64 = 512 << 20;

/// Steps of SQLite's virtual machine between checks of the count.
const STEPS: i32 = 100_000;

/// Steps that any transaction may take: about a second.
const FREE_STEPS: u64 = 40_000_000;

/// Further steps for each byte of the file: a row takes at least two bytes, and a query some 100
/// steps per row.
const STEPS_A_BYTE: u64 = 100;

/// Counts the steps of the transaction on a connection.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<AtomicU64>);

impl Steps {
    /// Starts counting for a new transaction.
    pub fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Counts some more; returns whether a file of `size` bytes cannot explain the count. The size
    /// is queried only for a transaction that has taken long: most end before the first check.
    fn are_over(&self, size: impl FnOnce() -> u64) -> bool {
        let taken = self.0.fetch_add(STEPS as u64, Ordering::Relaxed);
        let beyond = taken.saturating_sub(FREE_STEPS);
        beyond > 0 && beyond > size().saturating_mul(STEPS_A_BYTE)
    }
}

/// Limits what `connection` may use; `size` returns the size of its file in bytes.
///
/// # Errors
/// SQLite's own.
pub fn set(
    connection: &mut Connection,
    size: impl Fn() -> u64 + Send + 'static,
) -> Result<Steps, Error> {
    limit(connection)?;
    let steps = Steps::default();
    let taken = steps.clone();
    // A cancelled query ends too.
    let is_over = move || taken.are_over(&size) || cancel::is_cancelled();
    connection.progress_handler(STEPS, Some(is_over))?;
    Ok(steps)
}

/// Limits memory and text only.
///
/// # Errors
/// SQLite's own.
pub fn limit(connection: &Connection) -> Result<(), Error> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_SQL)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.pragma_update(None, "hard_heap_limit", HEAP)?;
    Ok(())
}
