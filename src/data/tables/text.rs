//! A table as a text file of exact size that is never held in memory or on disk.
//!
//! One pass over the rows renders them all and records where every block of some hundred kilobytes
//! begins; a read renders the blocks that it needs again. Rows never change, so the bytes are the
//! same; a block that comes out with a different length is an error, never a wrong byte.

use std::io::{Read, Write};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::chunks;
use super::paths::Paths;
use super::source::Source;
use crate::pack::home::Home;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::kept::Kept;
use dcfs_core::render::rows::{Format, Layout};

/// Bytes of text after which a block ends, at the next end of a row.
const BLOCK: usize = 256 << 10;

/// The fewest blocks for which an index is cached on disk: measuring again would take a while.
const WORTH_KEEPING: usize = 16;

/// Builds that take longer are logged.
const LONG: Duration = Duration::from_secs(1);

/// Recently rendered blocks of all tables, by table and index.
pub type Blocks = Kept<(u64, usize), Bytes>;

/// Ids of tables, for [`Blocks`]; never reused in a process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A text table, readable at any offset.
#[derive(Debug)]
pub struct TextTable {
    source: Source,
    layout: Layout,
    index: Index,
    number: u64,
    blocks: Arc<Blocks>,
}

/// The starts of a table's blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    /// The position of the first row and the offset of the first byte, ascending.
    starts: Vec<(u32, u64)>,
    size: u64,
}

