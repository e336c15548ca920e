//! Tables of Delta Lake and Iceberg as what `dcfs load` reads.

use std::path::PathBuf;

use super::access::AccessArgs;
use super::fetched::{self, Fetching};
use super::usage;
use dcfs_core::error::{Error, Result};
use dcfs_core::glob;
use dcfs_core::object::Object;
use dcfs_core::render::numbers::counted;
use dcfs_work::load::lake::{self, Allowed, Reach, Root, Table, TableKind};
use dcfs_work::load::{self, SourceFile};

/// The arguments that may name a table.
pub struct Named<'n> {
    pub files: &'n [PathBuf],
    /// The kind of table that was said to be there.
    pub kind: Option<TableKind>,
    /// Whether it was said to be no table.
    pub is_other: bool,
    pub at: Option<&'n str>,
    pub access: &'n AccessArgs,
}

/// The stores, opened once something in them is needed.
struct Lazily<'f, F>(F, std::marker::PhantomData<&'f ()>);

impl<'f, F: Fn() -> Result<&'f Fetching>> Reach for Lazily<'f, F> {
    fn below(&self, folder: &str) -> Result<Vec<SourceFile>> {
        self.0()?.below(folder)
    }

    fn one(&self, address: &str) -> Result<SourceFile> {
        self.0()?.one(address)
    }

    fn fetch(&self, object: &Object) -> Result<std::fs::File> {
        Reach::fetch(self.0()?, object)
    }
}

/// Opens the table that the user named; `None` if it is none.
///
/// # Errors
/// As [`lake::open`]; several tables, `--at` for what is no table.
pub fn open<'f>(
    named: &Named<'_>,
    fetching: &dyn Fn() -> Result<&'f Fetching>,
) -> Result<Option<Table>> {
    let reach = Lazily(fetching, std::marker::PhantomData);
    let Some((root, kind)) = found(named, &reach)? else {
        return match named.at {
            Some(_) => Err(usage("--at is for tables, and no table was named")),
            None => Ok(None),
        };
    };
    lake::open(kind, &root, named.at, &reach, &allowed(named.access)?).map(Some)
}

/// The table that was named, and its kind.
fn found(named: &Named<'_>, reach: &dyn Reach) -> Result<Option<(Root, TableKind)>> {
    let [file] = named.files else {
        return match named.kind {
            Some(_) => Err(usage("name one table at a time")),
            None => Ok(None),
        };
    };
    if named.is_other {
        return Ok(None);
    }
    let Some(text) = file.to_str() else {
        return match named.kind {
            Some(_) => Err(usage("the path of a table has to be UTF-8")),
            None => Ok(None),
        };
    };
    if let Some(kind) = named.kind {
        return Ok(Some((Root::new(text)?, kind)));
    }
    let is_metadata = lake::is_metadata(text);
    let may_be = is_metadata
        || match fetched::is_address(text) {
            true => !glob::is_pattern(text) && load::Format::of_file(file).is_none(),
            false => file.is_dir(),
        };
    if !may_be {
        return Ok(None);
    }
    let root = Root::new(text)?;
    Ok(lake::kind(&root, reach)?.map(|kind| (root, kind)))
}

/// The folders beside the table whose files it may name.
fn allowed(access: &AccessArgs) -> Result<Allowed> {
    let local = access.local_root.iter().map(|root| {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.clone());
        root.display().to_string()
    });
    // A path is always that of a folder.
    let named = |error: Error| Error::new(error.kind(), format!("--allow-uri: {error}"));
    Allowed::new(local.chain(access.allow_uri.iter().cloned())).map_err(named)
}

/// The table, its version and the number of its files, for people.
pub fn told(table: &Table) -> String {
    let files = counted(table.files.len() as u64, "file");
    format!("{}, {}: {files}", table.of.address, table.of.version_told())
}
