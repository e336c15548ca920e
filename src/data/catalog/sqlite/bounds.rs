//! What one question to a stranger's database may take: memory, text, and steps.
//!
//! A database of a hundred kilobytes can hold a column that is computed to gigabytes, or a tree whose pages name each other
//! again and again. So a value has a longest length, SQLite's memory a limit, and a transaction a number of steps that
//! its file could explain: a walk over an honest table visits each byte of the file a few times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::limits::Limit;

use crate::catalog::error::Error;
use dcfs_core::cancel;

/// The longest text or blob, in bytes.
const LONGEST: i32 = 64 << 20;

/// The longest statement: those of ours name every column of a table.
const LONGEST_SQL: i32 = 4 << 20;

/// Bytes that SQLite may have in memory, for all connections of the process.
const HEAP: i64 = 512 << 20;

/// Steps of SQLite's machine after which the count is looked at.
const STEPS: i32 = 100_000;

/// Steps that any transaction may take: about a second.
const FREE_STEPS: u64 = 40_000_000;

/// Steps for each byte of the file beyond that: a row takes at least two bytes, and a question some 100 steps for one.
const STEPS_A_BYTE: u64 = 100;

/// The steps that the transaction of a connection has taken.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<AtomicU64>);

impl Steps {
    /// A transaction begins.
    pub fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Counts some more; whether that is more than a file of `size` bytes explains. The size is asked only of a
    /// transaction that has taken long: most end before the first look.
    fn are_over(&self, size: impl FnOnce() -> u64) -> bool {
        let taken = self.0.fetch_add(STEPS as u64, Ordering::Relaxed);
        let beyond = taken.saturating_sub(FREE_STEPS);
        beyond > 0 && beyond > size().saturating_mul(STEPS_A_BYTE)
    }
}

/// Bounds what `connection` may take; `size` answers how many bytes its file has.
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
    // A question that nobody waits for ends too.
    let is_over = move || taken.are_over(&size) || cancel::is_cancelled();
    connection.progress_handler(STEPS, Some(is_over))?;
    Ok(steps)
}

/// Bounds memory and text alone.
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
