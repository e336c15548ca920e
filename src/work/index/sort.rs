//! An external sort of items: full arenas become sorted runs in an unnamed file, which are merged
//! while they are read. Another thread sorts and writes one arena while the next one fills.
//!
//! Unlike `pack::sort`, which sorts the records of a pack, maps its runs, and shares one budget
//! over columns, memory stays bounded here while runs are read, too: a buffer for each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::item::{self, Item};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_data::pack::home::{cannot_write, nameless};

/// The size of an arena in bytes; there are two.
pub const ARENA: usize = 48 << 20;

/// Bytes buffered of a run while it is read.
const BUFFER: usize = 256 << 10;

/// Takes items in any order.
pub struct Sorter {
    folder: PathBuf,
    limit: usize,
    arena: Arena,
    spilling: Option<Spilling>,
}

/// The thread that writes a run; it returns the file and the arena.
type Spilling = JoinHandle<io::Result<(Spill, Arena)>>;

impl Sorter {
    /// `folder` is for runs, which are in unnamed files.
    pub fn new(folder: &Path) -> Self {
        Self::with_limit(folder, ARENA)
    }

    fn with_limit(folder: &Path, limit: usize) -> Self {
        let folder = folder.to_owned();
        Self { folder, limit, arena: Arena::default(), spilling: None }
    }

    /// Adds the item that `write` appends with [`item::write`].
    ///
    /// # Errors
    /// A folder that cannot be written to, a full disk.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        self.arena.starts.push(self.arena.bytes.len());
        write(&mut self.arena.bytes);
        match self.arena.bytes.len() < self.limit {
            true => Ok(()),
            false => self.hand_over(),
        }
    }

    fn hand_over(&mut self) -> Result<()> {
        let (mut spill, spare) = match self.spilling.take() {
            None => (self.written(Spill::create(&self.folder))?, Arena::default()),
            Some(thread) => self.joined(thread)?,
        };
        let mut full = std::mem::replace(&mut self.arena, spare);
        let work = move || {
            full.sort();
            spill.write(&full)?;
            full.clear();
            Ok((spill, full))
        };
        let thread = std::thread::Builder::new().name("dcfs-sort".into()).spawn(work);
        self.spilling = Some(thread.map_err(|error| Error::new(Kind::Broken, error))?);
        Ok(())
    }

    fn joined(&self, thread: Spilling) -> Result<(Spill, Arena)> {
        let died = |_| Error::new(Kind::Broken, "the sorting thread panicked");
        self.written(thread.join().map_err(died)?)
    }

    fn written<T>(&self, done: io::Result<T>) -> Result<T> {
        done.map_err(|error| cannot_write(&self.folder, error))
    }

    /// All items in order.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub fn finish(mut self) -> Result<Sorted> {
        let spilling = self.spilling.take();
        let spilled = spilling.map(|thread| self.joined(thread)).transpose()?;
        self.arena.sort();
        let Some((mut spill, _)) = spilled else {
            return Ok(Sorted::Memory(Arc::new(self.arena)));
        };
        self.written(spill.write(&self.arena))?;
        Ok(Sorted::Spilled(Arc::new(spill)))
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
pub struct Arena {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Arena {
    fn sort(&mut self) {
        let bytes = &self.bytes;
        // A sort that detects runs: items that arrive in order take one comparison each.
        self.starts.sort_by(|one, other| item::order(&bytes[*one..], &bytes[*other..]));
    }

    fn get(&self, start: usize) -> &[u8] {
        let rest = &self.bytes[start..];
        &rest[..item::length(rest).unwrap_or(0).min(rest.len())]
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }
}

/// Sorted runs, one after another in one file.
pub struct Spill {
    file: File,
    end: u64,
    runs: Vec<Range<u64>>,
}

impl Spill {
    fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: nameless(folder)?, end: 0, runs: Vec::new() })
    }

    fn write(&mut self, arena: &Arena) -> io::Result<()> {
        let start = self.end;
        let mut to = io::BufWriter::with_capacity(BUFFER, &self.file);
        for at in &arena.starts {
            let item = arena.get(*at);
            to.write_all(item)?;
            self.end += item.len() as u64;
        }
        to.flush()?;
        self.runs.push(start..self.end);
        Ok(())
    }
}

