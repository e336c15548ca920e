//! Opens an existing pack, or builds a missing one.

use dcfs_disk::private;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::build::{self, Rows};
use super::check::{Checksums, Damage};
use super::column::{ColumnReader, file_name};
use super::columns::Columns;
use super::error::{PackError, Result};
use super::folder::{self, Staging, Turn as BuildTurn};
use super::ids::{self, RowIds};
use super::manifest::Manifest;
use super::names::remote::{self, Remote};
use super::output::mapped;
use super::shared::{self, Lease, Lost, Shared, Turn};
use super::stamp::{PLACES, STAMPS, Sources};
use super::{Column, Limits, Pack};
use dcfs_core::schema::FileColumn;
use dcfs_core::tree::place;

/// Opens the pack of a version below `packs`, after building it if there is no suitable one.
///
/// `uuid` identifies the version's content and `columns` are its listed File columns. Blocks: for
/// the disk, the catalog, perhaps another process that builds the same pack.
///
/// # Errors
/// Errors of the rows; a disk that cannot be written to; versions of 4 billion rows or files.
pub fn obtain(
    rows: &dyn Rows,
    uuid: &str,
    columns: &[FileColumn],
    packs: &Path,
    limits: Limits,
) -> Result<Pack> {
    obtain_shared(rows, uuid, columns, packs, limits, None)
}

/// The same; if hosts share packs, a shared pack is fetched instead of being built, and a newly
/// built one is shared.
///
/// # Errors
/// As [`obtain`]. Errors with shared objects are logged, and the pack is built.
pub fn obtain_shared(
    rows: &dyn Rows,
    uuid: &str,
    columns: &[FileColumn],
    packs: &Path,
    limits: Limits,
    shared: Option<&Shared>,
) -> Result<Pack> {
    let pack = obtain_from(rows, uuid, columns, packs, limits, shared)?;
    remote::retire(&pack.folder);
    Ok(Pack { shared: shared.cloned(), ..pack })
}

/// The name of the folder of a version's pack.
///
/// # Errors
/// Errors of the catalog.
pub fn name_of(rows: &dyn Rows, uuid: &str) -> Result<String> {
    let (count, _, last) = rows.extent()?;
    Ok(folder::pack_name(uuid, &rows.label(), count, last))
}

fn obtain_from(
    rows: &dyn Rows,
    uuid: &str,
    columns: &[FileColumn],
    packs: &Path,
    limits: Limits,
    shared: Option<&Shared>,
) -> Result<Pack> {
    let count = rows.extent()?.0;
    // A folder that somebody else could have written to is not trusted.
    private::folder(packs).map_err(PackError::from)?;
    let folder = packs.join(name_of(rows, uuid)?);
    if let Some(pack) = open_if_good(&folder, columns, limits)? {
        return Ok(pack);
    }
    folder::clean(packs);
    let _turn = BuildTurn::wait(&folder, || folder.exists())?;
    if let Some(pack) = open_if_good(&folder, columns, limits)? {
        return Ok(pack);
    }
    let (fetched, lease) = match shared {
        Some(shared) => fetch(shared, count, &folder, columns, limits)?,
        None => (None, None),
    };
    if let Some(pack) = fetched {
        return Ok(pack);
    }
    let staging = Staging::create(&folder)?;
    build::build(rows, columns, staging.path(), limits)?;
    // If another process was first, its pack is as good; an unsuitable one is removed next time.
    staging.publish(&folder)?;
    if let Some(shared) = shared {
        // The folder is not waited for any more.
        shared.was_read(&folder);
    }
    let pack = open(&folder, columns, limits)?;
    if let (Some(shared), Some(lease)) = (shared, lease) {
        let name = shared::of_pack(&pack.name());
        let files = |folder: &Path| Ok(Manifest::read(folder)?.files);
        shared.share_under(lease, vec![(name, folder)], files, remote::share);
    }
    Ok(pack)
}

/// Fetches the pack in `folder` from other hosts, waiting for one that builds it; otherwise returns
/// the right to build it for them, if we got it.
fn fetch(
    shared: &Shared,
    rows: u64,
    folder: &Path,
    columns: &[FileColumn],
    limits: Limits,
) -> Result<(Option<Pack>, Option<Lease>)> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = shared::of_pack(&name);
    let splits = shared.splits(rows);
    let fetched = || -> Result<Option<Pack>> {
        let staging = Staging::create(folder)?;
        let fetched = shared.fetch_or(&name, staging.path(), splits)?;
        if splits && matches!(fetched, Ok(true) | Err(Lost::Unusable(_))) {
            shared.was_read(folder);
        }
        match fetched {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(lost) => {
                if let Lost::Away(error) = &lost
                    && splits
                    && let Some(told) = shared.waits(folder, rows, error)
                {
                    return Err(told);
                }
                tracing::warn!(name, error = %lost, "what is shared cannot be used; building it here");
                return Ok(None);
            }
        }
        staging.publish(folder)?;
        Ok(open_if_good(folder, columns, limits)?)
    };
    let was_there = shared.has(&name);
    if let Some(pack) = fetched()? {
        return Ok((Some(pack), None));
    }
    // An unusable one is rebuilt by whoever may; nobody waits for that.
    if was_there {
        return Ok((None, shared.take(&name)));
    }
    match shared.turn(&name, shared::patience(rows)) {
        Turn::Ours(lease) => Ok((None, Some(lease))),
        Turn::There => Ok((fetched()?, None)),
        Turn::Nobody => Ok((None, None)),
    }
}

