//! The objects behind entries, verified to be those that were packed.

use super::{Pack, Result};
use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::id::EntryId;
use dcfs_core::object::Object;

impl Pack {
    /// The object of an entry of `of`: put together from the pack if a row of the catalog would cost a
    /// request, else its row; `None` if the row now names none, or a different one from the packed one.
    /// Blocks.
    ///
    /// # Errors
    /// Damage; errors of the catalog.
    pub fn object(
        &self,
        catalog: &Catalog,
        of: &VersionInfo,
        entry: EntryId,
    ) -> Result<Option<Object>> {
        if catalog.is_far() {
            catalog.check(of)?;
            if let Some(object) = self.recorded(entry)? {
                return Ok(Some(object));
            }
        }
        let row = self.first_row(entry)?;
        let Some(column) = self.columns().get(usize::from(self.column_of(entry)?)) else {
            return Ok(None);
        };
        self.proven(entry, catalog.object(of, &column.file, row)?)
    }

    /// The objects of some entries of `of`, those that are asked of the catalog together; `None` as for
    /// [`Pack::object`]. Blocks.
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
        let mut objects = match catalog.is_far() {
            true => {
                catalog.check(of)?;
                entries.iter().map(|entry| self.recorded(*entry)).collect::<Result<Vec<_>>>()?
            }
            false => vec![None; entries.len()],
        };
        let mut unknown: Vec<(&mut Option<Object>, EntryId)> = objects
            .iter_mut()
            .zip(entries.iter().copied())
            .filter(|(object, _)| object.is_none())
            .collect();
        let rows: Result<Vec<_>> =
            unknown.iter().map(|(_, entry)| self.first_row(*entry)).collect();
        let rows = rows?;
        if !rows.is_empty() {
            for ((slot, entry), object) in
                unknown.iter_mut().zip(catalog.objects(of, &column.file, &rows)?)
            {
                **slot = self.proven(*entry, object)?;
            }
        }
        Ok(objects)
    }

    /// The object that the catalog names for an entry, if it is the packed one.
    fn proven(&self, entry: EntryId, object: Option<Object>) -> Result<Option<Object>> {
        let identity = self.facts(entry)?.identity;
        let object = object.filter(|object| object.identity().short() == identity);
        if let Some(object) = &object {
            self.learn(self.column_of(entry)?, &object.source);
        }
        Ok(object)
    }
}
