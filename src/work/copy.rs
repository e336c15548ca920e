//! Versions copied from one catalog into another, with their lineage: between SQLite and servers, in either direction.
//!
//! A version keeps its uuid, number, times, ids and random numbers. One that is there already, by its uuid, is left alone, so a copy
//! that was interrupted goes on where it stopped. Rows are read back and compared, row by row, before anybody sees the version.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use dcfs_core::annotation::Annotation;
use dcfs_core::cell::{Cell, OwnedCell};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::{RowId, VersionId};
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
    /// Versions that copied ones were made of, and that are not in the other catalog: lineage there ends before them.
    fn left_out(&self, parents: &BTreeSet<String>);
}

/// Copies all versions, or those of the datasets `only`. A version that those were made of and that is not in the other catalog
/// is told to `watch`; once it is copied too, the next copy adds the missing edge.
///
/// What people say of a dataset there stays as it is: only what they do not speak of is taken along.
///
/// # Errors
/// What either catalog says; a version whose rows did not come through, of which nothing is kept; a number that is taken in the
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
    let (mut changed, mut left_out) = (HashSet::new(), BTreeSet::new());
    for (number, version) in all.iter().enumerate() {
        let (parents, missing) = parents(from, version, &there)?;
        left_out.extend(missing);
        if let Some(known) = there.get(&version.uuid) {
            same(known, version)?;
            linked(to, known, writer, &parents)?;
            counts.there += 1;
            continue;
        }
        watch.begin(version, number as u64 + 1, all.len() as u64);
        let copied = one((from, version), to, writer, &parents, watch)?;
        watch.done(version, copied.1);
        counts.copied += 1;
        counts.rows += copied.1;
        changed.insert(&version.dataset);
        there.insert(version.uuid.clone(), copied.0);
    }
    if !left_out.is_empty() {
        watch.left_out(&left_out);
    }
    for name in all.iter().map(|version| &version.dataset).collect::<BTreeSet<_>>() {
        said((from, name), to, writer, changed.contains(name))?;
    }
    Ok(counts)
}

/// What a version was made of: the versions that are in the other catalog, and the names of those that are not.
fn parents(
    from: &Catalog,
    version: &VersionInfo,
    there: &HashMap<String, VersionInfo>,
) -> Result<(Vec<VersionId>, Vec<String>)> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for parent in from.parents(version.id)? {
        match (there.get(&parent.uuid), parent.dataset) {
            (Some(known), _) => found.push(known.id),
            (None, Some((name, number))) if parent.alive => {
                missing.push(format!("{name}@{number}"))
            }
            // It was removed.
            (None, _) => {}
        }
    }
    Ok((found, missing))
}

/// Adds the edges to parents that were copied after their child.
fn linked(
    to: &Catalog,
    known: &VersionInfo,
    writer: &mut Writer,
    parents: &[VersionId],
) -> Result<()> {
    let there: HashSet<VersionId> =
        to.parents(known.id)?.into_iter().filter_map(|parent| parent.id).collect();
    match parents.iter().all(|parent| there.contains(parent)) {
        true => Ok(()),
        false => writer.link(known, parents),
    }
}

/// Refuses what has the uuid of a version and is another.
fn same(known: &VersionInfo, version: &VersionInfo) -> Result<()> {
    // An old release recorded no number of rows.
    let has_rows = version.rows.is_none() || known.rows == version.rows;
    match has_rows && known.version == version.version {
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
    parents: &[VersionId],
    watch: &dyn Watch,
) -> Result<(VersionInfo, u64)> {
    let (layout, details) = (from.layout(version)?, from.details(version)?);
    // What is said of the dataset there is not overwritten.
    let known = to.latest(&version.dataset)?;
    let known = known.map(|known| to.details(&known)).transpose()?.unwrap_or_default();
    let description = details.description.as_deref().filter(|_| known.description.is_none());
    let attrs = Some(details.attrs.as_slice());
    let attrs = attrs.filter(|attrs| !attrs.is_empty() && known.attrs.is_empty());
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
    let each = |rows| watch.compared(rows);
    let wanted = catalog::digest(from, version, &layout, &each)?;
    if stage.digest(&each)? != wanted {
        // Dropped with all its rows: nobody saw it, and its number is free.
        return Err(lost(version));
    }
    let none = dcfs_core::provenance::Provenance::default();
    let publication = Publication {
        name: &version.dataset,
        number: Number::Exactly(version.version),
        upon: None,
        parents,
        script: &details.script,
        description,
        attrs,
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
    let copy = VersionInfo {
        id: saved.id,
        version: saved.version,
        rows: Some(saved.rows),
        size: saved.size,
        ..version.clone()
    };
    Ok((copy, wanted.0))
}

fn lost(version: &VersionInfo) -> Error {
    let message = format!(
        "the rows of `{version}` did not come through as they were; nothing of it was kept"
    );
    Error::new(Kind::Broken, message)
}

/// Takes along what people say of columns, where nobody speaks of them there. Where no version `is_new`, only if nobody speaks
/// of the dataset at all: an earlier copy may have ended before this.
fn said(
    (from, name): (&Catalog, &DatasetName),
    to: &Catalog,
    writer: &mut Writer,
    is_new: bool,
) -> Result<()> {
    let mut there = to.annotations(name)?;
    if !is_new && !there.is_empty() {
        return Ok(());
    }
    for (column, said) in from.annotations(name)? {
        let said = unsaid(said, &there.remove(&column).unwrap_or_default());
        if !said.is_empty() {
            writer.annotate(name, &column, &said, "dcfs catalog copy")?;
        }
    }
    Ok(())
}

/// The part of an annotation of which `there` says nothing.
fn unsaid(said: Annotation, there: &Annotation) -> Annotation {
    let Annotation { description, owner, caveat } = said;
    Annotation {
        description: description.filter(|_| there.description.is_none()),
        owner: owner.filter(|_| there.owner.is_none()),
        caveat: caveat.filter(|_| there.caveat.is_none()),
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
    fn add<'c>(&mut self, cells: impl Iterator<Item = Cell<'c>>, id: RowId) {
        let mut row: Vec<OwnedCell> = cells.map(OwnedCell::from).collect();
        row.push(OwnedCell::Integer(id.key()));
        let size = |cell: &OwnedCell| match cell {
            OwnedCell::Text(text) | OwnedCell::Blob(text) => text.len(),
            _ => 8,
        };
        self.bytes += row.iter().map(size).sum::<usize>();
        self.rows.push(row);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= ROWS || self.bytes >= BYTES
    }

    fn rows(&self) -> impl Iterator<Item = Vec<Cell<'_>>> {
        self.rows.iter().map(|row| row.iter().map(OwnedCell::cell).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_there_is_not_overwritten() {
        let say = |description: Option<&str>, owner: Option<&str>| Annotation {
            description: description.map(Into::into),
            owner: owner.map(Into::into),
            caveat: None,
        };
        let there = say(Some("theirs"), None);
        assert_eq!(unsaid(say(Some("ours"), Some("me")), &there), say(None, Some("me")));
        assert!(unsaid(say(Some("ours"), None), &there).is_empty());
        assert_eq!(
            unsaid(say(Some("ours"), None), &Annotation::default()),
            say(Some("ours"), None)
        );
    }
}
