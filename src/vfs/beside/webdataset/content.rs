//! The mapping of rows to samples: the members of each, and their names.

use std::collections::HashSet;
use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;

use dcfs_core::cell::Cells;
use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::loader::tar::{self, LONGEST_NAME, Member};
use dcfs_core::render::rows::{Format, Layout};
use dcfs_core::tree::classes::Class;
use dcfs_data::tables::Source;
use dcfs_data::tables::paths::Paths;
use dcfs_data::tables::source::At;

use super::options::Options;
use crate::place::Place;
use crate::{Vfs, attributes, sets};

/// The content of a member.
#[derive(Clone, Debug)]
pub enum Data {
    Text(Bytes),
    /// The file of an entry, and whether its size is recorded.
    File(EntryId, bool),
}

/// The mapping of rows to samples.
pub struct Content {
    pub source: Source,
    /// The File columns to include: their numbers in the pack, and their names in members.
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
    pub fn new(vfs: &Vfs, place: &Place, wanted: &Options<'_>) -> Result<Self> {
        let source = place.source(vfs)?;
        let columns = place.pack.columns();
        let numbered = (0_u16..).zip(columns);
        let mut files: Vec<(u16, String)> =
            numbered.map(|(number, column)| (number, member_name(&column.file.name))).collect();
        if !wanted.files.is_empty() {
            let find = |name: &&str| {
                let at = columns.iter().position(|column| column.file.name == *name);
                let unknown = || format!("there is no File column `{name}`");
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

    /// Positions of rows are below this.
    pub fn positions(&self) -> u32 {
        self.source.positions()
    }

    /// How much every row within takes. Blocks.
    pub fn sizes(&self, within: RangeInclusive<u32>) -> Result<Vec<Size>> {
        let mut sizes = Vec::new();
        if !self.has_json && self.cls.is_none() && self.txt.is_none() {
            for at in self.source.places(within) {
                let mut size = Size::of(at);
                self.each_file(at, &mut |_, _, bytes, _| size.add(bytes.unwrap_or(0)))?;
                sizes.push(size);
            }
            return Ok(sizes);
        }
        let mut text = Vec::new();
        self.scan(within, &mut |row| {
            let mut size = Size::of(row.at);
            self.each_file(row.at, &mut |_, _, bytes, _| size.add(bytes.unwrap_or(0)))?;
            row.each_text(&mut text, &mut |_, text| size.add_text(text.len() as u64));
            sizes.push(size);
            Ok(())
        })?;
        Ok(sizes)
    }

    /// The members of every row within, in order. Blocks.
    pub fn members(&self, within: RangeInclusive<u32>) -> Result<Vec<Member<Data>>> {
        let (mut members, mut text) = (Vec::new(), Vec::new());
        self.scan(within, &mut |row| {
            let mut sample = Sample::new(format!("{:09}", row.id.key()));
            self.each_file(row.at, &mut |nth, entry, size, mtime| {
                let (column, name) = &self.files[nth];
                // A path is there where there is an entry.
                let path = row.paths[usize::from(*column)].as_deref().unwrap_or_default();
                sample.file(nth, name, path, (entry, size), mtime);
            })?;
            row.each_text(&mut text, &mut |field, text| sample.text(field, text));
            members.append(&mut sample.members);
            Ok(())
        })?;
        Ok(members)
    }

    /// Calls `each` with every file of a row that is taken: which of [`Content::files`], its entry, its size where one is
    /// recorded, and its time in seconds.
    fn each_file(
        &self,
        at: At,
        each: &mut dyn FnMut(usize, EntryId, Option<u64>, i64),
    ) -> Result<()> {
        let pack = &self.source.pack;
        // Below a directory of one column, the files of others are not of its tree.
        let only = self.source.root.map(|root| root.column);
        for (nth, (column, _)) in self.files.iter().enumerate() {
            if only.is_some_and(|only| only != *column) {
                continue;
            }
            let Some(entry) = pack.entry_of(*column, at.ordinal)? else { continue };
            let facts = pack.facts(entry)?;
            let mtime = facts.mtime.map_or(0, |time| time.micros().div_euclid(1_000_000));
            each(nth, entry, facts.size, mtime);
        }
        Ok(())
    }

    fn scan(
        &self,
        within: RangeInclusive<u32>,
        each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
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
        let json = self.has_json.then_some(&layout);
        source.scan(&columns, within, &mut |at, id, cells| {
            let paths = paths.of(at, cells)?;
            each(&Row { at, id, paths, cells, json, plain: &plain })?;
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// A row that is read.
struct Row<'r> {
    at: At,
    id: RowId,
    paths: &'r [Option<Vec<u8>>],
    cells: &'r dyn Cells,
    /// How it is written, if it is.
    json: Option<&'r Layout>,
    /// The fields of single columns, and where their cells are.
    plain: &'r [(&'static str, Class<'r>, usize)],
}

impl Row<'_> {
    /// Calls `each` with every field that columns make, and its text. `scratch` is a buffer.
    fn each_text(&self, scratch: &mut Vec<u8>, each: &mut dyn FnMut(&str, &[u8])) {
        if let Some(layout) = self.json {
            scratch.clear();
            layout.write(scratch, self.id, self.paths, self.cells);
            each("json", scratch);
        }
        for (field, class, cell) in self.plain {
            if let Some(value) = attributes::text(class.of(self.cells.cell(*cell)), class.value) {
                each(field, &value);
            }
        }
    }
}

/// How much of a shard a row takes.
#[derive(Debug)]
pub struct Size {
    pub position: u32,
    /// Whether it has any member.
    pub is_sample: bool,
    /// Bytes of the archive, without its end.
    pub taken: u64,
    /// Bytes of its columns.
    pub text: u64,
}

impl Size {
    fn of(at: At) -> Self {
        Self { position: at.position, is_sample: false, taken: 0, text: 0 }
    }

    fn add(&mut self, bytes: u64) {
        self.is_sample = true;
        self.taken = self.taken.saturating_add(tar::taken([bytes]));
    }

    fn add_text(&mut self, bytes: u64) {
        self.add(bytes);
        self.text += bytes;
    }
}

/// The members of one row.
struct Sample {
    key: String,
    members: Vec<Member<Data>>,
    fields: HashSet<String>,
    /// The mtime of the first file.
    mtime: i64,
}

impl Sample {
    fn new(key: String) -> Self {
        // Extensions that stand for columns in WebDataset must not be used by files.
        let fields = ["json", "cls", "txt"].map(str::to_owned).into();
        Self { key, members: Vec::new(), fields, mtime: 0 }
    }

    fn file(
        &mut self,
        nth: usize,
        column: &str,
        path: &[u8],
        (entry, size): (EntryId, Option<u64>),
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

/// Limits of the name of a column and of the extension in the name of a member: both fit, with a key.
const LONGEST_COLUMN: usize = 40;
const LONGEST_ENDING: usize = 16;

const _: () = assert!(LONGEST_COLUMN + LONGEST_ENDING + 32 < LONGEST_NAME);

/// The name of a column as part of a member's name, where dots have a meaning.
fn member_name(column: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    column.chars().take(LONGEST_COLUMN).map(letter).collect()
}

/// The extension of a file, by which WebDataset recognises its type.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_one_dot_before_their_field() {
        let mut sample = Sample::new("000000007".into());
        sample.file(0, "file", b"a.b/x.tar.JPG", (EntryId::new(1), Some(5)), 9);
        sample.file(1, &member_name("seg.mask"), b"x.jpg", (EntryId::new(2), Some(5)), 0);
        sample.text("json", b"{}");
        let names: Vec<_> = sample.members.iter().map(|member| &member.name[..]).collect();
        assert_eq!(names, ["000000007.jpg", "000000007.seg_mask.jpg", "000000007.json"]);
        assert_eq!(sample.members[2].mtime, 9);
    }

    #[test]
    fn no_two_members_share_a_name() {
        let mut sample = Sample::new("1".into());
        for (nth, path) in ["a.json", "b.json", "c", "c"].into_iter().enumerate() {
            sample.file(nth, "file", path.as_bytes(), (EntryId::new(1), Some(5)), 0);
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
