//! Pictures with objects in them, for YOLO and COCO: the columns with boxes and with picture sizes, and the
//! files.
//!
//! A picture is a file of the first File column; rows that name the same file add their objects. Its name is
//! `<sys__id of its first row>.<extension>`, in one flat directory: loaders need unique names, and YOLO finds a
//! label by replacing `/images/` anywhere in a path.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use serde_json::Value;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::loader::boxes::{self, Corners, MODELS, Mark};
use dcfs_core::loader::options::{self, wrong};
use dcfs_core::render::rows::Format;
use dcfs_core::schema::{Field, Schema, Shape};
use dcfs_data::tables::Source;
use dcfs_data::tables::paths::Paths;

use super::entry;
use super::webdataset::ending;
use crate::listing::{Each, Item, position};
use crate::place::Place;
use crate::{Entry, Vfs};

/// The class of objects without one.
const NO_CLASS: &str = "object";

/// Limit of classes for a file of names: a column with more is not categorical.
const MOST_CLASSES: usize = 100_000;

/// The options about boxes, in both layouts.
#[derive(Debug, Default)]
pub struct Wanted<'t> {
    boxes: Option<&'t str>,
    class: Option<&'t str>,
    size: Option<&'t str>,
    corners: Corners,
    is_normalised: bool,
    has_none: bool,
}

