//! Removing and renaming on servers: what is to go becomes a stage in the transaction that says so.

use super::Servers;
use super::life::{self, Life};
use crate::catalog::VersionInfo;
use crate::catalog::ask::Ask;
use crate::catalog::error::Error;
use crate::catalog::split::error::ServerError;
use crate::catalog::sqlite::rows::table_name;
use crate::catalog::versions;
use crate::catalog::write::Refused;
use crate::catalog::write::change;
use crate::catalog::write::naming::{self, Places};
use dcfs_core::name::DatasetName;

impl Servers {
    /// See [`crate::catalog::Writer::remove`].
    pub fn remove(&mut self, of: &VersionInfo) -> Result<(), Error> {
        let dataset = self.ask(|tables| versions::alive(tables, of))?;
        let table = table_name(&dataset, &of.version.to_string());
        let life = self.live()?;
        // A mark on a table of a version does nothing until the note is there.
        if self.server.has_table(&table)? {
            self.mark(&table, life.id())?;
        }
        let says = |servers: &mut Self, life: &Life| {
            servers.brief(|write| {
                life::is_held(write, life)?;
                if versions::alive(write, of)? != dataset {
                    return Err(Refused::Overtaken(dataset.clone()).into());
                }
                change::removed(write, of)?;
                life::note(write, life.id())
            })
        };
        self.become_stage(life, says, |tables| match versions::alive(tables, of) {
            Err(Error::Removed(_)) => Ok(true),
            other => other.map(|_| false),
        })
    }

    /// See [`crate::catalog::Writer::rename`]. Rows are under both names until the name is another: of `MergeTree` the
    /// same files, linked twice.
    pub fn rename(&mut self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        let (dataset, all) = self.ask(|tables| {
            let dataset = change::may_become(tables, from, to)?;
            Ok((dataset, naming::versions(tables, dataset)?))
        })?;
        let pairs = all.iter().map(|version| (table_name(from, version), table_name(to, version)));
        let mut tables = Vec::new();
        for (old, new) in pairs {
            // Of versions that were removed there is none.
            if !self.server.has_table(&old)? {
                continue;
            }
            if self.server.has_table(&new)? {
                return Err(Refused::TableInTheWay(new).into());
            }
            tables.push((old, new));
        }
        let new = self.live()?;
        self.brief(|write| life::note(write, new.id())).map_err(life::undone)?;
        let done = self.linked(&tables, &new).and_then(|()| {
            let old = self.live()?;
            for (table, _) in &tables {
                self.mark(table, old.id())?;
            }
            let says = |servers: &mut Self, old: &Life| {
                servers.brief(|write| {
                    // A session that was lost on the way may have cost either its lock.
                    life::is_held(write, &new)?;
                    life::is_held(write, old)?;
                    if change::may_become(write, from, to)? != dataset
                        || naming::versions(write, dataset)? != all
                    {
                        return Err(Refused::Overtaken(from.clone()).into());
                    }
                    change::renamed(write, dataset, from, to)?;
                    life::published(write, new.id())?;
                    life::note(write, old.id())
                })
            };
            let is = |found: Option<i64>| found == Some(dataset);
            self.become_stage(old, says, |tables| naming::dataset(tables, to).map(is))
        });
        match done {
            Ok(()) => self.end(new),
            // A transaction that may still be committed would make these tables those of versions.
            Err(_) => match self.is_settled(&new) {
                true => {
                    if let Err(error) = self.drop_stage(new) {
                        tracing::warn!(%error, "tables of a new name are dropped by the next writer");
                    }
                }
                false => tracing::warn!("tables of a new name are left to the next writer"),
            },
        }
        done
    }

    /// Makes a stage of what is marked as one, by the transaction that says so, and drops it. `is_done` tells whether the
    /// transaction came to be: asked where its connection was lost.
    fn become_stage(
        &mut self,
        life: Life,
        says: impl FnOnce(&mut Self, &Life) -> Result<(), Error>,
        is_done: impl FnOnce(&dyn Ask) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let done = match says(self, &life) {
            Err(Error::Server(error)) => {
                // Its connection may be lost behind the word that ends it.
                let is_done = self.is_settled(&life).then(|| self.ask(is_done));
                match is_done {
                    Some(Ok(true)) => Ok(()),
                    Some(Ok(false)) => Err(error.undone().into()),
                    Some(Err(_)) | None => Err(error.into()),
                }
            }
            done => done,
        };
        match done {
            Ok(()) => {
                // It is done: what cannot be dropped now is left to the next writer.
                if let Err(error) = self.drop_stage(life) {
                    tracing::warn!(%error, "rows that are gone are dropped by the next writer");
                }
                Ok(())
            }
            Err(error) => {
                self.end(life);
                Err(error)
            }
        }
    }

    /// Makes tables of the new names, with the same rows.
    fn linked(&self, tables: &[(String, String)], life: &Life) -> Result<(), Error> {
        for (number, (old, new)) in tables.iter().enumerate() {
            // By a name that is the stage's until its comment says so: a copy has the comment of what it is made after.
            let draft = format!("{}_{number}", life.table());
            let (old, new, quoted) = (self.quoted(old), self.quoted(new), self.quoted(&draft));
            let run = |sql: String| self.server.run(&sql, &[], None);
            run(format!("CREATE TABLE {quoted} AS {old}"))?;
            self.mark(&draft, life.id())?;
            match run(format!("ALTER TABLE {quoted} ATTACH PARTITION ALL FROM {old}")) {
                // A table of another engine, or a server that does not know it. If only the connection was lost, the parts
                // may still be attached, and rows that are copied too would be there twice.
                Err(ServerError::Said { .. }) => {
                    run(format!("TRUNCATE TABLE {quoted}"))?;
                    run(format!("INSERT INTO {quoted} SELECT * FROM {old}"))?;
                }
                done => done?,
            }
            run(format!("RENAME TABLE {quoted} TO {new}"))?;
        }
        Ok(())
    }
}
