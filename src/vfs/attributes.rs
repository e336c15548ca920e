//! Extended attributes: the rows' data of a file, for programs.
//!
//! | name | of | value |
//! |---|---|---|
//! | `user.dcfs.uri` | a row's file | source and path as recorded |
//! | `user.dcfs.etag`, `.version` | a row's file | as recorded; absent if empty |
//! | `user.dcfs.pin` | a row's file | what distinguishes it from a replacement, see [`store::held_by`] |
//! | `user.dcfs.row` | a row's file | the ids of the rows that name it, `1,7`; cut with `,...` |
//! | `user.dcfs.dataset` | the same, directories of a version | `pets@1.0.0` |
//! | `user.dcfs.col.<column>` | a row's file, unlisted | see [`Values`] |
//!
//! Programs ask for names of other namespaces at every step (`ls -l` for `security.selinux`): these are
//! answered from memory, as are attributes that no inode of that kind has. The rest is read from the catalog in
//! a task. The size of a value is bounded before it is built, because a million rows may name one file.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::beside::{self, Shape};
use super::inode::{Inode, Slot};
use super::place::Place;
use super::views::View;
use super::{Answer, Error, Vfs};
use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::object::Object;
use dcfs_core::render::rows::json;
use dcfs_core::schema::ValueType;
use dcfs_store as store;

/// The longest value, and the longest list of names, that Linux takes (`XATTR_SIZE_MAX`).
pub const LONGEST: usize = 65_536;

/// Limit of rows whose values are compared: in a JSON list each takes two bytes at least.
const MOST_ROWS: usize = LONGEST / 2;

/// Suffix that replaces the ids that did not fit.
const MORE: &str = ",...";

/// The result of reading an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// There is none of that name, or it is NULL.
    Absent,
    Value(Bytes),
    /// Longer than [`LONGEST`].
    TooLong,
}

/// Every possible name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Uri,
    Etag,
    Version,
    Pin,
    Dataset,
    Row,
    /// The dotted name of a column.
    Column(String),
}

impl Name {
    /// The listed ones, in order.
    const LISTED: [Self; 6] =
        [Self::Uri, Self::Etag, Self::Version, Self::Pin, Self::Dataset, Self::Row];

    /// `None` for a name that no file of this mount has.
    fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?.strip_prefix("user.dcfs.")?;
        if let Some(column) = name.strip_prefix("col.") {
            return Some(Self::Column(column.to_owned()));
        }
        Self::LISTED.into_iter().find(|listed| listed.text() == name)
    }

    /// The name without `user.dcfs.`; empty for a column.
    fn text(&self) -> &'static str {
        match self {
            Self::Uri => "uri",
            Self::Etag => "etag",
            Self::Version => "version",
            Self::Pin => "pin",
            Self::Dataset => "dataset",
            Self::Row => "row",
            Self::Column(_) => "",
        }
    }
}

/// The kind of an inode, for its attributes.
enum Bearer {
    /// No attributes.
    Bare,
    /// A directory of a version.
    Directory(Arc<View>),
    /// A row's file.
    File(Slot, EntryId, Arc<View>),
}

impl Vfs {
    /// The value of the attribute `name`, at most [`LONGEST`] bytes.
    pub fn attribute(self: &Arc<Self>, number: u64, name: &[u8]) -> Answer<Attribute> {
        let bearer = match self.bearer(number) {
            Ok(bearer) => bearer,
            Err(error) => return Answer::Now(Err(error)),
        };
        match (bearer, Name::parse(name)) {
            (Bearer::Directory(view) | Bearer::File(_, _, view), Some(Name::Dataset)) => {
                Answer::Now(Ok(Attribute::of(view.of.to_string())))
            }
            (Bearer::File(slot, entry, _), Some(name)) => {
                self.with_place_in_task(number, slot, move |vfs, place| {
                    vfs.file_attribute(place, entry, &name)
                })
            }
            _ => Answer::Now(Ok(Attribute::Absent)),
        }
    }

