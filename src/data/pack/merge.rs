//! The second pass over a column: merges the entries that stayed with those that moved.
//!
//! A renamed reserved directory keeps the order of its contents, so it is another sorted source:
//! entries that stayed elsewhere, entries that stayed in each such directory, and entries that
//! moved.

use fst::Streamer;
use fst::raw::Stream;

use super::column::{ColumnReader, ColumnWriter};
use super::error::PackError;
use super::record::entries;
use super::settle::Directories;
use super::sort::Sorted;
use dcfs_core::tree::key;

/// Writes every entry of `stayed`, below `directories` under their new names, and of `moved`.
pub fn merge(
    stayed: &ColumnReader,
    directories: &Directories,
    moved: &Sorted,
    writer: &mut ColumnWriter,
) -> Result<(), PackError> {
    let mut moved = entries(moved.records()?);
    let mut waiting = moved.next().transpose()?;
    let mut sources = Source::all(stayed, directories);
    loop {
        let open = sources.iter_mut().filter(|source| !source.is_done);
        let least = open.min_by(|a, b| a.key.cmp(&b.key));
        match (least, &waiting) {
            (Some(source), next) if next.as_ref().is_none_or(|e| *source.key < *e.row.key) => {
                source.write(stayed, writer)?;
                source.advance();
            }
            (_, Some(entry)) => {
                writer.push(entry)?;
                waiting = moved.next().transpose()?;
            }
            _ => return Ok(()),
        }
    }
}

/// Entries that stayed, in order.
struct Source<'a> {
    stream: Stream<'a>,
    /// Directories left out because they are sources of their own. Empty for those.
    except: Option<&'a Directories>,
    /// The length of the prefix replaced in each key, and its replacement.
    cut: usize,
    prefix: &'a [u8],
    /// The next entry, under its new key.
    key: Vec<u8>,
    entry: u32,
    is_done: bool,
}

impl<'a> Source<'a> {
    fn all(stayed: &'a ColumnReader, directories: &'a Directories) -> Vec<Self> {
        let elsewhere = Self::new(stayed.paths.stream(), Some(directories), 0, b"");
        let renamed = directories.iter().map(|(name, renamed)| {
            Self::new(stayed.paths.stream_below(name), None, name.len(), renamed)
        });
        std::iter::once(elsewhere).chain(renamed).collect()
    }

    fn new(
        stream: Stream<'a>,
        except: Option<&'a Directories>,
        cut: usize,
        prefix: &'a [u8],
    ) -> Self {
        let key = Vec::new();
        let mut this = Self { stream, except, cut, prefix, key, entry: 0, is_done: false };
        this.advance();
        this
    }

    fn advance(&mut self) {
        while let Some((key, entry)) = self.stream.next() {
            let (top, is_below) = key::top(key);
            if is_below && self.except.is_some_and(|except| except.contains_key(top)) {
                continue;
            }
            self.key.clear();
            self.key.extend_from_slice(self.prefix);
            self.key.extend_from_slice(&key[self.cut..]);
            self.entry = entry.value() as u32;
            return;
        }
        self.is_done = true;
    }

    fn write(&self, stayed: &ColumnReader, writer: &mut ColumnWriter) -> Result<(), PackError> {
        writer.push_as(&self.key, stayed.raw(self.entry)?, stayed.stamp(self.entry)?)?;
        stayed.ordinals(self.entry)?.try_for_each(|ordinal| writer.push_row(ordinal))
    }
}
