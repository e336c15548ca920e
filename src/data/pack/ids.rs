//! Maps ordinals to `sys__id`s: by the first id if there are no gaps, else by a file of all.

use std::path::Path;

use super::error::PackError;
use super::output::{Output, Sum};
use dcfs_core::id::RowId;
use dcfs_disk::map::Map;

/// The file for ids with gaps: an i64 per row.
pub const FILE: &str = "rows.ids";

/// Collects the ids of a scan.
pub struct IdsWriter<'a> {
    folder: &'a Path,
    first: i64,
    last: i64,
    count: u32,
    /// Written from the first gap on; then it holds all ids.
    listed: Option<Output>,
}

impl<'a> IdsWriter<'a> {
    pub fn new(folder: &'a Path) -> Self {
        Self { folder, first: 0, last: 0, count: 0, listed: None }
    }

    /// Adds the next row and returns its ordinal.
    ///
    /// # Errors
    /// Ids that do not ascend strictly: marks of two files could be equal, and a row could not be
    /// found again.
    pub fn push(&mut self, id: RowId) -> Result<u32, PackError> {
        let (ordinal, id) = (self.count, id.key());
        self.count = ordinal.checked_add(1).ok_or(PackError::TooMany { what: "rows" })?;
        if ordinal == 0 {
            self.first = id;
        } else if id <= self.last {
            return Err(PackError::Disordered {
                before: RowId::new(self.last),
                id: RowId::new(id),
            });
        } else if self.listed.is_none() && Some(id) != self.last.checked_add(1) {
            self.listed = Some(self.list_all(ordinal)?);
        }
        self.last = id;
        if let Some(file) = &mut self.listed {
            file.put(&id.to_le_bytes())?;
        }
        Ok(ordinal)
    }

    /// Creates the file, with the `count` ids so far, which had no gap.
    fn list_all(&self, count: u32) -> Result<Output, PackError> {
        let mut file = Output::create(self.folder.join(FILE))?;
        for ordinal in 0..count {
            file.put(&(self.first + i64::from(ordinal)).to_le_bytes())?;
        }
        Ok(file)
    }

    pub fn finish(self) -> Result<(RowIds, Option<Sum>), PackError> {
        let (count, first) = (self.count, self.first);
        let Some(file) = self.listed else { return Ok((RowIds { count, first, map: None }, None)) };
        let (map, sum) = file.map()?;
        Ok((RowIds { count, first, map: Some(map) }, Some(sum)))
    }
}

/// The `sys__id` of every row.
#[derive(Debug)]
pub struct RowIds {
    /// The number of rows.
    pub(super) count: u32,
    /// The id of the first row; 0 if there are none.
    pub(super) first: i64,
    /// All ids, if they have gaps.
    pub(super) map: Option<Map>,
}

impl RowIds {
    /// Those of `count` rows that follow `first`.
    pub(super) fn without_gaps(count: u32, first: i64) -> Self {
        Self { count, first, map: None }
    }

    /// The number of rows.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The row with this ordinal; `None` if there is none.
    pub fn get(&self, ordinal: u32) -> Option<RowId> {
        if ordinal >= self.count {
            return None;
        }
        let id = match &self.map {
            Some(map) => map.i64_at(ordinal as usize),
            None => self.first.checked_add(i64::from(ordinal)),
        };
        id.map(RowId::new)
    }

    /// The ordinal of the row `id`; `None` if there is none.
    pub fn find(&self, id: RowId) -> Option<u32> {
        let guess = match &self.map {
            Some(_) => partition(self.count, |ordinal| self.get(ordinal) < Some(id)),
            None => u32::try_from(id.key().checked_sub(self.first)?).ok()?,
        };
        (self.get(guess) == Some(id)).then_some(guess)
    }
}

/// The first number below `count` for which `is_before` is false; `count` if there is none.
fn partition(count: u32, is_before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back() {
        let cases: [(&[i64], bool); 6] = [
            (&[], false),
            (&[1, 2, 3], false),
            (&[-5, -4], false),
            (&[1, 2, 4, 5], true),
            (&[i64::MIN, i64::MAX], true),
            (&[i64::MAX - 1, i64::MAX], false),
        ];
        for (ids, has_file) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            let mut writer = IdsWriter::new(folder.path());
            for (ordinal, id) in ids.iter().enumerate() {
                assert_eq!(writer.push(RowId::new(*id)).expect("rising") as usize, ordinal);
            }
            let (rows, sum) = writer.finish().expect("finished");
            assert_eq!(sum.is_some(), has_file, "{ids:?}");
            let got: Vec<_> =
                (0..ids.len() as u32 + 2).filter_map(|n| rows.get(n)).map(RowId::key).collect();
            assert_eq!(got, ids);
            for id in [i64::MIN, -5, 0, 1, 2, 3, 4, 5, 6, i64::MAX - 1, i64::MAX] {
                let want = ids.iter().position(|there| *there == id);
                assert_eq!(rows.find(RowId::new(id)).map(|n| n as usize), want, "{id} in {ids:?}");
            }
        }
    }

    #[test]
    fn ids_must_rise() {
        for ids in [[1, 1], [2, 1]] {
            let mut writer = IdsWriter::new(Path::new("/nonexistent"));
            writer.push(RowId::new(ids[0])).expect("the first");
            assert!(matches!(writer.push(RowId::new(ids[1])), Err(PackError::Disordered { .. })));
        }
    }
}
