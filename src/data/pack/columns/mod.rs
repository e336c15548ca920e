//! Packed columns: the cells of one database column in row order, as buffers that a filter reads as
//! a whole.
//!
//! A column is packed the first time that a filter needs it, several in one pass over the rows. It
//! is a folder of its own in `columns/` of the pack: the buffers, then a manifest with their
//! lengths and checksums, published by one rename. It takes no memory of the mount: buffers are
//! mapped.
//!
//! | file | what lives there |
//! |---|---|
//! | [`piece`] | some rows of one column, packed in memory |
//! | [`sink`] | writes pieces to files: numbers, bits, texts, vectors |
//! | [`pass`] | one pass over the rows, on all cores, in order |
//! | [`stored`] | opens and verifies the files |

mod pass;
mod piece;
mod sink;
mod stored;

use dcfs_disk::private;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use self::stored::Stored;
pub use self::stored::{FORMAT, files};
use super::error::PackError;
use super::folder::{self, Staging, Turn};
use super::shared::{self, Shared};
use super::{Pack, Result};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::expr::packed::{Packed, Valid};
use dcfs_core::expr::{Column, Form};

/// The folder of columns beside the buffers of a pack.
pub const FOLDER: &str = "columns";

/// The database column of ids, which the pack has without a file.
const ID: &str = "sys__id";

/// A column, and its packed form.
type ColumnKey = (String, Form);

/// The columns of one pack that were used.
#[derive(Debug, Default)]
pub struct Columns {
    open: Mutex<HashMap<ColumnKey, Arc<Stored>>>,
    /// Held while packing: another thread that wants the same waits, and finds it done.
    packing: Mutex<()>,
}

/// Some columns of a pack, ready to be read.
#[derive(Debug)]
pub struct Open<'p> {
    pack: &'p Pack,
    columns: HashMap<ColumnKey, Arc<Stored>>,
}

/// Columns owned together with their pack, by their index in the request: for callers that outlive
/// a borrow of the pack.
#[derive(Debug)]
pub struct Held {
    pack: Arc<Pack>,
    columns: Vec<(Form, Option<Arc<Stored>>)>,
}

impl Held {
    /// The requested column `index`.
    pub fn get(&self, index: usize) -> Packed<'_> {
        match self.columns.get(index) {
            None => Packed::Null,
            Some((form, None)) => ids(&self.pack, *form),
            Some((_, Some(stored))) => stored.packed(),
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.pack.rows as usize
    }

    /// The pack of the columns.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// Reports a damaged column: the whole pack is rebuilt.
    pub fn distrust(&self) {
        self.pack.damage.mark("a packed column cannot be read");
    }
}

/// The column of ids.
fn ids(pack: &Pack, form: Form) -> Packed<'_> {
    if form == Form::Presence {
        return Packed::Presence(Valid::ALL);
    }
    // `Pack::packed` has brought them.
    let Some(ids) = pack.known_ids() else {
        pack.damage.mark("its ids were not brought");
        return Packed::Null;
    };
    match &ids.map {
        None => Packed::Sequence(ids.first),
        Some(map) => Packed::Ints(map.as_ref().as_chunks().0, Valid::ALL),
    }
}

