//! `_views/webdataset/<options>/{000000..N}.tar`: shards that WebDataset, `tar` and Python's `tarfile` read, made while
//! they are read ([`tar`]).
//!
//! A row is a sample: its files, then what its columns say. Members are called `<sys__id>.<field>`, so they have no
//! second dot before the field and are contiguous:
//!
//! | field | content |
//! |---|---|
//! | `jpg` | the file of the first File column, by its ending |
//! | `mask.png` | the file of a further one, by column and ending |
//! | `json` | the row, as in `_rows.jsonl`; not with `json=no` |
//! | `cls`, `txt` | the value of the column that `cls=` or `txt=` names, where there is one |
//!
//! `index.json`, by name, lists the shards with their samples, as `wids` reads it for random access.
//!
//! Sizes come from the rows, so headers and places are arithmetic and any byte is read without those before it. Where a
//! file is no longer the one that was recorded, reads of its bytes fail and no others; the header of a file whose size no
//! row records fails as well, for what would follow it is not known.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::hex::hex;
use dcfs_core::loader::options::{self, count, digits, wrong};
use dcfs_core::loader::tar::{self, Archive, LONGEST_NAME, Member, Piece};
use dcfs_core::render::rows::Format;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::Class;
use dcfs_data::pack::home::Home;
use dcfs_data::tables::Source;
use dcfs_data::tables::paths::Paths;
use dcfs_store::{Caller, Reader};

use super::{At, Directory, Narrowing, Shape, Stands, entry, inode, text_of};
use crate::handles::{Handle, Reading, Stream};
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Item, Listing, position};
use crate::place::Place;
use crate::views::{Kind, ViewStep};
use crate::{Entry, Error, Vfs, attributes, sets};

/// Shards of samples.
pub struct WebDataset;

const NUMBER: u8 = 7;

/// The nodes: the top; a shard, by its number; in memory alone, how rows are divided; and the index.
const TOP: u8 = 0;
const SHARD: u8 = 1;
const PLAN: u8 = 2;
const INDEX: u8 = 3;

/// The index's name.
const INDEX_NAME: &[u8] = b"index.json";

/// The most samples of a shard, and the most bytes of its columns: while one is read, its names and texts are in memory.
const MOST_SAMPLES: u64 = 1 << 16;
const MOST_TEXT: u64 = 64 << 20;

/// Samples of a shard, where neither `shard=` nor `size=` says otherwise.
const SAMPLES: u64 = 1000;

/// Files of a shard that stay open while it is read.
const OPEN: usize = 4;

/// Files that are fetched ahead of who reads a shard in order, and how many must be left when more are.
const AHEAD: usize = 96;
const LEFT: usize = 48;

/// Shards whose sizes are kept on disk, for finding them again would take a while.
const WORTH_KEEPING: usize = 16;

const WANTED: &str = "`shard=`, `size=`, `cls=`, `txt=`, `json=` and `files=`";

/// What the name of a directory of shards says.
#[derive(Debug)]
struct Options<'t> {
    samples: u64,
    /// Bytes after which a shard ends.
    bytes: u64,
    cls: Option<&'t str>,
    txt: Option<&'t str>,
    has_json: bool,
    /// File columns, all where there are none.
    files: Vec<&'t str>,
}

impl<'t> Options<'t> {
    fn parse(text: &'t str) -> Result<Self, options::Error> {
        let mut found = Self {
            samples: SAMPLES,
            bytes: u64::MAX,
            cls: None,
            txt: None,
            has_json: true,
            files: Vec::new(),
        };
        for (key, value) in options::parse(text)? {
            match key {
                "shard" => {
                    found.samples = count(key, value)?;
                    if found.samples > MOST_SAMPLES {
                        return Err(wrong(key, value, "a shard has at most 65536 samples"));
                    }
                }
                "size" => {
                    let bytes = bytes(value);
                    found.bytes =
                        bytes.ok_or_else(|| wrong(key, value, "a size is as 256M or 1G"))?;
                }
                "cls" => found.cls = Some(value),
                "txt" => found.txt = Some(value),
                "json" => {
                    found.has_json = match value {
                        "yes" => true,
                        "no" => false,
                        _ => return Err(wrong(key, value, "it is yes or no")),
                    }
                }
                "files" => found.files = value.split('+').collect(),
                _ => return Err(options::Error::Unknown(key.to_owned(), WANTED)),
            }
        }
        let says_samples = options::parse(text)?.iter().any(|(key, _)| *key == "shard");
        if found.bytes < u64::MAX && !says_samples {
            found.samples = MOST_SAMPLES;
        }
        Ok(found)
    }
}