impl<'t> Wanted<'t> {
    /// Takes an option; returns whether it is one of these.
    ///
    /// # Errors
    /// An invalid value.
    pub fn take(&mut self, key: &'t str, value: &'t str) -> Result<bool, options::Error> {
        match key {
            "boxes" => self.boxes = Some(value),
            "class" => self.class = Some(value),
            "size" => self.size = Some(value),
            "format" => self.corners = Corners::parse(key, value)?,
            "coords" => {
                self.is_normalised = match value {
                    "pixels" => false,
                    "normalised" => true,
                    _ => return Err(wrong(key, value, "coordinates are in pixels or normalised")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Requests pictures without boxes.
    ///
    /// # Errors
    /// An option that names boxes.
    pub fn without(&mut self) -> Result<(), options::Error> {
        self.has_none = true;
        match self.boxes {
            None => Ok(()),
            Some(name) => Err(wrong("boxes", name, "COCO stores captions in a separate file")),
        }
    }
}

/// The columns with boxes.
#[derive(Debug)]
pub struct Boxes {
    source: Source,
    boxes: Option<String>,
    class: Option<String>,
    /// The columns of width and height, which not every layout needs.
    size: Option<(String, String)>,
    corners: Corners,
    is_normalised: bool,
}

/// A row that names a picture.
pub struct Drawn {
    /// The entry of its file.
    pub entry: EntryId,
    pub id: RowId,
    pub path: Vec<u8>,
    /// Width and height in pixels, if known.
    pub size: Option<(f64, f64)>,
    pub marks: Vec<Mark>,
    row: Value,
}

impl Drawn {
    /// The row's value in an additional column ([`Boxes::each`]), as text.
    pub fn text(&self, column: &str) -> Option<String> {
        match dig(&self.row, column)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The class of an object.
    pub fn class<'m>(&self, mark: &'m Mark, of_row: Option<&'m str>) -> &'m str {
        of_row.or(mark.class.as_deref()).unwrap_or(NO_CLASS)
    }

    /// The objects, with coordinates in the unit square.
    pub fn normalised(&self, boxes: &Boxes) -> Result<Vec<Mark>> {
        let scale = match (boxes.is_normalised, self.size) {
            (true, _) => (1.0, 1.0),
            (false, Some((width, height))) => (1.0 / width, 1.0 / height),
            (false, None) if self.marks.is_empty() => return Ok(Vec::new()),
            (false, None) => return Err(self.no_size()),
        };
        Ok(self.marks.iter().filter_map(|mark| mark.fitted(scale, (1.0, 1.0))).collect())
    }

    /// The objects, with coordinates in pixels.
    pub fn in_pixels(&self, boxes: &Boxes) -> Result<Vec<Mark>> {
        let size = match self.size {
            Some(size) => size,
            None if self.marks.is_empty() => return Ok(Vec::new()),
            None => return Err(self.no_size()),
        };
        let scale = if boxes.is_normalised { size } else { (1.0, 1.0) };
        Ok(self.marks.iter().filter_map(|mark| mark.fitted(scale, size)).collect())
    }

    fn no_size(&self) -> Error {
        invalid(format!("row {} has boxes but no width and height of its picture", self.id))
    }
}

fn invalid(text: String) -> Error {
    Error::new(Kind::Invalid, text)
}

impl Boxes {
    /// Finds the columns that `wanted` names, or recognises them.
    ///
    /// # Errors
    /// A column that does not exist; no column of boxes at all.
    pub fn new(source: Source, wanted: &Wanted<'_>) -> Result<Self> {
        let schema = &source.schema;
        let known = |name: &str| match find(schema, name) {
            Some(_) => Ok(name.to_owned()),
            None => Err(invalid(format!(
                "there is no column `{name}`; `dcfs schema` lists what there is"
            ))),
        };
        let boxes = match wanted.boxes {
            Some(name) => Some(known(name)?),
            None if wanted.has_none => None,
            None => recognised(schema),
        };
        if boxes.is_none() && !wanted.has_none {
            return Err(invalid(
                "no column has a recognised type of boxes; name one: `boxes=<column>`".to_owned(),
            ));
        }
        let class = wanted.class.map(known).transpose()?;
        let size = match wanted.size {
            Some(above) => {
                Some((known(&format!("{above}.width"))?, known(&format!("{above}.height"))?))
            }
            None => size(schema),
        };
        let (corners, is_normalised) = (wanted.corners, wanted.is_normalised);
        Ok(Self { source, boxes, class, size, corners, is_normalised })
    }

    /// The column whose value is the class of all objects of a row.
    pub fn class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    /// Calls `each` for every row within that names a picture, with its values in the columns `also`. Blocking.
    ///
    /// # Errors
    /// A value that is not a box, with its row; those of `each`.
    pub fn each(
        &self,
        within: RangeInclusive<u32>,
        also: &[&str],
        each: &mut dyn FnMut(Drawn) -> Result<()>,
    ) -> Result<()> {
        let source = Source { schema: Arc::new(self.needed(also)), ..self.source.clone() };
        let layout = source.layout(Format::Jsonl);
        let mut columns = layout.columns().to_vec();
        let mut paths = Paths::new(&source, &mut columns)?;
        let mut text = Vec::new();
        source.scan(&columns, within, &mut |at, id, cells| {
            let paths = paths.of(at, cells)?;
            let Some(path) = paths.first().cloned().flatten() else {
                return Ok(ControlFlow::Continue(()));
            };
            let Some(entry) = source.pack.entry_of(0, at.ordinal)? else {
                return Ok(ControlFlow::Continue(()));
            };
            text.clear();
            layout.write(&mut text, id, paths, cells);
            let row: Value = serde_json::from_slice(&text).map_err(|error| {
                invalid(format!("row {id} cannot be read for its boxes: {error}"))
            })?;
            let marks = match self.boxes.as_deref() {
                Some(name) => {
                    let value = dig(&row, name).unwrap_or(&Value::Null);
                    boxes::marks(value, self.corners).ok_or_else(|| {
                        invalid(format!("row {id}: the value of `{name}` is not a box"))
                    })?
                }
                None => Vec::new(),
            };
            let number = |name: &str| dig(&row, name).and_then(Value::as_f64).filter(|n| *n > 0.0);
            let size =
                self.size.as_ref().and_then(|(width, height)| number(width).zip(number(height)));
            each(Drawn { entry, id, path, size, marks, row })?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The columns to read: rows may have others of many kilobytes.
    fn needed(&self, also: &[&str]) -> Schema {
        let size = self.size.iter().flat_map(|(width, height)| [&width[..], &height[..]]);
        let named = self.boxes.iter().chain(&self.class).map(|name| &name[..]);
        let roots: BTreeSet<&str> = named
            .chain(size)
            .chain(also.iter().copied())
            .map(|name| name.split('.').next().unwrap_or(name))
            .collect();
        let mut schema = (*self.source.schema).clone();
        schema.signals.retain(|signal| roots.contains(&signal.name[..]));
        schema
    }

    /// The classes of these rows, by name, with their numbers. Blocking.
    pub fn classes(&self) -> Result<BTreeMap<String, usize>> {
        let mut found = BTreeSet::new();
        self.each(0..=u32::MAX, &[], &mut |drawn| {
            let of_row = self.class.as_deref().and_then(|class| drawn.text(class));
            for mark in &drawn.marks {
                let class = drawn.class(mark, of_row.as_deref());
                if !found.contains(class) {
                    found.insert(class.to_owned());
                }
            }
            match found.len() > MOST_CLASSES {
                true => Err(invalid(format!("there are more than {MOST_CLASSES} classes"))),
                false => Ok(()),
            }
        })?;
        Ok(found.into_iter().zip(0..).collect())
    }
}

/// The value of a row at a dotted name.
fn dig<'v>(row: &'v Value, name: &str) -> Option<&'v Value> {
    if let Some(found) = row.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    dig(row.get(first)?, rest)
}

/// A field by its dotted name.
fn find<'s>(schema: &'s Schema, name: &str) -> Option<&'s Field> {
    fn below<'s>(fields: &'s [Field], name: &str) -> Option<&'s Field> {
        if let Some(found) = fields.iter().find(|field| field.name == name) {
            return Some(found);
        }
        let (first, rest) = name.split_once('.')?;
        match &fields.iter().find(|field| field.name == first)?.shape {
            Shape::Model { fields, .. } => below(fields, rest),
            Shape::Column { .. } => None,
        }
    }
    below(&schema.signals, name)
}

/// The first column whose type is one of [`MODELS`], or a list of one.
pub fn recognised(schema: &Schema) -> Option<String> {
    fn below(fields: &[Field], above: &str) -> Option<String> {
        fields.iter().find_map(|field| {
            let name = format!("{above}{}", field.name);
            let is_one = |text: &str| MODELS.contains(&text.split("@v").next().unwrap_or(text));
            match &field.shape {
                Shape::Model { model, .. } if is_one(model) => Some(name),
                Shape::Model { fields, .. } => below(fields, &format!("{name}.")),
                Shape::Column { .. } => {
                    let words = field.type_text.split(['[', ']', ',', ' ']);
                    words.into_iter().any(is_one).then_some(name)
                }
            }
        })
    }
    below(&schema.signals, "")
}

/// The first two sibling columns called `width` and `height`.
fn size(schema: &Schema) -> Option<(String, String)> {
    let leaves = schema.leaves();
    let has = |name: &str| leaves.iter().any(|leaf| leaf.name == name);
    leaves.iter().find_map(|leaf| {
        let above = leaf
            .name
            .strip_suffix("width")
            .filter(|above| above.is_empty() || above.ends_with('.'))?;
        let height = format!("{above}height");
        has(&height).then(|| (leaf.name.clone(), height))
    })
}

/// The file name of a picture.
pub fn name(first: RowId, path: &[u8]) -> String {
    format!("{:09}.{}", first.key(), ending(path))
}

impl Vfs {
    /// The picture of this name, if it is shown.
    pub(super) fn picture_named(&self, place: &Place, wanted: &[u8]) -> Result<Option<EntryId>> {
        let stem = std::str::from_utf8(wanted).ok().and_then(|name| name.split_once('.'));
        let id = stem.and_then(|(stem, _)| stem.parse().ok()).map(RowId::new);
        let Some(id) = id else { return Ok(None) };
        let Some(ordinal) = place.pack.ordinal(id)? else { return Ok(None) };
        let Some(found) = place.pack.entry_of(0, ordinal)? else { return Ok(None) };
        Ok(Some(found).filter(|found| {
            self.picture_name(place, *found).is_ok_and(|name| name.as_bytes() == wanted)
        }))
    }

    /// The name of an entry.
    pub(super) fn picture_name(&self, place: &Place, entry: EntryId) -> Result<String> {
        Ok(name(place.pack.first_row(entry)?, &place.pack.path(entry)?))
    }

    /// Looks up a picture by name in a sorted list.
    pub(super) fn lookup_picture(
        &self,
        place: &Place,
        entries: &[EntryId],
        name: &[u8],
    ) -> Result<Entry> {
        let found = self.picture_named(place, name)?;
        let found = found.filter(|found| entries.binary_search(found).is_ok());
        Ok(entry(found.map(|found| self.file(place.view.base, &place.pack, found)).transpose()?))
    }

    /// Lists the pictures of a sorted list, starting at a number.
    pub(super) fn list_pictures(
        &self,
        place: &Place,
        entries: &[EntryId],
        from: u32,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let first = entries.partition_point(|entry| entry.number() < from);
        for entry in &entries[first..] {
            let name = self.picture_name(place, *entry)?;
            let attr = self.file(place.view.base, &place.pack, *entry)?;
            let next = position(entry.number()) + 1;
            if each(Item { name: name.as_bytes(), attr, next, dots: false }).is_break() {
                break;
            }
        }
        Ok(())
    }
}
