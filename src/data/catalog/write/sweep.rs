//! Removes the stages of dead processes.

use rusqlite::params;

use super::connection::Writing;
use super::in_file::{PREFIX, quoted};
use super::lock::{self, Lock};
use super::pace::Pace;
use super::{HELD, REST};
use crate::catalog::error::Error;

use std::thread::sleep;
use std::time::Instant;

/// Drops every stage whose process is gone.
pub fn all(writing: &mut Writing) -> Result<(), Error> {
    let mut ids = tables(writing)?;
    ids.extend(lock::all(writing.path()));
    ids.sort();
    ids.dedup();
    for id in ids {
        if let Some(lock) = Lock::take_over(writing.path(), &id) {
            tracing::debug!(stage = id, "left by a writer that is gone");
            one(writing, lock)?;
        }
    }
    Ok(())
}

/// The ids of the stages that have a table.
fn tables(writing: &Writing) -> Result<Vec<String>, Error> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?1";
    let mut statement = writing.connection().prepare(sql)?;
    let mut rows = statement.query([format!("{PREFIX}*")])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().ok().and_then(|name| name.strip_prefix(PREFIX));
        ids.extend(id.filter(|id| lock::is_id(id)).map(str::to_owned));
    }
    Ok(ids)
}

/// Empties one stage and drops it: dropping a full table holds the write lock for longer the larger
/// it is.
pub fn one(writing: &mut Writing, lock: Lock) -> Result<(), Error> {
    let table = quoted(lock.id());
    let there = writing.connection().table_exists(None, &*format!("{PREFIX}{}", lock.id()))?;
    if there {
        empty(writing, &table)?;
        writing
            .brief(|write| Ok(write.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?))?;
    }
    lock.end();
    Ok(())
}

fn empty(writing: &mut Writing, table: &str) -> Result<(), Error> {
    let sql = format!(
        "DELETE FROM {table} WHERE sys__id <= (SELECT sys__id FROM \
         (SELECT sys__id FROM {table} ORDER BY sys__id LIMIT ?1) ORDER BY sys__id DESC LIMIT 1)"
    );
    let mut pace = Pace::new();
    loop {
        let is_more = writing.brief(|write| {
            let (began, mut statement) = (Instant::now(), write.prepare_cached(&sql)?);
            while began.elapsed() < HELD {
                let rows = pace.rows();
                if pace.run(|| statement.execute(params![rows]))? == 0 {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if !is_more {
            return Ok(());
        }
        sleep(REST);
    }
}
