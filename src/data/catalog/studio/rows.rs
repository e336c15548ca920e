//! The warehouse of Studio: each version is a SQLite file, pulled when its rows are first read.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::{Studio, folder, pull};
use crate::catalog::error::Error;
use crate::catalog::sqlite;
use crate::catalog::sqlite::connect::Pool;
use crate::catalog::warehouse::{Each, Extent, Found, SchemaTexts, Warehouse};
use crate::catalog::{EachRow, VersionInfo, versions};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;

/// The most versions whose files stay open.
const OPEN: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// The rows of a team's versions.
pub struct Rows {
    studio: Arc<Studio>,
    open: Mutex<LruCache<String, Arc<Pulled>>>,
}

/// The file of a version, and the version in it.
struct Pulled {
    rows: sqlite::Rows,
    own: VersionInfo,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({:?})", self.studio)
    }
}

impl Rows {
    pub(super) fn new(studio: Arc<Studio>) -> Self {
        Self { studio, open: Mutex::new(LruCache::new(OPEN)) }
    }

    /// The rows of a version, pulled if they are not there.
    fn pulled(&self, of: &VersionInfo) -> Result<Arc<Pulled>, Error> {
        let dataset = self.studio.names().read(|tables| versions::alive(tables, of))?;
        let known = |open: &Self| {
            let mut open = open.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(&of.uuid).cloned()
        };
        if let Some(pulled) = known(self) {
            return Ok(pulled);
        }
        let folder = self.studio.folder.join(folder::VERSIONS);
        let file = folder.join(folder::of_version(&of.uuid)).join("db");
        let file = match file.exists() {
            true => file,
            false => pull::pull(&self.studio, of, &dataset, self.studio.described(of)?)?,
        };
        let pool = Arc::new(Pool::open(file)?);
        let all = pool.read(|tables| versions::every(tables))?;
        let own = all.into_iter().find(|own| own.uuid == of.uuid);
        let own = own.ok_or_else(|| Error::Removed(of.to_string()))?;
        let pulled = Arc::new(Pulled { rows: sqlite::Rows(pool), own });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.put(of.uuid.clone(), pulled.clone());
        Ok(pulled)
    }
}

impl Warehouse for Rows {
    fn schema_texts(&self, of: &VersionInfo) -> Result<SchemaTexts, Error> {
        self.studio.described(of)
    }

    fn examples(
        &self,
        of: &VersionInfo,
        rows: Option<&[RowId]>,
        most: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.examples(&pulled.own, rows, most)
    }

    fn scan(
        &self,
        of: &VersionInfo,
        columns: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.scan(&pulled.own, columns, within, each)
    }

    fn forget_pages(&self) -> Result<(), Error> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<Arc<Pulled>> = open.iter().map(|(_, pulled)| pulled.clone()).collect();
        drop(open);
        all.iter().try_for_each(|pulled| pulled.rows.forget_pages())
    }

    fn cells(
        &self,
        of: &VersionInfo,
        columns: &[String],
        ranges: &mut dyn Iterator<Item = RangeInclusive<RowId>>,
        each: &mut EachRow<'_>,
    ) -> Result<(), Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.cells(&pulled.own, columns, ranges, each)
    }

    fn extent(&self, of: &VersionInfo) -> Result<Extent, Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.extent(&pulled.own)
    }

    fn object(&self, of: &VersionInfo, column: &FileColumn, row: RowId) -> Result<Found, Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.object(&pulled.own, column, row)
    }

    fn objects(
        &self,
        of: &VersionInfo,
        column: &FileColumn,
        rows: &[RowId],
    ) -> Result<Vec<Option<Object>>, Error> {
        let pulled = self.pulled(of)?;
        pulled.rows.objects(&pulled.own, column, rows)
    }
}