impl Columns {
    fn lock(&self) -> MutexGuard<'_, HashMap<ColumnKey, Arc<Stored>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pack {
    /// The columns `wanted`, after packing missing ones. Calls `each` now and then with the number
    /// of rows read.
    ///
    /// # Errors
    /// Errors of the catalog; a cache that cannot be written to; [`dcfs_core::error::Kind::Stale`]
    /// if the rows are not those that were packed.
    pub fn packed(
        &self,
        catalog: &Catalog,
        of: &VersionInfo,
        wanted: &[&Arc<Column>],
        each: &(dyn Fn(u64) + Sync),
    ) -> Result<Open<'_>> {
        if wanted.iter().any(|column| column.column == ID && column.form != Form::Presence) {
            self.ids()?;
        }
        let mut columns = HashMap::new();
        let key = |column: &Column| (column.column.clone(), column.form);
        let needed = wanted.iter().filter(|column| !self.knows(column));
        let mut missing: Vec<&Arc<Column>> = Vec::new();
        for column in needed {
            match self.find(&key(column), false)? {
                Some(stored) => drop(columns.insert(key(column), stored)),
                None if missing.iter().any(|other| key(other) == key(column)) => {}
                None => missing.push(column),
            }
        }
        let new = match missing.is_empty() {
            true => Vec::new(),
            false => self.pack_missing(catalog, of, &missing, each)?,
        };
        for column in missing {
            let stored = self.find(&key(column), new.contains(&key(column)))?;
            let lost = || PackError::damaged(format!("its column `{}` is gone", column.column));
            columns.insert(key(column), stored.ok_or_else(lost)?);
        }
        Ok(Open { pack: self, columns })
    }

    /// Whether a column is already packed.
    pub fn is_packed(&self, column: &Column) -> bool {
        self.knows(column)
            || matches!(self.find(&(column.column.clone(), column.form), false), Ok(Some(_)))
    }

    /// Whether a column needs no file.
    fn knows(&self, column: &Column) -> bool {
        column.column == ID
    }

    /// The column, if it is packed. A new one was just written, so its checksums are not verified.
    fn find(&self, key: &ColumnKey, is_new: bool) -> Result<Option<Arc<Stored>>> {
        if let Some(stored) = self.packed.lock().get(key) {
            return Ok(Some(stored.clone()));
        }
        let folder = self.folder.join(FOLDER).join(stem(key));
        let Some(stored) = Stored::open(&folder, key, self.rows, is_new)? else {
            return Ok(None);
        };
        let stored = Arc::new(stored);
        self.packed.lock().insert(key.clone(), stored.clone());
        Ok(Some(stored))
    }

    /// Fetches a column that another host shared into `folder`; `false` if there is none.
    fn fetch_column(&self, shared: &Shared, folder: &Path, stem: &str) -> Result<bool> {
        let staging = Staging::create(folder)?;
        if !shared.fetch(&shared::of_column(&self.name(), stem), staging.path())? {
            return Ok(false);
        }
        staging.publish(folder)?;
        Ok(true)
    }

    /// Packs the columns that nobody else packs meanwhile, and returns which.
    fn pack_missing(
        &self,
        catalog: &Catalog,
        of: &VersionInfo,
        missing: &[&Arc<Column>],
        each: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<ColumnKey>> {
        let _held = self.packed.packing.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = self.folder.join(FOLDER);
        private::folder(&columns).map_err(PackError::from)?;
        folder::clean(&columns);
        let is_there = |column: &&&Arc<Column>| {
            columns.join(stem(&(column.column.clone(), column.form))).exists()
        };
        let _turn = Turn::wait(&columns, || missing.iter().all(|column| is_there(&column)))?;
        let mut absent = Vec::new();
        for column in missing.iter().filter(|column| !is_there(column)) {
            let stem = stem(&(column.column.clone(), column.form));
            match self.shared.as_ref() {
                Some(shared) if self.fetch_column(shared, &columns.join(&stem), &stem)? => {}
                _ => absent.push(*column),
            }
        }
        let missing = absent;
        if !missing.is_empty() {
            pass::pack(self, catalog, of, &missing, &columns, each)?;
            if let Some(shared) = self.shared.as_ref().filter(|shared| shared.may_write()) {
                let stems = missing.iter().map(|c| stem(&(c.column.clone(), c.form)));
                let name = self.name();
                let new = stems.map(|stem| (shared::of_column(&name, &stem), columns.join(&stem)));
                shared.share_later(new.collect(), stored::files);
            }
        }
        Ok(missing.iter().map(|column| (column.column.clone(), column.form)).collect())
    }
}

impl Open<'_> {
    /// A column in the requested form.
    pub fn get(&self, column: &Column) -> Packed<'_> {
        if column.column == ID {
            return ids(self.pack, column.form);
        }
        let stored = self.columns.get(&(column.column.clone(), column.form));
        stored.map_or(Packed::Null, |stored| stored.packed())
    }

    /// The columns `wanted`, in that order, owned together with `pack`.
    pub fn hold(&self, pack: &Arc<Pack>, wanted: &[Arc<Column>]) -> Held {
        let stored = |column: &Arc<Column>| {
            let stored = self.columns.get(&(column.column.clone(), column.form));
            (column.form, stored.cloned())
        };
        Held { pack: pack.clone(), columns: wanted.iter().map(stored).collect() }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.pack.rows as usize
    }

    /// Reports a damaged column: the whole pack is rebuilt.
    pub fn distrust(&self) {
        self.pack.damage.mark("a packed column cannot be read");
    }
}

/// The packed columns of the pack in `folder`, by the names of their folders.
pub fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder.join(FOLDER)).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    // Names with a dot are drafts or locks.
    named.filter(|(name, path)| !name.contains('.') && path.is_dir()).collect()
}

/// The name of a column's folder: does not contain a stranger's name.
fn stem((column, form): &ColumnKey) -> String {
    let hash: String = Sha256::digest(column)[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("{form:?}-{hash}").to_lowercase()
}