/// All items in order; can be read repeatedly.
#[derive(Clone)]
pub enum Sorted {
    Memory(Arc<Arena>),
    Spilled(Arc<Spill>),
}

impl Sorted {
    /// All of them.
    ///
    /// # Errors
    /// The written runs cannot be read.
    pub fn items(&self) -> Result<Merged> {
        match self {
            Self::Memory(arena) => Ok(Merged::Memory(Arc::clone(arena), 0)),
            Self::Spilled(spill) => Merged::of(spill).map_err(unreadable),
        }
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::new(Kind::Broken, format!("what was sorted cannot be read: {error}"))
}

/// A sequence of items in order.
pub enum Merged {
    Memory(Arc<Arena>, usize),
    Runs(BinaryHeap<Reverse<(Item, usize)>>, Vec<Run>),
}

impl Merged {
    fn of(spill: &Arc<Spill>) -> io::Result<Self> {
        let mut runs: Vec<Run> = spill
            .runs
            .iter()
            .map(|range| Run {
                spill: Arc::clone(spill),
                rest: range.clone(),
                held: Vec::new(),
                at: 0,
            })
            .collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next()?.map(|item| Reverse((item, number))));
        }
        Ok(Self::Runs(heads, runs))
    }
}

impl Iterator for Merged {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(arena, at) => {
                let start = *arena.starts.get(*at)?;
                *at += 1;
                Some(Ok(Item::of(arena.get(start))))
            }
            Self::Runs(heads, runs) => {
                let mut top = heads.peek_mut()?;
                let number = top.0.1;
                match runs[number].next() {
                    Ok(Some(next)) => {
                        let first = std::mem::replace(&mut top.0.0, next);
                        Some(Ok(first))
                    }
                    Ok(None) => Some(Ok(std::collections::binary_heap::PeekMut::pop(top).0.0)),
                    Err(error) => Some(Err(unreadable(error))),
                }
            }
        }
    }
}

/// A run being read.
pub struct Run {
    spill: Arc<Spill>,
    /// The bytes not read yet.
    rest: Range<u64>,
    held: Vec<u8>,
    /// The position in the buffer.
    at: usize,
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Item>> {
        loop {
            let here = &self.held[self.at..];
            let length = item::length(here);
            if let Some(length) = length.filter(|length| *length <= here.len()) {
                let item = Item::of(&here[..length]);
                self.at += length;
                return Ok(Some(item));
            }
            if self.rest.is_empty() {
                return if here.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            self.read(length.unwrap_or(0))?;
        }
    }

    /// Reads on, so that an item of `length` bytes fits.
    fn read(&mut self, length: usize) -> io::Result<()> {
        self.held.drain(..self.at);
        self.at = 0;
        let kept = self.held.len();
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        let more = BUFFER.max(length.saturating_sub(kept)).min(left);
        self.held.resize(kept + more, 0);
        self.spill.file.read_exact_at(&mut self.held[kept..], self.rest.start)?;
        self.rest.start += more as u64;
        Ok(())
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
        let long = vec!["b".repeat(3 * BUFFER), "a".repeat(2 * BUFFER), "c".into()];
        let got = sorted(1, &long);
        assert!(got[0].starts_with('a') && got[1].starts_with('b') && got[2].starts_with('c'));
        assert!(sorted(100, &[]).is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let mut sorter = Sorter::with_limit(Path::new("/nonexistent"), 1);
        let error = sorter
            .push(|out| item::write(out, b"a", [0; 4], [b""; 3]))
            .expect_err("nowhere to write");
        assert!(error.to_string().contains("`/nonexistent`"), "{error}");
    }
}
