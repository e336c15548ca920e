//! Writing a catalog on servers: rows are staged in ClickHouse, then published in one transaction of the metastore.
//!
//! 1. A stage has an id. It is noted in `dcfs_stages`, a table of names, before its table is made; every table of it says so
//!    in its comment.
//! 2. Publishing is one transaction of the metastore, and all writers of dcfs take turns in it: it takes the number, writes
//!    version, parents and provenance, removes the note, and as its last step gives the table its name. A table with a
//!    name and no version is nothing that anybody sees.
//! 3. A stage is alive while its lock is held: of its session in PostgreSQL, or on a file beside a metastore in SQLite. A note
//!    whose lock is free is a dead writer's, and says that it was not published: the next writer drops its tables and the note.
//! 4. What is removed or renamed becomes such a stage in the transaction that says so, and is dropped after.
//!
//! So a kill at any step leaves what was there before, or what was to be, and tables that the next writer drops.
//!
//! | file | what it does |
//! |---|---|
//! | `life` | who is alive, and what the dead left |
//! | `encode` | columns and cells as they are sent |
//! | `stage`, `gather` | rows on their way in |
//! | `change` | removing and renaming |

mod change;
mod encode;
mod gather;
mod life;
mod stage;

use std::path::Path;
use std::sync::Arc;

pub use encode::Column;
pub use stage::ServerStage;

use super::address::{Address, Names as Named};
use super::error::ServerError;
use super::http::{Ask as Asked, ClickHouse};
use super::postgres::{Access, Postgres};
use super::table::{self, Table, identifier};
use super::tasks::Tasks;
use super::types::Reader;
use crate::catalog::VersionInfo;
use crate::catalog::ask::{Ask, Write};
use crate::catalog::error::Error;
use crate::catalog::sqlite::rows::table_name;
use crate::catalog::versions;
use crate::catalog::write::connection::Writing;
use crate::catalog::write::naming::Places;

/// Both halves of a catalog, open for writing.
#[derive(Debug)]
pub struct Servers {
    server: Arc<ClickHouse>,
    names: Names,
}

/// Where names are written.
#[derive(Debug)]
enum Names {
    Postgres(Arc<Postgres>),
    File(Box<Writing>),
}

impl Servers {
    /// Reaches both servers, and clears away what killed writers left.
    ///
    /// # Errors
    /// As [`crate::catalog::Catalog::open`]; a user that may not write.
    pub fn open(given: &Path, may_create: bool) -> Result<Self, Error> {
        let address = Address::parse(&given.to_string_lossy())?;
        let tasks = Arc::new(Tasks::new()?);
        let names = match &address.metastore {
            Named::Postgres(server) => {
                let access = if may_create { Access::Create } else { Access::Write };
                Names::Postgres(Arc::new(Postgres::open(tasks.clone(), server, access)?))
            }
            Named::Sqlite(folder) => {
                let file = crate::catalog::locate::in_given(folder)?;
                Names::File(Box::new(Writing::open(file, may_create)?))
            }
        };
        let server = Arc::new(ClickHouse::open(tasks, &address.warehouse)?);
        server.check_writable()?;
        let mut servers = Self { server, names };
        // The dead stop nobody who lives.
        if let Err(error) = servers.sweep() {
            tracing::warn!(%error, "what dead writers left is not cleared away");
        }
        Ok(servers)
    }

    /// Asks the tables of names.
    pub fn ask<T>(&mut self, work: impl FnOnce(&dyn Ask) -> Result<T, Error>) -> Result<T, Error> {
        match &mut self.names {
            Names::Postgres(names) => work(&**names),
            Names::File(writing) => writing.placed(|writing| work(writing.connection())),
        }
    }

    /// Changes the tables of names: all of it or nothing. Writers of dcfs do so one after another.
    pub fn brief<T>(
        &mut self,
        work: impl FnOnce(&dyn Write) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &mut self.names {
            Names::Postgres(names) => names.transaction(work),
            Names::File(writing) => writing.placed(|writing| writing.brief(|write| work(write))),
        }
    }

    /// The table of a version that is there.
    fn table(&mut self, of: &VersionInfo) -> Result<Table, Error> {
        let (dataset, schema) = self.ask(|tables| {
            let dataset = versions::alive(tables, of)?;
            Ok((dataset, versions::schema_texts(tables, of.id)?.1))
        })?;
        let plain = table_name(&dataset, &of.version.to_string());
        let columns = table::describe(&self.server, &plain, &schema)?;
        if columns.is_empty() {
            return Err(Error::NoTable { of: of.to_string(), table: plain });
        }
        Ok(Table { name: self.quoted(&plain), plain, columns })
    }

    /// A table's name, for SQL.
    fn quoted(&self, plain: &str) -> String {
        format!("{}.{}", identifier(&self.server.database), identifier(plain))
    }
}

impl Places for ClickHouse {
    fn has_table(&self, table: &str) -> Result<bool, Error> {
        let sql = "SELECT count() FROM system.tables WHERE database = {p0:String} AND name = {p1:String} FORMAT TSV";
        let found = self.text(sql, &[self.database.clone(), table.to_owned()])?;
        Ok(found.trim() != "0")
    }
}

impl Places for Servers {
    fn has_table(&self, table: &str) -> Result<bool, Error> {
        self.server.has_table(table)
    }
}

/// A whole number that a server answers.
fn number(server: &ClickHouse, sql: &str, parameters: &[String]) -> Result<i64, ServerError> {
    let said = server.text(sql, parameters)?;
    said.trim().parse().map_err(|_| server.odd("a number that is none"))
}

/// Names that a server answers.
fn names(
    server: &ClickHouse,
    sql: &str,
    parameters: &[String],
) -> Result<Vec<String>, ServerError> {
    let answer = server.whole(&Asked { sql, parameters })?;
    let mut reader = Reader(&answer);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        let name = reader.text().map_err(|_| server.odd("names that cannot be read"))?;
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok(names)
}