    /// The names of the attributes, each terminated by a NUL.
    pub fn attributes(self: &Arc<Self>, number: u64) -> Answer<Bytes> {
        match self.bearer(number) {
            Err(error) => Answer::Now(Err(error)),
            Ok(Bearer::Bare) => Answer::Now(Ok(Bytes::new())),
            Ok(Bearer::Directory(_)) => Answer::Now(Ok(listed([Name::Dataset]))),
            Ok(Bearer::File(slot, entry, _)) => {
                self.with_place_in_task(number, slot, move |vfs, place| {
                    let object = vfs.object(place, entry)?;
                    Ok(listed(Name::LISTED.into_iter().filter(|name| has(&object, name))))
                })
            }
        }
    }

    fn bearer(&self, number: u64) -> Result<Bearer> {
        let inode = Inode::decode(number).ok_or(Error::Unknown(number))?;
        let view = |slot| self.view(number, slot);
        Ok(match inode {
            Inode::Root
            | Inode::Top
            | Inode::Agents
            | Inode::Knowledge
            | Inode::Known(_)
            | Inode::ByName(_)
            | Inode::Status
            | Inode::Metrics
            | Inode::Datasets
            | Inode::Link(_) => Bearer::Bare,
            Inode::File(slot, entry) => Bearer::File(slot, entry, view(slot)?),
            Inode::View(slot)
            | Inode::Column(slot, _)
            | Inode::Dir(slot, ..)
            | Inode::Views(slot)
            | Inode::Errors(slot)
            | Inode::ColumnErrors(slot, _)
            | Inode::DirErrors(slot, ..)
            | Inode::Value(slot, ..) => Bearer::Directory(view(slot)?),
            Inode::Beside(slot, node) => match beside::shape(node) {
                None => return Err(Error::Unknown(number).into()),
                Some(Shape::Directory | Shape::Changing) => Bearer::Directory(view(slot)?),
                Some(Shape::File) => view(slot).map(|_| Bearer::Bare)?,
            },
            Inode::Page(slot, _)
            | Inode::Table(slot, _)
            | Inode::ViewsPage(slot)
            | Inode::ErrorNote(slot, _) => view(slot).map(|_| Bearer::Bare)?,
        })
    }

    /// An attribute of a row's file. Blocking.
    fn file_attribute(&self, place: &Place, entry: EntryId, name: &Name) -> Result<Attribute> {
        match name {
            Name::Row => {
                let ids = place.pack.first_rows(entry, MOST_ROWS)?;
                Ok(Attribute::of(row_ids(&ids)))
            }
            Name::Column(column) => self.column_attribute(place, entry, column),
            name => Ok(recorded(&self.object(place, entry)?, name)),
        }
    }

    /// The value of a column in the rows that name a file.
    fn column_attribute(&self, place: &Place, entry: EntryId, name: &str) -> Result<Attribute> {
        let schema = place.view.schema(&self.catalog)?;
        let Some(leaf) = schema.leaves().into_iter().find(|leaf| leaf.name == name) else {
            return Ok(Attribute::Absent);
        };
        let rows = place.pack.first_rows(entry, MOST_ROWS + 1)?;
        if rows.len() > MOST_ROWS {
            return Ok(Attribute::TooLong);
        }
        let mut values = Values::new(leaf.value);
        let mut ranges = rows.into_iter().map(|row| row..=row);
        let columns = [leaf.column.to_owned()];
        self.catalog.cells(&place.view.of, &columns, &mut ranges, &mut |_, cells| {
            Ok(values.add(cells.cell(0)))
        })?;
        Ok(values.finish())
    }
}

impl Attribute {
    fn of(value: impl Into<Bytes>) -> Self {
        let value = value.into();
        if value.len() > LONGEST { Self::TooLong } else { Self::Value(value) }
    }
}

/// Names in the format of `listxattr`.
fn listed(names: impl IntoIterator<Item = Name>) -> Bytes {
    names.into_iter().map(|name| format!("user.dcfs.{}\0", name.text())).collect::<String>().into()
}

/// Whether a row's file has an attribute of that name.
fn has(object: &Object, name: &Name) -> bool {
    match name {
        Name::Etag => !object.etag.is_empty(),
        Name::Version => !object.version.is_empty(),
        Name::Pin => store::held_by(object).is_some(),
        _ => true,
    }
}

