//! Items in order: [`dcfs_disk::sort`] with items as they are written, and another thread that sorts and writes what
//! is full.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dcfs_disk::sort::{self, Run, merge};

use super::item::{self, Item};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::pack::home::cannot_write;

/// Bytes of an arena; there are two.
const ARENA: usize = 48 << 20;

/// Takes items in any order.
pub struct Sorter {
    folder: PathBuf,
    limit: usize,
    sorter: sort::Sorter<Arena>,
}

impl Sorter {
    /// `folder`: on whose disk runs are written; nothing is seen of them there.
    pub fn new(folder: &Path) -> Self {
        Self::with_limit(folder, ARENA)
    }

    fn with_limit(folder: &Path, limit: usize) -> Self {
        let sorter = sort::Sorter::beside(folder, vec![Arena::default()], Arena::default());
        Self { folder: folder.to_owned(), limit, sorter }
    }

    /// Adds the item that `write` appends with [`item::write`].
    ///
    /// # Errors
    /// A folder that cannot be written to, a full disk.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let arena = self.sorter.arena(0);
        arena.starts.push(arena.bytes.len());
        write(&mut arena.bytes);
        match arena.bytes.len() < self.limit {
            true => Ok(()),
            false => self.sorter.spill(0).map_err(|error| cannot_write(&self.folder, error)),
        }
    }

    /// All items in order.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub fn finish(self) -> Result<Sorted> {
        let lanes = sort::Sorter::finish(vec![self.sorter]);
        let mut lanes = lanes.map_err(|error| cannot_write(&self.folder, error))?;
        Ok(Sorted(lanes.pop().unwrap_or(sort::Sorted::Memory(Vec::new()))))
    }
}

/// Sorts `items`.
///
/// # Errors
/// Errors of `items`; as [`Sorter::push`].
pub fn sorted(items: impl Iterator<Item = Result<Item>>, folder: &Path) -> Result<Sorted> {
    let mut sorter = Sorter::new(folder);
    for item in items {
        let item = item?;
        sorter.push(|out| out.extend_from_slice(item.bytes()))?;
    }
    sorter.finish()
}

/// Items concatenated, and the start of each.
#[derive(Default)]
struct Arena {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Arena {
    fn get(&self, start: usize) -> &[u8] {
        let rest = &self.bytes[start..];
        &rest[..item::length(rest).unwrap_or(0).min(rest.len())]
    }
}

impl sort::Arena for Arena {
    fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        // One that knows runs: items that arrive in order cost one look.
        self.starts.sort_by(|one, other| item::order(&bytes[*one..], &bytes[*other..]));
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.starts.iter().try_for_each(|start| out.write_all(self.get(*start)))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }
}

/// All items in order, as often as they are asked for.
#[derive(Clone)]
pub struct Sorted(sort::Sorted<Arena>);

impl Sorted {
    /// All of them.
    ///
    /// # Errors
    /// Runs that cannot be read.
    pub fn items(&self) -> Result<impl Iterator<Item = Result<Item>> + Send + use<>> {
        let sources: Vec<Source> = match &self.0 {
            sort::Sorted::Memory(arenas) => {
                arenas.iter().map(|arena| Source::Memory(Arc::clone(arena), 0)).collect()
            }
            sort::Sorted::Runs(runs) => {
                runs.iter().map(|run| Source::Run(run.clone(), 0)).collect()
            }
        };
        let merged = merge(sources).map_err(unreadable)?;
        Ok(merged.map(|item| item.map_err(unreadable)))
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::new(Kind::Broken, format!("the sorted rows cannot be read again: {error}"))
}

/// Items in order: of an arena from a place in its order on, or of a run from a byte on.
enum Source {
    Memory(Arc<Arena>, usize),
    Run(Run, usize),
}

impl Iterator for Source {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(arena, at) => {
                let start = *arena.starts.get(*at)?;
                *at += 1;
                Some(Ok(Item::of(arena.get(start))))
            }
            Self::Run(run, at) => {
                let rest = run.bytes().get(*at..).filter(|rest| !rest.is_empty())?;
                let item = item::length(rest).and_then(|length| rest.get(..length));
                // Half an item is told once, for its source is dropped then.
                let Some(item) = item else { return Some(Err(Run::cut())) };
                *at += item.len();
                Some(Ok(Item::of(item)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(limit: usize, keys: &[String]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sorter = Sorter::with_limit(folder.path(), limit);
        for (number, key) in keys.iter().enumerate() {
            let numbers = [number as i64, 0, 0, 0];
            let write =
                |out: &mut Vec<u8>| item::write(out, key.as_bytes(), numbers, [b"x", b"", b"yz"]);
            sorter.push(write).expect("pushed");
        }
        let sorted = sorter.finish().expect("sorted");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        let shown = |item: Item| {
            assert_eq!(item.texts(), [&b"x"[..], b"", b"yz"]);
            format!("{}#{}", String::from_utf8_lossy(item.key()), item.numbers()[0])
        };
        let all = || -> Vec<String> {
            let items = sorted.items().expect("items");
            items.map(|item| shown(item.expect("an item"))).collect()
        };
        let first = all();
        assert_eq!(all(), first, "as often as they are asked for");
        first
    }

    #[test]
    fn any_memory_gives_the_same_order() {
        let keys: Vec<String> = (0..3000).map(|n| format!("{:03}", n * 7919 % 700)).collect();
        let mut want: Vec<(&String, usize)> =
            keys.iter().enumerate().map(|(n, key)| (key, n)).collect();
        want.sort();
        let want: Vec<String> = want.into_iter().map(|(key, n)| format!("{key}#{n}")).collect();
        for limit in [1, 1000, 20_000, usize::MAX] {
            assert_eq!(sorted(limit, &keys), want, "{limit}");
        }
        let long = vec!["b".repeat(1 << 20), "a".repeat(1 << 19), "c".into()];
        let got = sorted(1, &long);
        assert!(got[0].starts_with('a') && got[1].starts_with('b') && got[2].starts_with('c'));
        assert!(sorted(100, &[]).is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let mut sorter = Sorter::with_limit(Path::new("/nonexistent"), 1);
        let mut push = || sorter.push(|out| item::write(out, b"a", [0; 4], [b""; 3]));
        let error = (0..100).find_map(|_| push().err()).expect("nowhere to write");
        assert!(error.to_string().contains("`/nonexistent`"), "{error}");
    }
}
