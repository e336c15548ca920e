//! Who is alive: a note in the metastore and a lock for every stage.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

use uuid::Uuid;

use super::{Names, Servers, names};
use crate::catalog::ask::{Ask, Write, bound};
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;
use crate::catalog::split::http;
use crate::catalog::split::table::identifier;
use crate::catalog::sqlite::rows::table_name;
use crate::catalog::versions;
use crate::catalog::write::lock::{self, Lock};
use crate::catalog::write::naming::now;
use crate::catalog::write::{PREFIX, Refused};

const TABLE: &str = "dcfs_stages";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS dcfs_stages (\
    id TEXT NOT NULL PRIMARY KEY, begun_at DATETIME)";

/// How long to wait for the end of a transaction whose connection was lost, in steps of [`STEP`].
const STEPS: u32 = 100;
const STEP: Duration = Duration::from_millis(100);

/// How often the tables of a stage are listed before they are left: a late rename may give one another name meanwhile.
const ROUNDS: u32 = 4;

/// A stage's life.
#[derive(Debug)]
pub struct Life {
    /// 32 hex digits.
    id: String,
    /// Of a metastore that is a file; else the session of PostgreSQL holds it.
    file: Option<Lock>,
}

impl Life {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its table before it has another name; how others of its tables begin.
    pub fn table(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// The comment of its tables in ClickHouse.
    pub fn comment(&self) -> String {
        comment(&self.id)
    }
}

fn comment(id: &str) -> String {
    format!("dcfs stage {id}")
}

/// The number under which PostgreSQL locks a stage.
fn key(id: &str) -> i64 {
    let digits = id.get(..16).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_default().cast_signed()
}

/// Notes a stage, so that whoever comes after its death knows of it.
pub fn note(write: &dyn Write, id: &str) -> Result<(), Error> {
    if !Columns::of(write, TABLE)?.exist() {
        write.define(CREATE)?;
    }
    let sql = "INSERT INTO dcfs_stages (id, begun_at) VALUES (?1, ?2)";
    write.run(sql, bound![id, &now()])?;
    Ok(())
}

/// The error of a change that may have been made and is no more than a note: what was wanted was not done.
pub fn undone(error: Error) -> Error {
    match error {
        Error::Server(error) => error.undone().into(),
        error => error,
    }
}

/// Removes a note: the stage was published, or its tables are gone. Whether there was one.
pub fn forget(write: &dyn Write, id: &str) -> Result<bool, Error> {
    Ok(write.run("DELETE FROM dcfs_stages WHERE id = ?1", bound![id])? == 1)
}

/// The same for who goes on only where it was there.
pub fn published(write: &dyn Write, id: &str) -> Result<(), Error> {
    if forget(write, id)? { Ok(()) } else { Err(Refused::StageLost.into()) }
}

/// Locks a life in the session of a transaction, where it is not locked in it: whoever would clear it away then waits.
pub fn is_held(write: &dyn Write, life: &Life) -> Result<(), Error> {
    if life.file.is_some() {
        return Ok(());
    }
    let row = write.first("SELECT pg_try_advisory_lock(?1)", bound![key(&life.id)])?;
    match row.and_then(|row| row.integer(0)) {
        Some(1) => Ok(()),
        _ => Err(Refused::StageLost.into()),
    }
}

/// Whether a stage was neither published nor cleared away.
pub fn is_noted(tables: &dyn Ask, id: &str) -> Result<bool, Error> {
    let is_there = Columns::of(tables, TABLE)?.has("id");
    Ok(is_there && tables.first("SELECT id FROM dcfs_stages WHERE id = ?1", bound![id])?.is_some())
}

/// The tables of complete versions: never a part of a stage, whatever their comments say.
fn of_versions(tables: &dyn Ask) -> Result<HashSet<String>, Error> {
    let Some(select) = versions::select(tables)? else { return Ok(HashSet::new()) };
    let sql = format!("{select} WHERE v.status = ?1");
    let records = tables.ask(&sql, bound![versions::COMPLETE])?;
    let records = records.into_iter().filter_map(versions::record);
    Ok(records.map(|record| table_name(&record.dataset, &record.version_text)).collect())
}

/// All stages that are noted.
fn all(tables: &dyn Ask) -> Result<Vec<String>, Error> {
    if !Columns::of(tables, TABLE)?.has("id") {
        return Ok(Vec::new());
    }
    let rows = tables.ask("SELECT id FROM dcfs_stages", &[])?;
    let ids = rows.into_iter().filter_map(|mut row| row.take(0));
    Ok(ids.filter(|id| lock::is_id(id)).collect())
}

impl Servers {
    /// A new life, locked and not noted.
    pub fn live(&mut self) -> Result<Life, Error> {
        if let Names::File(writing) = &self.names {
            let lock = Lock::new(writing.path())?;
            return Ok(Life { id: lock.id().to_owned(), file: Some(lock) });
        }
        let life = Life { id: Uuid::new_v4().simple().to_string(), file: None };
        if self.locks(&life)? { Ok(life) } else { Err(Refused::StageLost.into()) }
    }

