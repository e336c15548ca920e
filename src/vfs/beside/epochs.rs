//! `_views/epochs/<seed>/<n>.txt` and `.jsonl`: the files of a view in the random order of an epoch, for samplers.
//!
//! `<seed>/shard=<rank>/<world>/<n>.txt` has every `<world>`th line, starting at `<rank>`. Lines are computed
//! when they are read: cached are the length of each, once for all epochs, and the offset of every [`BLOCK`]th
//! line of an epoch. Whoever opens a list is likely to open its files: they are prefetched, as those of a
//! directory are.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use dcfs_core::cancel;
use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::id::EntryId;
use dcfs_core::loader::options::digits;
use dcfs_core::loader::permutation::Permutation;
use dcfs_core::render::rows::json;
use dcfs_core::schema::Schema;

use super::{At, Directory, Narrowing, Shape, entry, inode};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::Place;
use crate::tables::{Content, Made};
use crate::views::{Kind, Step, ViewStep};
use crate::{Entry, Error, Vfs};

/// Random orders of files.
pub struct Epochs;

const NUMBER: u8 = 6;

/// Kinds of nodes: the top; a list of paths, and one of rows, by the number of the epoch.
const TXT: u8 = 1;
const JSONL: u8 = 2;

/// Kinds of views, all with the same rows: a seed; below it a rank; below that a world size.
const SEED: u8 = 0;
const RANK: u8 = 1;
const WORLD: u8 = 2;

/// Number of lines between two known offsets.
const BLOCK: u64 = 1024;

impl Directory for Epochs {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "epochs"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## epochs/\n\n\
         The files in the random order of an epoch, the same on every machine: a path on each line of `<seed>/<epoch>.txt`, and\n\
         `sys__id` with it in `.jsonl`. `<seed>/shard=<rank>/<world>/<epoch>.txt` has the lines of one of so many readers:\n\n    \
         head epochs/42/0.txt\n    \
         wc -l epochs/42/shard=0/8/0.txt\n"
            .into()
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, TXT | JSONL) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let Some(seed) = std::str::from_utf8(name).ok().and_then(digits) else {
            return Ok(entry(None));
        };
        Ok(Entry::Found(at.view(step(SEED, seed))?))
    }

    fn size(&self, at: At<'_>) -> Result<u64> {
        Ok(lines(at)?.size())
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let lines = lines(at)?;
        if at.place.names_files() {
            at.vfs.told(at.place, at.own().number(), || lines.entries())?;
        }
        Ok(Handle::Table(Arc::new(Content::Made(lines))))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        match node.kind {
            TXT => format!("/{}.txt", node.number),
            JSONL => format!("/{}.jsonl", node.number),
            _ => "/_views/epochs".into(),
        }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Epochs {
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Own
    }

    fn narrows(&self, _step: ViewStep) -> bool {
        false
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        if step.kind == SEED { inode(NUMBER, parent, 0, 0) } else { Inode::View(parent) }
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let above = vfs.view_path(parent)?;
        Some(match step.kind {
            SEED => format!("{above}/_views/epochs/{}", step.number),
            RANK => format!("{above}/shard={}", step.number),
            _ => format!("{above}/{}", step.number),
        })
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        let Some((name, made)) = std::str::from_utf8(name).ok().zip(place.view.made()) else {
            return Ok(entry(None));
        };
        let node = ViewNode { directory: NUMBER, kind: 0, number: 0 };
        let at = At::new(vfs, place, node);
        if made.kind == RANK {
            let world =
                digits(name).filter(|world| *world > made.number && *world <= u32::MAX.into());
            return Ok(entry(world.map(|world| at.view(step(WORLD, world))).transpose()?));
        }
        if let Some(rank) = name.strip_prefix("shard=").filter(|_| made.kind == SEED) {
            let rank = digits(rank).filter(|rank| *rank < u32::MAX.into());
            return Ok(entry(rank.map(|rank| at.view(step(RANK, rank))).transpose()?));
        }
        let (number, kind) = match name.split_once('.') {
            // A list of paths would be empty if no row names a file.
            Some((number, "txt")) if place.names_files() => (number, TXT),
            Some((number, "jsonl")) => (number, JSONL),
            _ => return Ok(entry(None)),
        };
        let epoch = digits(number).and_then(|epoch| u32::try_from(epoch).ok());
        Ok(entry(epoch.map(|epoch| at.file(kind, epoch)).transpose()?))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        // There are infinitely many epochs: they can be looked up but are not listed.
        Ok(Listing::known(vfs, (place.view.own, place.view.up), Vec::new()))
    }
}

fn step(kind: u8, number: u64) -> ViewStep {
    ViewStep { directory: NUMBER, kind, number, text: None }
}

fn lines(at: At<'_>) -> Result<Arc<Lines>> {
    at.kept(at.node, Lines::weight, || Lines::new(at))
}

/// The part of an epoch to list.
struct Reader {
    seed: u64,
    rank: u64,
    world: u64,
    /// The view of the seed, whose lists share the lengths of lines.
    slot: Slot,
}

impl Reader {
    /// Reads it from the views around a list.
    fn of(at: At<'_>) -> Result<Self> {
        let mut reader = Self { seed: 0, rank: 0, world: 1, slot: at.place.slot };
        let mut view = at.place.view.clone();
        while let Some((parent, Step::Beside(step))) = view.from {
            match step.kind {
                WORLD => reader.world = step.number,
                RANK => reader.rank = step.number,
                _ => {
                    reader.seed = step.number;
                    return Ok(reader);
                }
            }
            reader.slot = parent;
            view = at.vfs.views.get(parent).ok_or_else(|| at.unknown())?;
        }
        Err(at.unknown())
    }
}