/// The recorded property of a row's object.
fn recorded(object: &Object, name: &Name) -> Attribute {
    match name {
        name if !has(object, name) => Attribute::Absent,
        Name::Uri => Attribute::of([object.source.as_bytes(), b"/", &object.path].concat()),
        Name::Etag => Attribute::of(object.etag.clone()),
        Name::Version => Attribute::of(object.version.clone()),
        Name::Pin => store::held_by(object).map_or(Attribute::Absent, Attribute::of),
        Name::Dataset | Name::Row | Name::Column(_) => Attribute::Absent,
    }
}

/// Formats `1,7,12`, as many as fit, then `,...`.
fn row_ids(ids: &[RowId]) -> String {
    let mut text = String::new();
    for (at, id) in ids.iter().enumerate() {
        let end = text.len();
        if at > 0 {
            text.push(',');
        }
        text += &id.to_string();
        if text.len() > LONGEST - MORE.len() {
            text.truncate(end);
            return text + MORE;
        }
    }
    text
}

/// The values of a column in the rows of one file.
///
/// A single value is text: `7`, `0.5`, `true`, `inf`; strings, times and stored JSON are verbatim. NULL is an
/// absent attribute. If rows differ, the value is a JSON list with one item per row, in the order of
/// `user.dcfs.row`.
struct Values<'v> {
    of: &'v ValueType,
    /// The first row's value as text; `None` for NULL.
    text: Option<Vec<u8>>,
    /// The same as JSON.
    first: Vec<u8>,
    /// All of them, until the list is too long.
    list: Vec<u8>,
    differ: bool,
}

impl<'v> Values<'v> {
    fn new(of: &'v ValueType) -> Self {
        Self { of, text: None, first: Vec::new(), list: Vec::new(), differ: false }
    }