    /// Locks a life in the session that there is now; once more does no harm. `false` where another session has it.
    pub fn locks(&mut self, life: &Life) -> Result<bool, Error> {
        match &self.names {
            Names::File(_) => Ok(true),
            Names::Postgres(names) => {
                let sql = "SELECT pg_try_advisory_lock(?1)";
                let row = names.first(sql, bound![key(&life.id)])?;
                Ok(row.and_then(|row| row.integer(0)) == Some(1))
            }
        }
    }

    /// Waits for the end of a life's transaction whose connection was lost: while its session lives, it may still be committed.
    /// `false` if it is not known to have ended.
    pub fn is_settled(&mut self, life: &Life) -> bool {
        let mut is_over = self.locks(life);
        for _ in 0..STEPS {
            if !matches!(is_over, Ok(false)) {
                break;
            }
            sleep(STEP);
            is_over = self.locks(life);
        }
        matches!(is_over, Ok(true))
    }

    /// Ends a life whose tables are gone, or have become a version.
    pub fn end(&mut self, life: Life) {
        match (&self.names, life.file) {
            (_, Some(lock)) => lock.end(),
            (Names::Postgres(names), None) => {
                names.ask("SELECT pg_advisory_unlock(?1)", bound![key(&life.id)]).ok();
            }
            (Names::File(_), None) => {}
        }
    }

    /// Takes over the life of a stage whose writer is gone; `None` while it is alive.
    fn take_over(&mut self, id: &str) -> Result<Option<Life>, Error> {
        if let Names::File(writing) = &self.names {
            let lock = Lock::take_over(writing.path(), id);
            return Ok(lock.map(|lock| Life { id: id.to_owned(), file: Some(lock) }));
        }
        let life = Life { id: id.to_owned(), file: None };
        Ok(self.locks(&life)?.then_some(life))
    }

    /// Drops every stage whose writer is gone. A table that cannot be dropped stops nobody: the next writer tries again.
    pub fn sweep(&mut self) -> Result<(), Error> {
        for id in self.ask(all)? {
            if let Some(life) = self.take_over(&id)? {
                tracing::debug!(stage = id, "left by a writer that is gone");
                if let Err(error) = self.drop_stage(life) {
                    tracing::warn!(
                        %error, stage = id,
                        "tables of a dead writer stay in ClickHouse; the next writer tries again. If a table is above the \
                         server's `max_table_size_to_drop`, raise that, or drop it there"
                    );
                }
            }
        }
        Ok(())
    }

    /// Drops the tables of a stage that was not published, then its note. Its lock is released in any case.
    pub fn drop_stage(&mut self, life: Life) -> Result<(), Error> {
        let dropped = self.drop_tables(&life);
        self.end(life);
        dropped
    }

    fn drop_tables(&mut self, life: &Life) -> Result<(), Error> {
        // Its writer may have published it before the lock was free, and its tables are a version's then.
        if !self.ask(|tables| is_noted(tables, &life.id))? {
            return Ok(());
        }
        let sql = "SELECT name FROM system.tables WHERE database = {p0:String} \
                   AND (comment = {p1:String} OR startsWith(name, {p2:String})) FORMAT RowBinary";
        let parameters = [self.server.database.clone(), life.comment(), life.table()];
        for _ in 0..ROUNDS {
            let mut found = names(&self.server, sql, &parameters)?;
            if !found.is_empty() {
                // A published table keeps the comment of its stage.
                let kept = self.ask(of_versions)?;
                found.retain(|name| !kept.contains(name));
            }
            if found.is_empty() {
                break;
            }
            for name in found {
                self.drop_table(&name)?;
            }
        }
        self.brief(|write| forget(write, &life.id)).map_err(undone)?;
        Ok(())
    }

    /// Drops a table, if it has to be with the server's limit on the size of dropped tables set aside.
    fn drop_table(&self, name: &str) -> Result<(), Error> {
        let sql = format!("DROP TABLE IF EXISTS {}", self.quoted(name));
        match self.server.run(&sql, &[], None) {
            Err(error) if http::is_too_large_to_drop(&error) => {
                let sql = format!("{sql} SETTINGS max_table_size_to_drop = 0");
                // An older server does not know the setting: its first error names the remedy.
                Ok(self.server.run(&sql, &[], None).map_err(|_| error)?)
            }
            done => Ok(done?),
        }
    }

    /// Says of a table that it is of a stage.
    pub fn mark(&self, table: &str, id: &str) -> Result<(), Error> {
        // The comment is 43 known characters; a parameter cannot stand there.
        let sql = format!(
            "ALTER TABLE {}.{} MODIFY COMMENT '{}'",
            identifier(&self.server.database),
            identifier(table),
            comment(id)
        );
        Ok(self.server.run(&sql, &[], None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_locked_by_numbers_of_their_own() {
        assert_eq!(key("0000000000000001ffffffffffffffff"), 1);
        assert_eq!(key("ffffffffffffffff0000000000000000"), -1);
    }
}