/// `256M` as bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits(number)?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

impl Directory for WebDataset {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## webdataset/\n\n\
         Tar files that WebDataset reads, made while they are read: `shard=` samples or `size=` bytes in each, a row's files with\n\
         its columns as `.json`, those that `cls=` and `txt=` name as `.cls` and `.txt`. `-` stands for no options:\n\n    \
         ls 'webdataset/shard=1000,cls=label/'\n    \
         tar tf webdataset/-/000000.tar\n    \
         cat webdataset/-/index.json   # for wids, by name\n    \
         python -c 'import webdataset; print(next(iter(webdataset.WebDataset(\"webdataset/-/000000.tar\"))))'\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::WithFiles
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, SHARD | INDEX) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let is_options = |text: &&str| *text == options::NONE || text.contains('=');
        let Some(text) = std::str::from_utf8(name).ok().filter(is_options) else {
            return Ok(entry(None));
        };
        Content::new(at.vfs, at.place, &Options::parse(text)?)?;
        let text = Some(at.vfs.filters.number(text)?);
        let step = ViewStep { directory: NUMBER, kind: 0, number: 0, text };
        Ok(Entry::Found(at.view(step)?))
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        for (number, shard) in (0..).zip(&plan(at)?.shards).skip(from as usize) {
            let attr = at.vfs.fixed(at.inode(SHARD, number), &at.place.view.of, shard.size);
            let name = format!("{number:06}.tar");
            let next = position(number) + 1;
            if each(Item { name: name.as_bytes(), attr, next, dots: false }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn size(&self, at: At<'_>) -> Result<u64> {
        if at.node.kind == INDEX {
            return Ok(index(at)?.len() as u64);
        }
        Ok(shard(at)?.size)
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        if at.node.kind == INDEX {
            return Ok(Handle::Text(index(at)?));
        }
        let shard = shard(at)?;
        let archive = at.kept(at.node, weight, || archive(at, &shard))?;
        Ok(Handle::Stream(Arc::new(Tar {
            vfs: at.vfs.clone(),
            place: at.place.clone(),
            archive,
            caller: at.caller,
            open: Mutex::default(),
        })))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        match node.kind {
            SHARD => format!("/{:06}.tar", node.number),
            INDEX => "/index.json".into(),
            _ => "/_views/webdataset".into(),
        }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for WebDataset {
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Own
    }

    fn narrows(&self, _step: ViewStep) -> bool {
        false
    }

    fn above(&self, parent: Slot, _step: ViewStep) -> Inode {
        inode(NUMBER, parent, TOP, 0)
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let text = vfs.filters.text(step.text?)?;
        Some(format!("{}/_views/webdataset/{text}", vfs.view_path(parent)?))
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        if name == INDEX_NAME {
            return Ok(Entry::Found(At::new(vfs, place, own(INDEX, 0)).file(INDEX, 0)?));
        }
        let number = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix(".tar"));
        let number = number.and_then(|number| number.parse().ok());
        let number = number.filter(|number: &u32| format!("{number:06}.tar").as_bytes() == name);
        let at = At::new(vfs, place, own(PLAN, 0));
        let shards = plan(at)?.shards.len();
        let there = number.filter(|number| (*number as usize) < shards);
        Ok(entry(there.map(|number| at.file(SHARD, number)).transpose()?))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        // Here and not while it is listed, for it may take a pass over the rows.
        let at = At::new(vfs, place, own(PLAN, 0));
        plan(at)?;
        Ok(Listing::numbered(at, (place.view.own, place.view.up)))
    }
}

fn own(kind: u8, number: u32) -> ViewNode {
    ViewNode { directory: NUMBER, kind, number }
}

/// Which rows are in which shard.
#[derive(Debug)]
struct Plan {
    shards: Vec<Shard>,
}

/// The positions of the first and the last row of a shard, how many of them are samples, and its bytes.
#[derive(Clone, Debug)]
struct Shard {
    rows: RangeInclusive<u32>,
    samples: u64,
    size: u64,
}

/// The shards for `wids`: their names beside it, and how many samples each has.
fn index(at: At<'_>) -> Result<Bytes> {
    let plan = plan(at)?;
    let shards = (0..).zip(&plan.shards).map(|(number, shard): (u32, _)| {
        json!({
            "url": format!("{number:06}.tar"),
            "nsamples": shard.samples,
            "filesize": shard.size,
        })
    });
    let shards: Vec<Value> = shards.collect();
    let index = json!({
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": at.place.view.of.to_string(),
        "shardlist": shards,
    });
    Ok(format!("{index:#}\n").into())
}

fn plan(at: At<'_>) -> Result<Arc<Plan>> {
    let weight = |plan: &Plan| plan.shards.len() * 32 + 64;
    at.kept(own(PLAN, 0), weight, || {
        let text = text_of(at.vfs, at.place)?;
        let wanted = Options::parse(&text)?;
        let content = Content::new(at.vfs, at.place, &wanted)?;
        let home = Home::of(&at.place.pack, "tables");
        let stem = content.source.stem(&format!("webdataset2-{}", digest(&text)));
        if let Some(plan) = home.find(&stem).and_then(Plan::read) {
            return Ok(plan);
        }
        let plan = Plan::new(&content, &wanted)?;
        if plan.shards.len() >= WORTH_KEEPING {
            plan.keep(&home, &stem);
        }
        Ok(plan)
    })
}

/// What tells the options of a layout from others, in the name of a file.
pub fn digest(options: &str) -> String {
    hex(&Sha256::digest(options)[..8])
}

impl Plan {
    /// One pass over the rows.
    fn new(content: &Content, wanted: &Options<'_>) -> Result<Self> {
        let mut shards: Vec<Shard> = Vec::new();
        let (mut samples, mut taken, mut texts) = (u64::MAX, 0_u64, 0_u64);
        content.each(0..=u32::MAX, &mut |position, members| {
            let more = tar::taken(members.iter().map(|member| member.size));
            let text: u64 = members.iter().map(self::text).sum();
            let is_sample = u64::from(!members.is_empty());
            let is_full = samples >= wanted.samples
                || tar::size(taken.saturating_add(more)) > wanted.bytes
                || texts + text > MOST_TEXT;
            match shards.last_mut().filter(|_| !is_full) {
                Some(shard) => {
                    (samples, texts) = (samples + 1, texts + text);
                    taken = taken.saturating_add(more);
                    *shard = Shard {
                        rows: *shard.rows.start()..=position,
                        samples: shard.samples + is_sample,
                        size: tar::size(taken),
                    };
                }
                None => {
                    (samples, taken, texts) = (1, more, text);
                    let (rows, size) = (position..=position, tar::size(taken));
                    shards.push(Shard { rows, samples: is_sample, size });
                }
            }
        })?;
        Ok(Self { shards })
    }

    /// A plan as a line for each shard. Its checksum was compared.
    fn read(mut file: File) -> Option<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let shard = |line: &str| {
            let mut numbers = line.split(' ');
            let (first, last) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            let (samples, size) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            Some(Shard { rows: first..=last, samples, size })
        };
        Some(Self { shards: text.lines().map(shard).collect::<Option<_>>()? })
    }

    /// Keeps it for later mounts, where the disk takes it.
    fn keep(&self, home: &Home, stem: &str) {
        let kept = home.create().and_then(|mut draft| {
            for Shard { rows, samples, size } in &self.shards {
                writeln!(draft, "{} {} {samples} {size}", rows.start(), rows.end())
                    .map_err(|error| error::Error::new(ErrorKind::Broken, error))?;
            }
            home.keep(draft, stem)
        });
        // What cannot be kept is found again.
        drop(kept);
    }
}

fn shard(at: At<'_>) -> Result<Shard> {
    let shard = plan(at)?.shards.get(at.node.number as usize).cloned();
    shard.ok_or_else(|| at.unknown())
}

fn archive(at: At<'_>, shard: &Shard) -> Result<Archive<Data>> {
    let text = text_of(at.vfs, at.place)?;
    let content = Content::new(at.vfs, at.place, &Options::parse(&text)?)?;
    let mut members = Vec::new();
    content.each(shard.rows.clone(), &mut |_, more| members.extend(more))?;
    let archive = Archive::new(members);
    if archive.size() == shard.size {
        return Ok(archive);
    }
    let text = "the rows of a shard are not those that were measured; mount again";
    Err(error::Error::new(ErrorKind::Broken, text))
}

fn weight(archive: &Archive<Data>) -> usize {
    archive.members().iter().map(|member| text(member) as usize + 128).sum()
}

/// Bytes of a member that are held in memory.
fn text(member: &Member<Data>) -> u64 {
    match &member.data {
        Data::Text(text) => text.len() as u64,
        Data::File(..) => 0,
    }
}

/// What a member holds.
#[derive(Clone, Debug)]
enum Data {
    Text(Bytes),
    /// The file of an entry, and whether its size is recorded.
    File(u32, bool),
}

/// How rows become samples.
struct Content {
    source: Source,
    /// The File columns that are taken: their numbers in the pack, and what they are called in members.
    files: Vec<(u16, String)>,
    cls: Option<Plain>,
    txt: Option<Plain>,
    has_json: bool,
}

/// A column whose value is a member of its own.
struct Plain {
    field: &'static str,
    /// Its name; the class itself borrows the schema.
    name: String,
}

impl Content {
    /// # Errors
    /// A column that is not there.
    fn new(vfs: &Vfs, place: &Place, wanted: &Options<'_>) -> Result<Self> {
        let source = place.source(vfs)?;
        let columns = place.pack.columns();
        let numbered = (0_u16..).zip(columns);
        let mut files: Vec<(u16, String)> =
            numbered.map(|(number, column)| (number, member_name(&column.file.name))).collect();
        if !wanted.files.is_empty() {
            let find = |name: &&str| {
                let at = columns.iter().position(|column| column.file.name == *name);
                let unknown = || format!("no column of files is called `{name}`");
                let at = at.ok_or_else(|| error::Error::new(ErrorKind::Invalid, unknown()))?;
                Ok(files[at].clone())
            };
            files = wanted.files.iter().map(find).collect::<Result<_>>()?;
        }
        let plain = |field, name: Option<&str>| -> Result<Option<Plain>> {
            let Some(name) = name else { return Ok(None) };
            sets::named(&source.schema, name)?;
            Ok(Some(Plain { field, name: name.to_owned() }))
        };
        let (cls, txt) = (plain("cls", wanted.cls)?, plain("txt", wanted.txt)?);
        Ok(Self { source, files, cls, txt, has_json: wanted.has_json })
    }

    /// Calls `each` with the position and the members of every row within. Blocks.
    fn each(
        &self,
        within: RangeInclusive<u32>,
        each: &mut dyn FnMut(u32, Vec<Member<Data>>),
    ) -> Result<()> {
        let source = &self.source;
        let layout = source.layout(Format::Jsonl);
        let mut columns = if self.has_json { layout.columns().to_vec() } else { Vec::new() };
        let mut plain: Vec<(&'static str, Class<'_>, usize)> = Vec::new();
        for wanted in self.cls.iter().chain(&self.txt) {
            let class = sets::named(&source.schema, &wanted.name)?;
            columns.push(class.column.to_owned());
            plain.push((wanted.field, class, columns.len() - 1));
        }
        let mut paths = Paths::new(source, &mut columns)?;
        let mut text = Vec::new();
        source.scan(&columns, within, &mut |at, id, cells| {
            let paths = paths.of(at, cells)?;
            let mut sample = Sample::new(format!("{:09}", id.key()));
            for (nth, (column, name)) in self.files.iter().enumerate() {
                let Some(path) = &paths[usize::from(*column)] else { continue };
                if let Some(entry) = source.pack.entry_of(*column, at.ordinal)? {
                    let facts = source.pack.facts(entry)?;
                    let mtime = facts.mtime.map_or(0, |time| time.micros().div_euclid(1_000_000));
                    sample.file(nth, name, path, (entry, facts.size), mtime);
                }
            }
            if self.has_json {
                text.clear();
                layout.write(&mut text, id, paths, cells);
                sample.text("json", &text);
            }
            for (field, class, cell) in &plain {
                if let Some(value) = attributes::text(class.of(cells.cell(*cell)), class.value) {
                    sample.text(field, &value);
                }
            }
            each(at.position, sample.members);
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// The members of one row.
struct Sample {
    key: String,
    members: Vec<Member<Data>>,
    fields: HashSet<String>,
    /// The time of the first file.
    mtime: i64,
}

impl Sample {
    fn new(key: String) -> Self {
        // What columns are called in WebDataset by their ending, files must leave to them.
        let fields = ["json", "cls", "txt"].map(str::to_owned).into();
        Self { key, members: Vec::new(), fields, mtime: 0 }
    }

    fn file(
        &mut self,
        nth: usize,
        column: &str,
        path: &[u8],
        (entry, size): (u32, Option<u64>),
        mtime: i64,
    ) {
        let ending = ending(path);
        let mut field = if nth == 0 { ending.clone() } else { format!("{column}.{ending}") };
        if self.fields.contains(&field) {
            field = format!("{column}.{ending}");
        }
        if self.fields.contains(&field) {
            field = format!("{column}{nth}.{ending}");
        }
        if nth == 0 {
            self.mtime = mtime;
        }
        let data = Data::File(entry, size.is_some());
        self.members.push(Member {
            name: format!("{}.{field}", self.key),
            size: size.unwrap_or(0),
            mtime,
            data,
        });
        self.fields.insert(field);
    }

    fn text(&mut self, field: &str, text: &[u8]) {
        self.members.push(Member {
            name: format!("{}.{field}", self.key),
            size: text.len() as u64,
            mtime: self.mtime,
            data: Data::Text(Bytes::copy_from_slice(text)),
        });
    }
}

/// The longest name of a column and the longest ending in the name of a member: both fit, with a key.
const LONGEST_COLUMN: usize = 40;
const LONGEST_ENDING: usize = 16;

const _: () = assert!(LONGEST_COLUMN + LONGEST_ENDING + 32 < LONGEST_NAME);

/// A column in the name of a member, where dots have a meaning.
fn member_name(column: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    column.chars().take(LONGEST_COLUMN).map(letter).collect()
}

/// How a file ends, as WebDataset tells what it is.
pub fn ending(path: &[u8]) -> String {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let ending = name.iter().rposition(|byte| *byte == b'.').map(|dot| &name[dot + 1..]);
    let is_plain = |ending: &&[u8]| {
        !ending.is_empty()
            && ending.len() <= LONGEST_ENDING
            && ending.iter().all(u8::is_ascii_alphanumeric)
    };
    let ending = ending.filter(is_plain).unwrap_or(b"bin");
    String::from_utf8_lossy(ending).to_ascii_lowercase()
}

/// A shard that is read.
#[derive(Debug)]
struct Tar {
    vfs: Arc<Vfs>,
    place: Place,
    archive: Arc<Archive<Data>>,
    caller: Option<Caller>,
    open: Mutex<OpenFiles>,
}

/// Files that were read last, and how far others were asked for.
#[derive(Debug, Default)]
struct OpenFiles {
    files: Vec<(u32, Arc<Reader>)>,
    /// The entry that was opened last, and the file in the shard up to which those behind it were asked for.
    last: Option<usize>,
    until: usize,
}

impl Stream for Tar {
    fn size(&self) -> u64 {
        self.archive.size()
    }

    fn read(self: Arc<Self>, offset: u64, length: u32) -> Reading {
        Box::pin(async move {
            let mut out = BytesMut::with_capacity(length as usize);
            for piece in self.archive.pieces(offset, length.into()) {
                match piece {
                    Piece::Header(bytes, of) => {
                        if matches!(of.data, Data::File(_, false)) {
                            let text = format!("no size is recorded of the file of `{}`", of.name);
                            return Err(error::Error::new(ErrorKind::Broken, text));
                        }
                        out.extend_from_slice(&bytes);
                    }
                    Piece::Zeros(count) => out.resize(out.len() + count as usize, 0),
                    Piece::Data(of, range) => match &of.data {
                        Data::Text(text) => {
                            out.extend_from_slice(&text[range.start as usize..range.end as usize]);
                        }
                        Data::File(entry, _) => self.file(*entry, range, &mut out).await?,
                    },
                }
            }
            Ok(out.freeze())
        })
    }
}

impl Tar {
    /// Adds bytes of a file, all of them or none.
    async fn file(&self, entry: u32, range: Range<u64>, out: &mut BytesMut) -> Result<()> {
        let reader = self.reader(entry).await?;
        let mut at = range.start;
        while at < range.end {
            let want = u32::try_from(range.end - at).unwrap_or(u32::MAX);
            let bytes = match reader.read_now(at, want) {
                Some(bytes) => bytes,
                None => reader.read(at, want).await?,
            };
            if bytes.is_empty() {
                let text = "a file of the shard is shorter than its row records";
                return Err(error::Error::new(ErrorKind::Stale, text));
            }
            at += bytes.len() as u64;
            out.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// A file of the shard, open.
    async fn reader(&self, entry: u32) -> Result<Arc<Reader>> {
        let known = self.lock().files.iter().find(|(known, _)| *known == entry).cloned();
        if let Some((_, reader)) = known {
            return Ok(reader);
        }
        self.ahead(entry);
        let number = Inode::File(self.place.view.base, entry).number();
        let opened = self.vfs.open(number, self.caller).wait().await?;
        let handle = self.vfs.handles.get(opened.handle);
        self.vfs.release(opened.handle);
        let Some(Handle::Object(reader)) = handle else {
            return Err(Error::Unknown(number).into());
        };
        let mut open = self.lock();
        open.files.insert(0, (entry, reader.clone()));
        open.files.truncate(OPEN);
        Ok(reader)
    }

    /// Asks for the files that come next, where the shard is read in order.
    fn ahead(&self, entry: u32) {
        let files = || {
            self.archive.members().iter().filter_map(|member| match member.data {
                Data::File(entry, _) => Some(entry),
                Data::Text(_) => None,
            })
        };
        let mut open = self.lock();
        // From the last one on: a shard has thousands.
        let from = open.last.map_or(0, |last| last + 1);
        let Some(at) = files().skip(from).position(|file| file == entry).map(|at| at + from) else {
            open.last = files().position(|file| file == entry);
            return;
        };
        let follows = at <= from;
        open.last = Some(at);
        if !follows || at + LEFT < open.until {
            return;
        }
        let next = open.until.max(at + 1);
        open.until = at + AHEAD;
        let wanted: Vec<u32> = files().skip(next).take(open.until.saturating_sub(next)).collect();
        drop(open);
        self.vfs.ahead(&self.place, wanted);
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_shards_end() {
        let samples = |text| Options::parse(text).map(|found| (found.samples, found.bytes));
        assert_eq!(samples("-"), Ok((SAMPLES, u64::MAX)));
        assert_eq!(samples("shard=7"), Ok((7, u64::MAX)));
        assert_eq!(samples("size=2M"), Ok((MOST_SAMPLES, 2 << 20)));
        assert_eq!(samples("size=1G,shard=9"), Ok((9, 1 << 30)));
        for bad in
            ["shard=0", "shard=65537", "size=x", "size=0", "json=maybe", "seed=1", "shard", ""]
        {
            assert!(Options::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn members_have_one_dot_before_their_field() {
        let mut sample = Sample::new("000000007".into());
        sample.file(0, "file", b"a.b/x.tar.JPG", (1, Some(5)), 9);
        sample.file(1, &member_name("seg.mask"), b"x.jpg", (2, Some(5)), 0);
        sample.text("json", b"{}");
        let names: Vec<_> = sample.members.iter().map(|member| &member.name[..]).collect();
        assert_eq!(names, ["000000007.jpg", "000000007.seg_mask.jpg", "000000007.json"]);
        assert_eq!(sample.members[2].mtime, 9);
    }

    #[test]
    fn no_two_members_share_a_name() {
        let mut sample = Sample::new("1".into());
        for (nth, path) in ["a.json", "b.json", "c", "c"].into_iter().enumerate() {
            sample.file(nth, "file", path.as_bytes(), (1, Some(5)), 0);
        }
        let names: HashSet<_> = sample.members.iter().map(|member| &member.name).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(!names.contains(&"1.json".to_owned()), "that is the row's");
    }

    #[test]
    fn endings_are_plain() {
        for (path, want) in [
            ("a.JPG", "jpg"),
            ("a", "bin"),
            ("a.", "bin"),
            ("a.b c", "bin"),
            (".x", "x"),
            ("x.y/z", "bin"),
        ] {
            assert_eq!(ending(path.as_bytes()), want, "{path}");
        }
    }
}