/// The rows with a line, by their positions in the view, and the lengths of the lines.
#[derive(Debug)]
struct Files {
    positions: Vec<u32>,
    lengths: Vec<u32>,
}

impl Files {
    fn new(at: At<'_>) -> Result<Self> {
        let source = at.place.source(at.vfs)?;
        let mut files = Self { positions: Vec::new(), lengths: Vec::new() };
        let mut line = Vec::new();
        for row in source.places(0..=u32::MAX) {
            cancel::check()?;
            line.clear();
            if write(at.place, at.node.kind, row.position, row.ordinal, &mut line)? {
                files.positions.push(row.position);
                files.lengths.push(u32::try_from(line.len()).unwrap_or(u32::MAX));
            }
        }
        Ok(files)
    }

    fn weight(&self) -> usize {
        self.positions.len() * 8
    }
}

/// Appends the line of a row, if it has one: rows without a file have none if others have files.
fn write(place: &Place, kind: u8, position: u32, ordinal: u32, out: &mut Vec<u8>) -> Result<bool> {
    let path = match place.names_files() {
        true => place.path_of(0, position, ordinal)?,
        false => None,
    };
    if path.is_none() && place.names_files() {
        return Ok(false);
    }
    let path = path.unwrap_or_default();
    if kind == TXT {
        if path.contains(&b'\n') {
            let text = "a path has a line break in it: read `.jsonl`, not `.txt`";
            return Err(error::Error::new(ErrorKind::Invalid, text));
        }
        out.extend_from_slice(&path);
    } else {
        let id = place.pack.row_id(ordinal)?.map_or(0, |id| id.key());
        out.extend_from_slice(format!("{{\"sys__id\": {id}").as_bytes());
        if place.names_files() {
            out.extend_from_slice(b", \"path\": ");
            json::string(out, &path);
        }
        out.push(b'}');
    }
    out.push(b'\n');
    Ok(true)
}

/// A list with random access.
#[derive(Debug)]
struct Lines {
    place: Place,
    kind: u8,
    files: Arc<Files>,
    order: Permutation,
    rank: u64,
    world: u64,
    /// The offset of every block of lines, and the end.
    starts: Vec<u64>,
    lines: u64,
}

impl Lines {
    fn new(at: At<'_>) -> Result<Self> {
        let reader = Reader::of(at)?;
        let node = ViewNode { number: u32::MAX, kind: at.node.kind + FILES, ..at.node };
        let files = at.kept_of(reader.slot, node, Files::weight, || Files::new(at))?;
        let count = files.positions.len() as u64;
        let mut lines = Self {
            place: at.place.clone(),
            kind: at.node.kind,
            order: Permutation::new(reader.seed, at.node.number, count),
            rank: reader.rank,
            world: reader.world,
            lines: count.saturating_sub(reader.rank).div_ceil(reader.world),
            files,
            starts: Vec::new(),
        };
        let mut end = 0;
        for line in 0..lines.lines {
            if line % BLOCK == 0 {
                lines.starts.push(end);
            }
            end += u64::from(lines.files.lengths[lines.file(line)]);
        }
        lines.starts.push(end);
        Ok(lines)
    }

    fn weight(&self) -> usize {
        self.starts.len() * 8 + 256
    }

    /// The entries of the files, line by line.
    fn entries(&self) -> Result<Vec<EntryId>> {
        let entry = |line| {
            let position = self.files.positions[self.file(line)];
            let ordinal = self.place.ranking().map_or(Some(position), |all| all.row(position));
            ordinal.map_or(Ok(None), |ordinal| self.place.pack.entry_of(0, ordinal))
        };
        (0..self.lines).filter_map(|line| entry(line).transpose()).collect()
    }

    /// The index of the file of a line.
    fn file(&self, line: u64) -> usize {
        self.order.at(self.rank + line * self.world) as usize
    }
}

/// Only a cache key: the lengths of the lines of a kind.
const FILES: u8 = 8;

impl Made for Lines {
    fn size(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let end = offset.saturating_add(length.into()).min(self.size());
        if offset >= end {
            return Ok(Bytes::new());
        }
        let block = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut at = self.starts[block];
        let mut out = BytesMut::with_capacity((end - offset) as usize);
        let mut text = Vec::new();
        for line in block as u64 * BLOCK..self.lines {
            if at >= end {
                break;
            }
            let file = self.file(line);
            let next = at + u64::from(self.files.lengths[file]);
            if next > offset {
                text.clear();
                let position = self.files.positions[file];
                let ordinal = self.place.ranking().map_or(Some(position), |all| all.row(position));
                let ordinal = ordinal.ok_or(Error::Unknown(self.place.view.own.number()))?;
                write(&self.place, self.kind, position, ordinal, &mut text)?;
                if text.len() as u64 != next - at {
                    let text = "the rows have changed since they were measured; mount again";
                    return Err(error::Error::new(ErrorKind::Broken, text));
                }
                let from = offset.saturating_sub(at) as usize;
                let to = (end - at).min(text.len() as u64) as usize;
                out.extend_from_slice(&text[from..to]);
            }
            at = next;
        }
        Ok(out.freeze())
    }
}