    /// Adds the next row's value; breaks if more cannot change the answer.
    fn add(&mut self, cell: Cell<'_>) -> ControlFlow<()> {
        let mut item = Vec::new();
        json::cell(&mut item, cell, self.of);
        if self.list.is_empty() {
            self.text = text(cell, self.of);
            self.first.clone_from(&item);
        }
        self.differ |= item != self.first;
        if self.list.len() <= LONGEST {
            self.list.push(if self.list.is_empty() { b'[' } else { b',' });
            self.list.append(&mut item);
        }
        if self.differ && self.list.len() >= LONGEST {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn finish(mut self) -> Attribute {
        if self.differ {
            self.list.push(b']');
            return Attribute::of(self.list);
        }
        self.text.map_or(Attribute::Absent, Attribute::of)
    }
}

/// A cell as the text of an attribute; `None` for NULL.
pub fn text(cell: Cell<'_>, of: &ValueType) -> Option<Vec<u8>> {
    Some(match (cell, of) {
        (Cell::Null, _) => return None,
        (Cell::Integer(0), ValueType::Bool) => b"false".to_vec(),
        (Cell::Integer(1), ValueType::Bool) => b"true".to_vec(),
        (Cell::Integer(n), ValueType::Float) => format!("{n}.0").into_bytes(),
        (Cell::Integer(n), _) => n.to_string().into_bytes(),
        (Cell::Real(x), _) => format!("{x:?}").into_bytes(),
        (Cell::Text(bytes) | Cell::Blob(bytes), _) => bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use Cell::{Blob, Integer, Null, Real, Text};

    fn value(cells: &[Cell<'_>], of: &ValueType) -> Attribute {
        let mut values = Values::new(of);
        for cell in cells {
            if values.add(*cell).is_break() {
                break;
            }
        }
        values.finish()
    }

    #[test]
    fn knows_its_names() {
        let cases = [
            ("user.dcfs.uri", Some(Name::Uri)),
            ("user.dcfs.row", Some(Name::Row)),
            ("user.dcfs.col.info.width", Some(Name::Column("info.width".into()))),
            ("user.dcfs.col.", Some(Name::Column(String::new()))),
            ("user.dcfs.col", None),
            ("user.dcfs.", None),
            ("user.dcfs.uri2", None),
            ("user.mime_type", None),
            ("security.selinux", None),
            ("system.posix_acl_access", None),
            ("trusted.dcfs.uri", None),
        ];
        for (name, want) in cases {
            assert_eq!(Name::parse(name.as_bytes()), want, "{name}");
        }
        assert_eq!(Name::parse(b"user.dcfs.col.\xff"), None);
    }

    /// Cells, the type of their column, and the value.
    type Case<'a> = (&'a [Cell<'a>], &'a ValueType, Option<&'a [u8]>);

    #[test]
    fn values_are_text_and_lists_are_json() {
        let list = ValueType::List(Box::new(ValueType::Float));
        let cases: [Case<'_>; 17] = [
            (&[], &ValueType::Int, None),
            (&[Null], &ValueType::Int, None),
            (&[Null, Null], &ValueType::Int, None),
            (&[Integer(-7)], &ValueType::Int, Some(b"-7")),
            (&[Integer(1)], &ValueType::Bool, Some(b"true")),
            (&[Integer(2)], &ValueType::Bool, Some(b"2")),
            (&[Real(0.1)], &ValueType::Float, Some(b"0.1")),
            (&[Integer(3)], &ValueType::Float, Some(b"3.0")),
            (&[Real(f64::INFINITY)], &ValueType::Float, Some(b"inf")),
            (&[Text(b"2024-01-02 03:04:05")], &ValueType::Time, Some(b"2024-01-02 03:04:05")),
            (&[Text(b"a\"\n\xff")], &ValueType::Text, Some(b"a\"\n\xff")),
            (&[Text(b"")], &ValueType::Text, Some(b"")),
            (&[Text(b"[NaN, 0.5]")], &list, Some(b"[NaN, 0.5]")),
            (&[Blob(b"\0\xff")], &ValueType::Bytes, Some(b"\0\xff")),
            (&[Integer(1), Integer(1)], &ValueType::Int, Some(b"1")),
            (&[Integer(1), Null, Integer(1)], &ValueType::Int, Some(b"[1,null,1]")),
            (&[Text(b"[1]"), Text(b"\"")], &list, Some(b"[[1],\"\\\"\"]")),
        ];
        for (cells, of, want) in cases {
            let want = want
                .map_or(Attribute::Absent, |want| Attribute::Value(Bytes::copy_from_slice(want)));
            assert_eq!(value(cells, of), want, "{cells:?}");
        }
    }

    #[test]
    fn a_value_has_room_or_is_too_long() {
        let long = "x".repeat(LONGEST);
        assert!(matches!(value(&[Text(long.as_bytes())], &ValueType::Text), Attribute::Value(_)));
        let longer = long + "x";
        assert_eq!(value(&[Text(longer.as_bytes())], &ValueType::Text), Attribute::TooLong);
        let mut differing = vec![Integer(0); MOST_ROWS];
        assert_eq!(value(&differing, &ValueType::Int), Attribute::Value("0".into()));
        differing[MOST_ROWS - 1] = Integer(1);
        assert_eq!(value(&differing, &ValueType::Int), Attribute::TooLong);
        differing.remove(0);
        assert!(matches!(value(&differing, &ValueType::Int), Attribute::Value(_)));
    }

    #[test]
    fn ids_are_cut_between_two() {
        let ids = |from: i64, count: i64| (from..from + count).map(RowId::new).collect::<Vec<_>>();
        assert_eq!(row_ids(&ids(-1, 3)), "-1,0,1");
        assert_eq!(row_ids(&[]), "");
        let cut = row_ids(&ids(100_000, MOST_ROWS as i64));
        assert!(cut.len() <= LONGEST && cut.len() > LONGEST - 8, "{}", cut.len());
        let whole = cut.strip_suffix(MORE).expect("cut");
        assert!(whole.split(',').all(|id| id.len() == 6), "no id is cut in two");
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let object = Object {
            source: "s3://b".into(),
            path: b"a/\xff".to_vec(),
            etag: "e".into(),
            ..Object::default()
        };
        assert_eq!(recorded(&object, &Name::Uri), Attribute::of(&b"s3://b/a/\xff"[..]));
        assert_eq!(recorded(&object, &Name::Etag), Attribute::of("e"));
        assert_eq!(recorded(&object, &Name::Version), Attribute::Absent);
        assert_eq!(
            recorded(&object, &Name::Pin),
            Attribute::Absent,
            "nothing is read without a size"
        );
        let sized = Object { size: Some(1), ..object.clone() };
        assert_eq!(recorded(&sized, &Name::Pin), Attribute::of("etag"));
        assert!(!has(&object, &Name::Version) && has(&object, &Name::Row));
    }
}
