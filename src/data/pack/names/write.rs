//! Writes the names of a pack as blocks: one pass over its index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use fst::Streamer;

use super::block::BlockWriter;
use super::codec::common;
use super::level::LevelWriter;
use super::top::{ColumnTop, LevelTop, Spot, Top, half};
use super::{BLOCKS, IDS, PIECE, TOP, ids};
use crate::pack::column::ColumnReader;
use crate::pack::error::PackError;
use crate::pack::ids::RowIds;
use crate::pack::manifest::{self, Manifest};
use crate::pack::output::{Output, Sums};
use crate::pack::{check, open};
use dcfs_core::cancel;
use dcfs_core::id::RowId;
use dcfs_core::tree::key;

/// Entries, or directories, in a block.
pub const PER_BLOCK: usize = 1024;

/// Writes the names of the pack in `folder` into the folder `into`, which has none, with the pack's
/// manifest. Blocks have at most `per_block` entries.
///
/// # Errors
/// A damaged pack; a folder that cannot be written to.
pub fn split(folder: &Path, into: &Path, per_block: usize) -> Result<Sums, PackError> {
    let manifest = Manifest::read(folder)?;
    let readers = open::readers(folder, &manifest)?;
    let rows = open::row_ids(folder, &manifest)?;
    let mut blocks = Blocks::create(into)?;
    let columns = readers.iter().map(|reader| column(reader, &rows, &mut blocks, per_block));
    let top = Top { columns: columns.collect::<Result<_, _>>()? };
    let mut sums = Sums::new();
    if rows.map.is_some() {
        let mut out = Output::create(into.join(IDS))?;
        ids::write(&rows, &mut out)?;
        sums.insert(IDS.into(), out.finish()?.1);
    }
    // What was read is proven only now: it would be believed for ever.
    check::Checksums::open(folder, &manifest.files)?.compare(|| false)?;
    let mut out = Output::create(into.join(TOP))?;
    top.write(&mut out).map_err(PackError::write(&into.join(TOP)))?;
    let path = into.join(manifest::FILE);
    fs::copy(folder.join(manifest::FILE), &path).map_err(PackError::write(&path))?;
    sums.insert(TOP.into(), out.finish()?.1);
    sums.insert(BLOCKS.into(), blocks.out.finish()?.1);
    Ok(sums)
}

/// The top in a folder of names, for a file of blocks of `of` bytes.
pub fn read_top(folder: &Path, of: u64) -> Result<Top, PackError> {
    let path = folder.join(TOP);
    let file = dcfs_disk::regular::open(&path).map_err(PackError::read(&path))?;
    Top::read(BufReader::<File>::new(file), of)
}

/// The file of blocks. No block crosses a multiple of [`PIECE`], so each is in one shared object.
struct Blocks {
    out: Output,
}

impl Blocks {
    fn create(into: &Path) -> Result<Self, PackError> {
        Ok(Self { out: Output::create(into.join(BLOCKS))? })
    }

    fn put(&mut self, block: std::io::Result<Vec<u8>>) -> Result<Spot, PackError> {
        let block = block.map_err(PackError::write(self.out.path()))?;
        let (at, length) = (self.out.length(), block.len() as u64);
        let left = PIECE - at % PIECE;
        if length > left {
            self.out.put(&vec![0; left as usize])?;
        }
        let at = self.out.length();
        self.out.put(&block)?;
        Ok(Spot { at, length: block.len() as u32, half: half(&block) })
    }
}

/// The directories around the current entry, and the blocks of each depth.
struct Levels {
    per_block: usize,
    /// Name and first entry, outermost first.
    open: Vec<(Vec<u8>, u32)>,
    writers: BTreeMap<usize, LevelWriter>,
    tops: Vec<Vec<LevelTop>>,
}

impl Levels {
    /// Closes the directories below depth `to`, which end before the entry `end`.
    fn close(&mut self, to: usize, end: u32, blocks: &mut Blocks) -> Result<(), PackError> {
        while self.open.len() > to {
            let depth = self.open.len() - 1;
            let Some((name, first)) = self.open.pop() else { break };
            let writer = self.writers.entry(depth).or_default();
            writer.push(&name, first, end);
            if writer.count() >= self.per_block {
                self.flush(depth, blocks)?;
            }
        }
        Ok(())
    }

    /// Writes the block of a depth.
    fn flush(&mut self, depth: usize, blocks: &mut Blocks) -> Result<(), PackError> {
        let Some(writer) = self.writers.remove(&depth) else { return Ok(()) };
        let Some(first) = writer.first() else { return Ok(()) };
        let (end, count) = (writer.end(), writer.count() as u32);
        let spot = blocks.put(writer.finish())?;
        if self.tops.len() <= depth {
            self.tops.resize_with(depth + 1, Vec::new);
        }
        self.tops[depth].push(LevelTop { first, end, count, spot });
        Ok(())
    }
}

fn column(
    reader: &ColumnReader,
    rows: &RowIds,
    blocks: &mut Blocks,
    per_block: usize,
) -> Result<ColumnTop, PackError> {
    let mut top = ColumnTop::new(reader.paths.count());
    let mut levels =
        Levels { per_block, open: Vec::new(), writers: BTreeMap::new(), tops: Vec::new() };
    let mut stream = reader.paths.stream();
    let (mut writer, mut last, mut entry) = (BlockWriter::default(), Vec::new(), 0_u32);
    // Start, directories shared with the entry before, first key.
    let mut begun = (0_u32, 0_usize, Vec::new());
    while let Some((key, number)) = stream.next() {
        if number.value() != u64::from(entry) {
            return Err(PackError::damaged("its index has the wrong number of entries"));
        }
        let shared = key::depth(&key[..common(&last, key)]);
        levels.close(shared, entry, blocks)?;
        let names = key::names(key);
        let directories = key::depth(key);
        levels.open.extend(names.take(directories).skip(shared).map(|name| (name.to_vec(), entry)));
        if writer.count() == 0 {
            begun = (entry, shared, key.to_vec());
        }
        let mut is_known = true;
        let named = reader.ordinals(entry)?.map_while(|ordinal| {
            let id = rows.get(ordinal).map(RowId::key);
            is_known &= id.is_some();
            id
        });
        writer.push(key, reader.raw(entry)?, reader.stamp(entry)?, named);
        if !is_known {
            return Err(PackError::damaged("an entry names a row that is not there"));
        }
        if writer.is_full(per_block) {
            let spot = blocks.put(std::mem::take(&mut writer).finish())?;
            top.push(begun.0, begun.1, &begun.2, spot)?;
            cancel::check().map_err(PackError::Other)?;
        }
        last.clear();
        last.extend_from_slice(key);
        entry += 1;
    }
    if writer.count() > 0 {
        let spot = blocks.put(writer.finish())?;
        top.push(begun.0, begun.1, &begun.2, spot)?;
    }
    levels.close(0, entry, blocks)?;
    while let Some((depth, _)) = levels.writers.first_key_value() {
        levels.flush(*depth, blocks)?;
    }
    top.levels = levels.tops;
    Ok(top)
}
