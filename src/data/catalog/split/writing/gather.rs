//! Rows that wait here until they are worth a statement: each already has its `sys__id`, so the order in which they are sent
//! makes no difference.

use std::collections::BTreeMap;

use super::encode::Column;
use crate::catalog::VersionInfo;
use crate::catalog::write::Refused;
use dcfs_core::cell::Cell;

/// Rows that are sent together at most.
const ROWS: u64 = 1 << 20;

/// Bytes that are sent together, about.
const BYTES: usize = 32 << 20;

/// What waits.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Rows of no version: `sys__id`, then each column.
    pub new: Vec<u8>,
    /// Rows of another catalog: `sys__id`, `sys__rand`, then each column.
    pub kept: Vec<u8>,
    pub taken: BTreeMap<VersionKey, Taken>,
    rows: u64,
    bytes: usize,
}

/// The version that rows are taken from, by its uuid and key, and the columns that have other values.
pub type VersionKey = (String, i64, Vec<String>);

/// Rows of a version.
#[derive(Debug)]
pub struct Taken {
    pub of: VersionInfo,
    /// `sys__id` here, `sys__id` there, then the other values.
    pub body: Vec<u8>,
    pub first: i64,
    pub last: i64,
}

impl Gathered {
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether it is time to send them.
    pub fn is_full(&self) -> bool {
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// Adds a row of no version, whose `sys__rand` is made there or kept; missing cells are NULL.
    pub fn add(
        &mut self,
        (at, rand): (i64, Option<Cell<'_>>),
        columns: &[Column],
        cells: &[Cell<'_>],
    ) -> Result<(), Refused> {
        if at < 0 {
            return Err(Refused::Id(at));
        }
        let body = if rand.is_some() { &mut self.kept } else { &mut self.new };
        let before = body.len();
        body.extend(at.to_le_bytes());
        match rand {
            None => {}
            Some(Cell::Integer(rand)) => body.extend(rand.to_le_bytes()),
            Some(_) => body.extend(0i64.to_le_bytes()),
        }
        put(columns.iter(), cells, body)?;
        self.bytes += body.len() - before;
        self.rows += 1;
        Ok(())
    }

    /// Adds the row `id` of a version, with `cells` in place of its own in `columns`.
    pub fn take(
        &mut self,
        (at, of, id): (i64, &VersionInfo, i64),
        columns: &[&Column],
        cells: &[Cell<'_>],
    ) -> Result<(), Refused> {
        let names = columns.iter().map(|column| column.name.clone()).collect();
        let taken = self
            .taken
            .entry((of.uuid.clone(), of.id.key(), names))
            .or_insert_with(|| Taken { of: of.clone(), body: Vec::new(), first: id, last: id });
        let before = taken.body.len();
        taken.body.extend(at.to_le_bytes());
        taken.body.extend(id.to_le_bytes());
        put(columns.iter().copied(), cells, &mut taken.body)?;
        (taken.first, taken.last) = (taken.first.min(id), taken.last.max(id));
        self.bytes += taken.body.len() - before;
        self.rows += 1;
        Ok(())
    }
}

fn put<'c>(
    columns: impl Iterator<Item = &'c Column>,
    cells: &[Cell<'_>],
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    for (at, column) in columns.enumerate() {
        column.put(cells.get(at).unwrap_or(&Cell::Null), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_below_zero_are_refused() {
        let mut gathered = Gathered::default();
        for at in [-1, i64::MIN] {
            assert_eq!(gathered.add((at, Some(Cell::Integer(1))), &[], &[]), Err(Refused::Id(at)));
        }
        assert!(gathered.is_empty());
        assert_eq!(gathered.add((0, None), &[], &[]), Ok(()));
        assert!(!gathered.is_empty());
    }
}
