//! The objects behind entries, verified to be those that were packed.

use super::Pack;
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::Result;
use dcfs_core::id::EntryId;
use dcfs_core::object::Object;

impl Pack {
    /// The objects of some entries of `of`, queried from the catalog together; `None` if the row
    /// now names none, or a different one from the packed one. Blocks.
    ///
    /// # Errors
    /// Damage; errors of the catalog.
    pub fn objects(
        &self,
        catalog: &Catalog,
        of: &VersionInfo,
        entries: &[EntryId],
    ) -> Result<Vec<Option<Object>>> {
        let column = |entry: &EntryId| self.column_of(*entry).ok();
        let groups = entries.chunk_by(|one, other| column(one) == column(other));
        let found: Result<Vec<_>> =
            groups.map(|group| self.objects_of_column(catalog, of, group)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// The same, for entries of one File column.
    fn objects_of_column(
        &self,
        catalog: &Catalog,
        of: &VersionInfo,
        entries: &[EntryId],
    ) -> Result<Vec<Option<Object>>> {
        let Some(first) = entries.first() else { return Ok(Vec::new()) };
        let column = self.columns().get(usize::from(self.column_of(*first)?));
        let Some(column) = column else { return Ok(vec![None; entries.len()]) };
        let rows: Result<Vec<_>> = entries.iter().map(|entry| self.first_row(*entry)).collect();
        let objects = catalog.objects(of, &column.file, &rows?)?;
        let proven = |(entry, object): (&EntryId, Option<Object>)| {
            let identity = self.facts(*entry)?.identity;
            Ok(object.filter(|object| object.identity().short() == identity))
        };
        entries.iter().zip(objects).map(proven).collect()
    }
}
