//! The catalog of a version's rows, written aside from its parts.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use dcfs_core::cancel;
use dcfs_core::cell::OwnedCell;
use dcfs_core::name::DatasetName;
use dcfs_core::provenance::Provenance;
use dcfs_disk::regular;

use super::super::error::StudioError;
use super::super::part::{self, PartFile, Wrong};
use super::{Pull, private_folder};
use crate::catalog::error::Error;
use crate::catalog::{Copied, Number, Publication, Writer};
use crate::parquet_file::Fault;

/// Rows handed over at a time, and their size.
const ROWS: usize = 1024;
const BYTES: usize = 8 << 20;

/// The name of the only dataset in the catalog of a version.
const NAME: &str = "rows";

impl Pull<'_> {
    /// Makes the catalog of the rows, aside.
    pub(super) fn write_catalog(&self, parts: usize) -> Result<(), Error> {
        let drafts = self.drafts();
        match fs::remove_dir_all(&drafts) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                return Err(self.disk(cause).into());
            }
            _ => {}
        }
        private_folder(&drafts).map_err(|cause| self.disk(cause))?;
        let counted = self.check_count(parts);
        let written = counted.and_then(|()| self.write_rows(&drafts.join("db"), parts));
        if let Err(error) = &written {
            fs::remove_dir_all(&drafts).ok();
            // Parts that are wrong are not looked at again.
            if matches!(error, Error::Studio(StudioError::Part { .. } | StudioError::Rows { .. })) {
                fs::remove_dir_all(&self.folder).ok();
            }
        }
        written
    }

    /// Checks before anything is written that the parts do not claim more rows than the version has.
    fn check_count(&self, parts: usize) -> Result<(), Error> {
        let Some(wanted) = self.of.rows else { return Ok(()) };
        let mut came: u64 = 0;
        for number in 0..parts {
            let opened = self.opened(number).map_err(|wrong| self.wrong(number, parts, wrong))?;
            came = came.saturating_add(opened.count());
        }
        if came > wanted {
            return Err(StudioError::Rows { of: self.of.to_string(), came, wanted }.into());
        }
        Ok(())
    }

    fn opened(&self, number: usize) -> Result<PartFile, Wrong> {
        let file = regular::open(&self.place(number)).map_err(Wrong::Disk)?;
        PartFile::open(file, &self.columns)
    }

    fn wrong(&self, number: usize, parts: usize, wrong: Wrong) -> StudioError {
        match wrong {
            Wrong::Disk(cause) => self.disk(cause),
            Wrong::Content(what) | Wrong::Broken(what) => self.content(number, parts, what),
        }
    }

    fn write_rows(&self, file: &Path, parts: usize) -> Result<(), Error> {
        let mut writer = Writer::open_or_create(file).map_err(Error::Caller)?;
        writer.in_order().map_err(Error::Caller)?;
        let mut stage = writer.stage(self.layout.clone()).map_err(Error::Caller)?;
        self.progress.writing(self.of.rows);
        let mut batch = Batch::default();
        let mut came: u64 = 0;
        for number in 0..parts {
            let read = (|| {
                self.opened(number)?.each::<Ended>(&mut |cells| {
                    came += 1;
                    if self.of.rows.is_some_and(|wanted| came > wanted) {
                        return Err(Ended::TooMany(came));
                    }
                    batch.add(cells, came);
                    if batch.is_full() {
                        cancel::check().map_err(|_| Ended::Cancelled)?;
                        stage.keep(part::borrowed(&batch.rows)).map_err(Ended::Caller)?;
                        self.progress.add(batch.rows.len() as u64);
                        batch = Batch::default();
                    }
                    Ok(())
                })
            })();
            read.map_err(|ended| match ended {
                Ended::Part(wrong) => self.wrong(number, parts, wrong).into(),
                Ended::TooMany(came) => {
                    let wanted = self.of.rows.unwrap_or_default();
                    StudioError::Rows { of: self.of.to_string(), came, wanted }.into()
                }
                Ended::Cancelled => self.cancelled().into(),
                Ended::Caller(error) => Error::Caller(error),
            })?;
        }
        stage.keep(part::borrowed(&batch.rows)).map_err(Error::Caller)?;
        self.progress.add(batch.rows.len() as u64);
        if let Some(wanted) = self.of.rows.filter(|wanted| *wanted != came) {
            return Err(StudioError::Rows { of: self.of.to_string(), came, wanted }.into());
        }
        let name =
            DatasetName { namespace: "local".into(), project: "local".into(), name: NAME.into() };
        let none = Provenance::default();
        let publication = Publication {
            name: &name,
            number: Number::Exactly(self.of.version),
            upon: None,
            parents: &[],
            script: "",
            description: None,
            attrs: None,
            provenance: &none,
            job: None,
        };
        let copied = Copied {
            uuid: &self.of.uuid,
            created_at: self.of.created_at,
            finished_at: self.of.finished_at,
            has_provenance: false,
        };
        stage.publish_copy(&publication, &copied).map_err(Error::Caller)?;
        Ok(())
    }
}

/// Why rows of a part were not all handed over.
enum Ended {
    Part(Wrong),
    /// There are more than Studio counts.
    TooMany(u64),
    Cancelled,
    Caller(dcfs_core::error::Error),
}

impl From<Wrong> for Ended {
    fn from(wrong: Wrong) -> Self {
        Self::Part(wrong)
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Part(fault.into())
    }
}

/// Rows that wait to be written.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<OwnedCell>>,
    bytes: usize,
}

impl Batch {
    /// Adds a row, with its id as the last cell.
    fn add(&mut self, mut cells: Vec<OwnedCell>, id: u64) {
        let size = |cell: &OwnedCell| match cell {
            OwnedCell::Text(text) | OwnedCell::Blob(text) => text.len(),
            _ => 8,
        };
        self.bytes += cells.iter().map(size).sum::<usize>();
        cells.push(OwnedCell::Integer(id.cast_signed()));
        self.rows.push(cells);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes >= BYTES
    }
}