impl TextTable {
    /// The table of `source` in `format`: measured by a pass over the rows, unless an earlier mount
    /// did so. Blocks meanwhile.
    ///
    /// # Errors
    /// Errors of the catalog and the pack.
    pub fn open(source: Source, format: Format, blocks: Arc<Blocks>) -> Result<Self> {
        let layout = source.layout(format);
        let home = Home::of(&source.pack, "tables");
        let stem = source.stem(&format!("{format:?}").to_lowercase());
        let index = match home.find(&stem).and_then(Index::read) {
            Some(index) => index,
            None => {
                let index = measure(&source, &layout)?;
                if index.starts.len() >= WORTH_KEEPING {
                    keep(&home, &stem, &index);
                }
                index
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { source, layout, index, number, blocks })
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.index.size
    }

    /// The bytes `offset..offset + length`, clipped at the end. Blocks.
    ///
    /// # Errors
    /// Errors of the catalog and the pack; [`Kind::Broken`] if the rows are not those measured.
    pub fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let end = offset.saturating_add(length.into()).min(self.index.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let first = self.index.block_at(offset);
        let mut out = BytesMut::new();
        for block in first..=self.index.block_at(end - 1) {
            let text = self.block(block)?;
            let start = self.index.offset(block);
            let from = offset.saturating_sub(start).min(text.len() as u64) as usize;
            let to = (end - start).min(text.len() as u64) as usize;
            if block == first && to - from == (end - offset) as usize {
                return Ok(text.slice(from..to));
            }
            out.extend_from_slice(&text[from..to]);
        }
        Ok(out.freeze())
    }

    fn block(&self, block: usize) -> Result<Bytes> {
        let found = self.blocks.get(&(self.number, block), Bytes::len, || self.render(block))?;
        Ok((*found).clone())
    }

    fn render(&self, block: usize) -> Result<Bytes> {
        let length = self.index.offset(block + 1) - self.index.offset(block);
        let mut text = Vec::with_capacity(length as usize);
        if block == 0 {
            text.extend_from_slice(self.layout.header());
        }
        let first = self.index.starts[block].0;
        let last =
            self.index.starts.get(block + 1).map_or(u32::MAX, |(next, _)| next.saturating_sub(1));
        write(&self.source, &self.layout, first..=last, &mut text, &mut |_, _| true)?;
        if text.len() as u64 != length {
            let of = &self.source.of;
            let text = format!("the rows of `{of}` are not those that were measured; mount again");
            return Err(Error::new(Kind::Broken, text));
        }
        Ok(text.into())
    }
}

/// Appends rows to `out`. After each row, calls `each` with its position; `each` may take bytes
/// from `out`, and ends the scan with `false`.
pub fn write(
    source: &Source,
    layout: &Layout,
    within: RangeInclusive<u32>,
    out: &mut Vec<u8>,
    each: &mut dyn FnMut(u32, &mut Vec<u8>) -> bool,
) -> Result<()> {
    let mut columns = layout.columns().to_vec();
    let mut paths = Paths::new(source, &mut columns)?;
    source.scan(&columns, within, &mut |at, id, cells| {
        layout.write(out, id, paths.of(at, cells)?, cells);
        let goes_on = each(at.position, out);
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
}

/// Renders every row and records where blocks begin: on all cores, chunk by chunk.
fn measure(source: &Source, layout: &Layout) -> Result<Index> {
    let started = Instant::now();
    let mut blocks = Vec::new();
    chunks::in_order(
        source.positions(),
        |within| measure_chunk(source, layout, within),
        |more| {
            blocks.extend(more);
            Ok(())
        },
    )?;
    let index = Index::of(layout.header().len() as u64, blocks.into_iter());
    let (version, rows, seconds) =
        (&source.of, source.row_count(), started.elapsed().as_secs_f32());
    if started.elapsed() > LONG {
        tracing::info!(%version, rows, bytes = index.size, seconds, "measured a table");
    }
    Ok(index)
}

/// The position of a block's first row, and its bytes.
type Block = (u32, u64);

/// The blocks of one chunk; the last may be short.
fn measure_chunk(
    source: &Source,
    layout: &Layout,
    within: RangeInclusive<u32>,
) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let (mut text, mut start) = (Vec::with_capacity(BLOCK + BLOCK / 4), *within.start());
    write(source, layout, within, &mut text, &mut |position, text| {
        if text.len() >= BLOCK {
            blocks.push((start, text.len() as u64));
            text.clear();
            start = position + 1;
        }
        true
    })?;
    if !text.is_empty() {
        blocks.push((start, text.len() as u64));
    }
    Ok(blocks)
}

/// Caches an index for later mounts. A failure to do so is not worth failing a read.
fn keep(home: &Home, stem: &str, index: &Index) {
    let kept = home.create().and_then(|mut draft| {
        draft.write_all(&index.to_bytes()).map_err(|error| Error::new(Kind::NoSpace, error))?;
        home.keep(draft, stem)
    });
    if let Err(error) = kept {
        tracing::warn!("{error}; a later mount measures the table again");
    }
}

impl Index {
    /// Builds an index from blocks in order, after a header of so many bytes, which belongs to the
    /// first block.
    fn of(header: u64, blocks: impl Iterator<Item = Block>) -> Self {
        let mut index = Self { starts: Vec::new(), size: header };
        for (first, length) in blocks {
            let offset = if index.starts.is_empty() { 0 } else { index.size };
            index.starts.push((first, offset));
            index.size += length;
        }
        if index.starts.is_empty() && header > 0 {
            index.starts.push((0, 0));
        }
        index
    }

    /// The block that contains a byte, which must be before the end.
    fn block_at(&self, offset: u64) -> usize {
        self.starts.partition_point(|(_, start)| *start <= offset).saturating_sub(1)
    }

    /// The offset of a block; the end of the table for the one after the last.
    fn offset(&self, block: usize) -> u64 {
        self.starts.get(block).map_or(self.size, |(_, offset)| *offset)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        for (first, offset) in &self.starts {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes
    }

    /// Parses the output of [`Index::to_bytes`]; [`Home`] verifies its checksum. `None` for
    /// anything else.
    fn read(mut file: impl Read) -> Option<Self> {
        let mut size = [0; 8];
        file.read_exact(&mut size).ok()?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).ok()?;
        let (starts, []) = rest.as_chunks::<12>() else { return None };
        let start = |bytes: &[u8; 12]| {
            let (first, offset) = bytes.split_at(4);
            let first = first.try_into().map(u32::from_le_bytes).unwrap_or_default();
            let offset = offset.try_into().map(u64::from_le_bytes).unwrap_or_default();
            (first, offset)
        };
        let index =
            Self { starts: starts.iter().map(start).collect(), size: u64::from_le_bytes(size) };
        index.is_sound().then_some(index)
    }

    /// Whether the blocks are contiguous from the first byte to the last.
    fn is_sound(&self) -> bool {
        let rises = |pair: &[(u32, u64)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        let begins = self.starts.first().is_none_or(|(_, offset)| *offset == 0);
        let ends = self.starts.last().map_or(self.size == 0, |(_, offset)| *offset < self.size);
        begins && ends && self.starts.windows(2).all(rises)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_tells_the_block_of_every_byte() {
        let index = Index::of(3, [(0, 10), (4, 5), (9, 1)].into_iter());
        assert_eq!(index, Index { starts: vec![(0, 0), (4, 13), (9, 18)], size: 19 });
        for (offset, block) in [(0, 0), (12, 0), (13, 1), (17, 1), (18, 2)] {
            assert_eq!(index.block_at(offset), block, "{offset}");
        }
        assert_eq!([0, 1, 2, 3].map(|block| index.offset(block)), [0, 13, 18, 19]);
        assert_eq!(Index::read(&index.to_bytes()[..]).expect("whole"), index);
        for starts in [vec![(0, 1)], vec![(0, 0), (0, 5)], vec![(0, 0), (3, 0)], vec![(0, 19)]] {
            let odd = Index { starts, size: 19 };
            assert_eq!(Index::read(&odd.to_bytes()[..]), None, "{odd:?}");
        }
        assert_eq!(Index::read(&index.to_bytes()[1..]), None);
        assert_eq!(Index::of(0, std::iter::empty()), Index::default());
        assert_eq!(Index::of(3, std::iter::empty()), Index { starts: vec![(0, 0)], size: 3 });
    }
}
