//! The rows that files of position deletes tell: a path and a position each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use roaring::RoaringTreemap;
use sha2::{Digest as _, Sha256};

use super::super::view::Stored;
use super::super::{Reach, SourceFile, wrong};
use crate::load::parquet;
use crate::load::records::Record;
use dcfs_core::error::Result;
use dcfs_core::hex::hex;

/// The most bytes that the deleted rows of a snapshot take in memory, about.
const MOST: u64 = 1 << 30;

/// The bytes of a position: rows of other files count too, as they are read.
const EACH: u64 = 2;

/// The bytes of the first position in 65,536 rows, which have a container of their own.
const FIRST: u64 = 256;

/// Deleted positions, by the file that they are in and the number of the commit that deleted them.
#[derive(Debug, Default)]
pub struct Deletes {
    files: HashMap<String, Vec<(i64, RoaringTreemap)>>,
    /// In bytes of memory.
    cost: u64,
}

/// The positions of one file.
#[derive(Debug)]
pub struct Positions(Arc<RoaringTreemap>);

impl Positions {
    /// Tells these from others.
    pub fn digest(&self) -> String {
        let mut bytes = Vec::new();
        // A vector takes all that is written to it.
        let _ = self.0.serialize_into(&mut bytes);
        hex(&Sha256::digest(&bytes)[..16])
    }
}

impl Stored for Positions {
    fn positions(&self, _: u64) -> Result<Arc<RoaringTreemap>, String> {
        Ok(self.0.clone())
    }
}

impl Deletes {
    /// Reads a file of deletes of a commit. Rows of other files than those of `data` are skipped: such files are gone.
    ///
    /// # Errors
    /// A file that is damaged, or is none of deletes; too many rows; errors of the store.
    pub fn add(
        &mut self,
        file: &SourceFile,
        sequence: i64,
        data: &HashSet<&str>,
        reach: &dyn Reach,
    ) -> Result<()> {
        let opened = file.open(&|object| reach.fetch(object))?;
        // Rows are in the order of their paths and positions, by the format.
        let mut last = None;
        parquet::each(opened, &file.shown, None, &mut |row, record| {
            let Record::Json(fields) = record else { return Ok(()) };
            let path = fields.get("file_path").and_then(|path| path.as_str());
            let position = fields.get("pos").and_then(|position| position.as_u64());
            let position = position.filter(|position| *position <= u64::from(u32::MAX));
            let (Some(path), Some(position)) = (path, position) else {
                return Err(wrong(&file.shown, format!("row {row} is no deleted position")).into());
            };
            self.cost += EACH;
            if self.cost > MOST {
                let what = "the table has too many deleted rows; rewrite its data files first";
                return Err(wrong(&file.shown, what).into());
            }
            let Some(path) = data.get(path).copied() else { return Ok(()) };
            let place = Some((path, position >> 16));
            if place != last {
                self.cost += FIRST;
                last = place;
            }
            let commits = match self.files.get_mut(path) {
                Some(commits) => commits,
                None => self.files.entry(path.to_owned()).or_default(),
            };
            match commits.last_mut() {
                Some((of, positions)) if *of == sequence => drop(positions.insert(position)),
                _ => commits.push((sequence, RoaringTreemap::from_iter([position]))),
            }
            Ok(())
        })
    }

    /// The deleted rows of a file that a commit added: deletes apply to what was there before them, or came with them.
    pub fn of(&self, path: &str, sequence: i64) -> Option<Arc<Positions>> {
        let commits = self.files.get(path)?;
        let all = commits.iter().filter(|(of, _)| *of >= sequence);
        let all = all.fold(RoaringTreemap::new(), |all, (_, positions)| all | positions);
        (!all.is_empty()).then(|| Arc::new(Positions(Arc::new(all))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_apply_to_what_was_there_before() {
        let commits =
            vec![(3, RoaringTreemap::from_iter([1])), (5, RoaringTreemap::from_iter([2]))];
        let deletes = Deletes { files: HashMap::from([("a".to_owned(), commits)]), cost: 4 };
        let of = |path, sequence| {
            let positions = deletes.of(path, sequence)?.positions(9).ok()?;
            Some(positions.iter().collect::<Vec<u64>>())
        };
        assert_eq!(of("a", 2), Some(vec![1, 2]));
        assert_eq!(of("a", 3), Some(vec![1, 2]));
        assert_eq!(of("a", 4), Some(vec![2]));
        assert_eq!((of("a", 6), of("b", 1)), (None, None));
    }
}
