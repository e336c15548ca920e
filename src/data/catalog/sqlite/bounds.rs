//! Limits for one query to a stranger's database: memory, text, and steps.
//!
//! A database of a hundred kilobytes can hold a column computed to gigabytes, or a tree whose pages
//! refer to each other endlessly. So values have a longest length, SQLite's memory a limit, and a
//! transaction a number of steps that its file could explain: scanning an honest table visits each
//! byte of the file a few times.
//!
//! SQLite counts memory for the process, not for a connection. Statements of users have budgets on
//! top of the limit for queries to catalogs, so that the former do not starve the latter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

use crate::catalog::error::Error;
use dcfs_core::cancel;

/// The longest text or blob, in bytes.
const LONGEST: i32 = 64 << 20;

/// The longest statement: ours name every column of a table.
const LONGEST_SQL: i32 = 4 << 20;

/// The most memory that SQLite may use for all queries to catalogs, in bytes.
const HEAP: u64 = 512 << 20;

/// The most memory for all statements of users together, unless one alone has a larger budget.
const TOGETHER: u64 = 1 << 30;

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
    // A cancelled query ends too. A hurried one ends at the first look, after some 2.5 ms, and is asked again on a thread of its
    // own: others wait for this one. SQLite counts the steps of a kept statement over all its runs, so one in some hundred short
    // runs ends too; but no BEGIN or ROLLBACK, which would leave a transaction open: their count is reset before each run.
    let is_over = move || taken.are_over(&size) || cancel::is_cancelled() || cancel::is_hurried();
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
    running().set_heap();
    Ok(())
}

/// The statements of users that run now.
struct Running {
    budgets: Vec<u64>,
    /// The memory used when the first of them began.
    before: u64,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { budgets: Vec::new(), before: 0 });

/// The use of memory beyond which statements of users are stopped.
static MOST_USED: AtomicU64 = AtomicU64::new(u64::MAX);

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// The memory that all of them may use.
    fn allowed(&self) -> u64 {
        let all = self.budgets.iter().fold(0_u64, |all, budget| all.saturating_add(*budget));
        let largest = self.budgets.iter().copied().max().unwrap_or(0);
        all.min(largest.max(TOGETHER))
    }

    /// Sets the limits of the process: of SQLite itself, and the lower one of [`Budget::is_over`].
    fn set_heap(&self) {
        let allowed = self.allowed();
        MOST_USED.store(self.before.saturating_add(allowed), Ordering::Relaxed);
        let heap = i64::try_from(HEAP.saturating_add(allowed)).unwrap_or(i64::MAX);
        // The pragma can only lower it.
        // SAFETY: it sets a number under SQLite's own mutex.
        unsafe { ffi::sqlite3_hard_heap_limit64(heap) };
        // The hard limit lowers the soft one with it, and does not raise it again.
        // SAFETY: as above.
        unsafe { ffi::sqlite3_soft_heap_limit64(heap) };
    }
}

/// The memory that SQLite uses in this process.
fn used() -> u64 {
    // SAFETY: it reads a counter.
    let used = unsafe { ffi::sqlite3_memory_used() };
    u64::try_from(used).unwrap_or(0)
}

/// The memory for a statement of a user, until it is dropped. Drop it after the connection.
#[derive(Debug)]
pub struct Budget(u64);

impl Budget {
    /// Allows a statement `size` bytes.
    pub fn begin(size: u64) -> Self {
        let mut running = running();
        if running.budgets.is_empty() {
            running.before = used();
        }
        running.budgets.push(size);
        running.set_heap();
        Self(size)
    }

    /// Whether the statements that run use more than all their budgets.
    pub fn is_over() -> bool {
        used() > MOST_USED.load(Ordering::Relaxed)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let mut running = running();
        if let Some(at) = running.budgets.iter().position(|budget| *budget == self.0) {
            running.budgets.swap_remove(at);
        }
        running.set_heap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hurried_query_ends_at_the_first_look() {
        let mut connection = Connection::open_in_memory().expect("memory");
        set(&mut connection, || u64::MAX).expect("limits");
        let count = |rows: u32| -> rusqlite::Result<u32> {
            let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                       SELECT count(*) FROM n";
            connection.query_row(sql, [rows], |row| row.get(0))
        };
        assert_eq!(cancel::hurried(|| count(10)), Ok(10));
        let error = cancel::hurried(|| count(STEPS as u32)).expect_err("it takes many steps");
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
        assert_eq!(count(STEPS as u32), Ok(STEPS as u32));
    }

    #[test]
    fn budgets_add_up_to_a_bound() {
        const MIB: u64 = 1 << 20;
        let allowed = |budgets: &[u64]| Running { budgets: budgets.to_vec(), before: 0 }.allowed();
        assert_eq!(allowed(&[]), 0);
        assert_eq!(allowed(&[64 * MIB, 32 * MIB]), 96 * MIB);
        assert_eq!(allowed(&[512 * MIB; 9]), TOGETHER);
        assert_eq!(allowed(&[4096 * MIB, 64 * MIB]), 4096 * MIB);
        assert_eq!(allowed(&[u64::MAX, 1]), u64::MAX);
    }
}