/// Opens the pack in `folder`. An unusable one is removed, with one line in the log.
fn open_if_good(
    folder: &Path,
    columns: &[FileColumn],
    limits: Limits,
) -> Result<Option<Pack>, PackError> {
    match open(folder, columns, limits) {
        Ok(pack) => Ok(Some(pack)),
        Err(PackError::Absent(_)) if !folder.exists() => Ok(None),
        Err(why) => {
            tracing::warn!(pack = %folder.display(), %why, "pack cannot be used; rebuilding it");
            folder::remove(folder)?;
            Ok(None)
        }
    }
}

/// Opens the pack in `folder`, which must be for `columns`.
pub(super) fn open(
    folder: &Path,
    columns: &[FileColumn],
    limits: Limits,
) -> Result<Pack, PackError> {
    let manifest = Manifest::read(folder)?;
    if !manifest.is_for(columns) {
        return Err(PackError::Schema);
    }
    check_names(&manifest)?;
    manifest.check_lengths(folder)?;
    let damage = Damage::new(folder);
    let checksums = Checksums::open(folder, &manifest.files)?;
    if checksums.total() <= limits.checked_at_open {
        checksums.compare(|| false)?;
    } else {
        checksums.compare_later(damage.clone())?;
    }
    let home = fs::metadata(folder).map_err(PackError::read(folder))?;
    let map = || readers(folder, &manifest);
    let readers = catch_unwind(AssertUnwindSafe(map));
    Ok(Pack {
        kept: limits.kept,
        columns: number_columns(&manifest, columns)?,
        readers: readers.unwrap_or_else(|_| Err(PackError::damaged("its index is no index")))?,
        rows: manifest.rows,
        ids: Some(row_ids(folder, &manifest)?),
        folder: folder.to_path_buf(),
        home: (home.dev(), home.ino()),
        serial: OPENED.fetch_add(1, Ordering::Relaxed),
        damage,
        packed: Columns::default(),
        sources: Sources::default(),
        shared: None,
        remote: None,
    })
}

/// A pack whose names are elsewhere, with the folder `home` for what is kept here.
pub(super) fn named(
    home: &Path,
    manifest: &Manifest,
    columns: &[FileColumn],
    limits: Limits,
    remote: Remote,
) -> Result<Pack, PackError> {
    if !manifest.is_for(columns) {
        return Err(PackError::Schema);
    }
    let at = fs::metadata(home).map_err(PackError::read(home))?;
    Ok(Pack {
        kept: limits.kept,
        columns: number_columns(manifest, columns)?,
        readers: Vec::new(),
        rows: manifest.rows,
        ids: (!manifest.has_gaps()).then(|| RowIds::without_gaps(manifest.rows, manifest.first_id)),
        folder: home.to_path_buf(),
        home: (at.dev(), at.ino()),
        serial: OPENED.fetch_add(1, Ordering::Relaxed),
        damage: Damage::new(home),
        packed: Columns::default(),
        sources: Sources::default(),
        shared: None,
        remote: Some(Box::new(remote)),
    })
}

/// The number of packs that this process has opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Checks that the files are exactly those that this release writes.
fn check_names(manifest: &Manifest) -> Result<(), PackError> {
    let mut optional = vec![ids::FILE.to_owned()];
    let mut needed = Vec::new();
    for number in 0..manifest.columns.len() {
        optional.extend(["offsets", STAMPS, PLACES].map(|part| file_name(number, part)));
        let parts = ["fst", "size", "mtime", "identity", "rows", "entry"];
        needed.extend(parts.map(|part| file_name(number, part)));
    }
    let has_all = needed.iter().all(|name| manifest.files.contains_key(name));
    let knows = |name: &String| needed.contains(name) || optional.contains(name);
    if has_all && manifest.files.keys().all(knows) {
        Ok(())
    } else {
        Err(PackError::damaged("its manifest lists other files"))
    }
}

pub(super) fn readers(folder: &Path, manifest: &Manifest) -> Result<Vec<ColumnReader>, PackError> {
    let parts = manifest.columns.iter().enumerate();
    parts
        .map(|(number, part)| ColumnReader::open(folder, number, part.entries, manifest.rows))
        .collect()
}

pub(super) fn row_ids(folder: &Path, manifest: &Manifest) -> Result<RowIds, PackError> {
    let map = match manifest.files.get(ids::FILE) {
        Some(sum) if sum.length != u64::from(manifest.rows) * 8 => {
            return Err(PackError::damaged("`rows.ids` has the wrong length"));
        }
        Some(_) => Some(mapped(folder, ids::FILE)?),
        None => None,
    };
    Ok(RowIds { count: manifest.rows, first: manifest.first_id, map })
}

/// Numbers the entries of all columns consecutively.
fn number_columns(manifest: &Manifest, files: &[FileColumn]) -> Result<Vec<Column>, PackError> {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let mut start = 0_u32;
    let described = files.iter().zip(place::column_directories(&names)).zip(&manifest.columns);
    described
        .map(|((file, directory), part)| {
            let end = start.checked_add(part.entries).filter(|end| *end < u32::MAX);
            let end = end.ok_or_else(|| PackError::damaged("it has too many entries"))?;
            let entries = start..end;
            start = end;
            let is_plain = !part.has_moved;
            let many_sources = part.many_sources;
            Ok(Column { file: file.clone(), directory, entries, many_sources, is_plain })
        })
        .collect()
}
