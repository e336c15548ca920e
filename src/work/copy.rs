//! Versions copied from one catalog into another, with their lineage: between SQLite and servers, in either direction.
//!
//! A version keeps its uuid, number, times, ids and random numbers. One that is there already, by its uuid, is left alone, so a copy
//! that was interrupted goes on where it stopped. What was copied is read back and compared, row by row, before the next.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::name::DatasetName;
use dcfs_data::catalog::{self, Catalog, Copied, Number, Publication, VersionInfo, Writer};

/// Rows handed over at a time.
const ROWS: usize = 1024;

/// Bytes handed over at a time, about.
const BYTES: usize = 8 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that were copied.
    pub copied: u64,
    /// Their rows.
    pub rows: u64,
    /// Versions that were there.
    pub there: u64,
}

/// Who is told how far it is.
pub trait Watch {
    /// A version is begun: its number among all, of how many, and its rows.
    fn begin(&self, version: &VersionInfo, number: u64, of: u64);
    /// Rows of it that are written.
    fn wrote(&self, rows: u64);
    /// Rows of it that are compared.
    fn compared(&self, rows: u64);
    /// A version is there, compared.
    fn done(&self, version: &VersionInfo, rows: u64);
}

/// Copies all versions, or those of the datasets `only` and what they were made of, if that is asked for.
///
/// # Errors
/// What either catalog says; a version whose rows did not come through, which is removed again; a number that is taken in the
/// other catalog. All that was copied before is whole.
pub fn copy(
    from: &Catalog,
    to: &Catalog,
    writer: &mut Writer,
    only: &[DatasetName],
    watch: &dyn Watch,
) -> Result<Counts> {
    let wanted = |version: &VersionInfo| only.is_empty() || only.contains(&version.dataset);
    let all: Vec<VersionInfo> = from.every_version()?.into_iter().filter(|v| wanted(v)).collect();
    if let Some(missing) = only.iter().find(|name| !all.iter().any(|v| v.dataset == **name)) {
        let message = format!("no dataset `{missing}` in `{}`", from.path().display());
        return Err(Error::new(Kind::Missing, message));
    }
    let there = to.every_version()?.into_iter();
    let mut there: HashMap<String, VersionInfo> = there.map(|v| (v.uuid.clone(), v)).collect();
    let mut counts = Counts::default();
    for (number, version) in all.iter().enumerate() {
        if let Some(known) = there.get(&version.uuid) {
            same(known, version)?;
            counts.there += 1;
            continue;
        }
        watch.begin(version, number as u64 + 1, all.len() as u64);
        let copied = one((from, version), to, writer, &there, watch)?;
        watch.done(version, copied.1);
        counts.copied += 1;
        counts.rows += copied.1;
        there.insert(version.uuid.clone(), copied.0);
    }
    said(from, writer, all.iter().map(|version| &version.dataset).collect())?;
    Ok(counts)
}

/// Refuses what has the uuid of a version and is another.
fn same(known: &VersionInfo, version: &VersionInfo) -> Result<()> {
    match known.rows == version.rows && known.version == version.version {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Broken,
            format!(
                "`{known}` is there with the uuid of `{version}`, and another number of rows or version"
            ),
        )),
    }
}

/// One version; how it is there, and its rows.
fn one(
    (from, version): (&Catalog, &VersionInfo),
    to: &Catalog,
    writer: &mut Writer,
    there: &HashMap<String, VersionInfo>,
    watch: &dyn Watch,
) -> Result<(VersionInfo, u64)> {
    let (layout, details) = (from.layout(version)?, from.details(version)?);
    let parents = from.parents(version.id)?;
    let parents: Vec<_> =
        parents.iter().filter_map(|parent| Some(there.get(&parent.uuid)?.id)).collect();
    let mut stage = writer.stage(layout.clone())?;
    let mut names: Vec<String> = layout.columns.iter().map(|column| column.name.clone()).collect();
    names.push("sys__rand".into());
    let mut batch = Batch::default();
    from.cells(version, &names, &mut std::iter::once(RowId::ALL), &mut |id, cells| {
        batch.add((0..names.len()).map(|at| cells.cell(at)), id);
        if batch.is_full() {
            stage.keep(batch.rows())?;
            batch = Batch::default();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    stage.keep(batch.rows())?;
    watch.wrote(stage.rows()?);
    let none = dcfs_core::provenance::Provenance::default();
    let publication = Publication {
        name: &version.dataset,
        number: Number::Exactly(version.version),
        upon: None,
        parents: &parents,
        script: &details.script,
        description: details.description.as_deref(),
        attrs: (!details.attrs.is_empty()).then_some(details.attrs.as_slice()),
        provenance: details.provenance.as_ref().unwrap_or(&none),
        job: None,
    };
    let copied = Copied {
        uuid: &version.uuid,
        created_at: version.created_at,
        finished_at: version.finished_at,
        has_provenance: details.provenance.is_some(),
    };
    let saved = stage.publish_copy(&publication, &copied)?;
    let found = to.every_version()?.into_iter().find(|v| v.id == saved.id);
    let found = found.ok_or_else(|| lost(version))?;
    let each = |rows| watch.compared(rows);
    let wanted = catalog::digest(from, version, &layout, &each)?;
    if catalog::digest(to, &found, &layout, &each)? != wanted {
        writer.remove(&found)?;
        return Err(lost(version));
    }
    Ok((found, wanted.0))
}

fn lost(version: &VersionInfo) -> Error {
    let message =
        format!("the rows of `{version}` did not come through as they were; it was removed again");
    Error::new(Kind::Broken, message)
}

/// Takes along what people say of columns.
fn said(from: &Catalog, writer: &mut Writer, names: BTreeSet<&DatasetName>) -> Result<()> {
    for name in names {
        for (column, said) in from.annotations(name)? {
            writer.annotate(name, &column, &said, "dcfs catalog copy")?;
        }
    }
    Ok(())
}

/// Rows that wait to be written.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<Kept>>,
    bytes: usize,
}

/// A cell, or the place of its text.
enum Kept {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Kept {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Integer(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text),
            Self::Blob(bytes) => Cell::Blob(bytes),
        }
    }
}

impl Batch {
    /// Adds a row, with its id as the last cell.
    fn add<'c>(&mut self, cells: impl Iterator<Item = Cell<'c>>, id: RowId) {
        let mut row: Vec<Kept> = cells
            .map(|cell| match cell {
                Cell::Null => Kept::Null,
                Cell::Integer(n) => Kept::Integer(n),
                Cell::Real(x) => Kept::Real(x),
                Cell::Text(text) => Kept::Text(text.to_vec()),
                Cell::Blob(bytes) => Kept::Blob(bytes.to_vec()),
            })
            .collect();
        row.push(Kept::Integer(id.key()));
        let size = |cell: &Kept| match cell {
            Kept::Text(text) | Kept::Blob(text) => text.len(),
            _ => 8,
        };
        self.bytes += row.iter().map(size).sum::<usize>();
        self.rows.push(row);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes >= BYTES
    }

    fn rows(&self) -> impl Iterator<Item = Vec<Cell<'_>>> {
        self.rows.iter().map(|row| row.iter().map(Kept::cell).collect())
    }
}
