//! `_views/yolo/{data.yaml,images/<split>/,labels/<split>/}`: a dataset in the layout of Ultralytics.
//!
//! Boxes come from a column that is recognised or that `boxes=` names ([`boxes`]). Every picture has a label
//! file, an empty one if there are no objects in it; classes are numbered by name over the whole version, so
//! that a filter does not change numbers. Splits are the values of a column called `split` or of the one that
//! `split=` names, or `val=` and `test=` are shares by the hash of `_views/split`; otherwise everything is
//! `train`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::loader::boxes::Outline;
use dcfs_core::loader::options::{self, NONE};
use dcfs_core::loader::split::Split;
use dcfs_core::name::escape;
use dcfs_core::render::rows::json;
use dcfs_core::schema::Schema;

use super::boxes::{self, Boxes, Wanted};
use super::layout;
use super::{At, Directory, Narrowing, Shape, Stands, entry, inode};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Item, Listing, position};
use crate::place::Place;
use crate::views::{Kind, Step, ViewStep};
use crate::{Entry, Vfs, sets};

/// The directory that Ultralytics trains from.
pub struct Yolo;

const NUMBER: u8 = 8;

/// Kinds of nodes, all in the view of the layout: `images` and `labels`, their splits by number, and files.
const IMAGES: u8 = 1;
const LABELS: u8 = 2;
const IMAGES_OF: u8 = 3;
const LABELS_OF: u8 = 4;
/// A label file, by the entry of its picture.
const LABEL: u8 = 5;
const YAML: u8 = 6;
/// Only a cache key.
const PLAN: u8 = 7;
const CLASSES: u8 = 8;

const DATA: &[u8] = b"data.yaml";

/// The only split, if rows have no splits.
const TRAIN: &str = "train";

#[derive(Debug, Default)]
struct Options<'t> {
    boxes: Wanted<'t>,
    split: Option<&'t str>,
    /// The shares of `val` and `test`, and the seed, in the form of [`Split`].
    shares: Vec<(&'t str, &'t str)>,
}

impl<'t> Options<'t> {
    fn parse(text: &'t str) -> Result<Self, options::Error> {
        let mut found = Self::default();
        for (key, value) in options::parse(text)? {
            match key {
                "split" => found.split = Some(value),
                "val" | "test" | "seed" => found.shares.push((key, value)),
                _ if found.boxes.take(key, value)? => {}
                _ => {
                    let wanted = "`boxes=`, `class=`, `format=`, `coords=`, `size=`, `split=`, `val=`, `test=` and `seed=`";
                    return Err(options::Error::Unknown(key.to_owned(), wanted));
                }
            }
        }
        found.division().map_or(Ok(()), |text| Split::parse(&text).map(|_| ()))?;
        Ok(found)
    }

    /// The shares as the name of a split, with the rest for `train`; the first shares get the lowest hashes.
    fn division(&self) -> Option<String> {
        let named = |(key, value): &(&str, &str)| format!("{key}={value}");
        let is_share = |(key, _): &&(&str, &str)| *key != "seed";
        self.shares
            .iter()
            .any(|share| is_share(&share))
            .then(|| self.shares.iter().map(named).collect::<Vec<_>>().join(","))
    }
}

impl Directory for Yolo {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "yolo"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## yolo/\n\n\
         `data.yaml`, `images/<split>/` and `labels/<split>/` for Ultralytics. Boxes come from a column of DataChain's `BBox`, `OBBox`,\n\
         `Segment`, `Pose` or lists of them, or from the one you name: `boxes=`, `format=xyxy|xywh|cxcywh`, `coords=pixels|normalised`,\n\
         `class=` for a column of classes, `size=info` for `info.width` and `info.height`. Splits: `split=<column>`, or `val=0.1,test=0.1,seed=7`:\n\n    \
         cat yolo/data.yaml\n    \
         yolo train data=yolo/val=0.1/data.yaml\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::WithFiles
    }

    fn is_listed(&self, schema: &Schema) -> bool {
        boxes::recognised(schema).is_some()
    }

    fn top(&self, vfs: &Vfs, slot: Slot) -> Result<Inode> {
        let plain = ViewStep { directory: NUMBER, kind: layout::PLAIN, number: 0, text: None };
        Ok(Inode::View(vfs.views.step(slot, Step::Beside(plain))?))
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, LABEL | YAML) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let plan = plan(at)?;
        let number = at.node.number as usize;
        match at.node.kind {
            kind @ (IMAGES | LABELS) => {
                let found = plan.splits.iter().position(|split| split.name == name);
                let below = if kind == IMAGES { IMAGES_OF } else { LABELS_OF };
                Ok(entry(found.map(|found| at.directory(below, found as u32))))
            }
            kind => {
                let split = plan.splits.get(number).ok_or_else(|| at.unknown())?;
                if kind == IMAGES_OF {
                    return at.vfs.lookup_picture(at.place, &split.entries, name);
                }
                let Some(stem) = name.strip_suffix(b".txt") else { return Ok(entry(None)) };
                let found = split.label_named(at, stem)?;
                Ok(entry(found.map(|found| at.file(LABEL, found.number())).transpose()?))
            }
        }
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        let up = self.up(at.place.slot, at.node);
        let plan = plan(at)?;
        match at.node.kind {
            kind @ (IMAGES | LABELS) => {
                let below = if kind == IMAGES { IMAGES_OF } else { LABELS_OF };
                let heads = (0..)
                    .zip(&plan.splits)
                    .map(|(number, split)| (split.name.clone(), at.directory(below, number)));
                Ok(at.known(up, heads.collect()))
            }
            _ => Ok(Listing::numbered(at, (at.own(), up))),
        }
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        let plan = plan(at)?;
        let split = plan.splits.get(at.node.number as usize).ok_or_else(|| at.unknown())?;
        if at.node.kind == IMAGES_OF {
            return at.vfs.list_pictures(at.place, &split.entries, from, each);
        }
        let first = split.entries.partition_point(|entry| entry.number() < from);
        for (found, size) in split.entries.iter().zip(&split.sizes).skip(first) {
            let name = at.vfs.picture_name(at.place, *found)?;
            let name = format!("{}.txt", name.split('.').next().unwrap_or(&name));
            let attr =
                at.vfs.fixed(at.inode(LABEL, found.number()), &at.place.view.of, (*size).into());
            let next = position(found.number()) + 1;
            if each(Item { name: name.as_bytes(), attr, next, dots: false }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let text = match at.node.kind {
            YAML => yaml(&*plan(at)?, &*classes(at)?),
            _ => label(at)?,
        };
        Ok(Handle::Text(text.into()))
    }

    fn up(&self, slot: Slot, node: ViewNode) -> Inode {
        match node.kind {
            IMAGES_OF => inode(NUMBER, slot, IMAGES, 0),
            LABELS_OF => inode(NUMBER, slot, LABELS, 0),
            _ => Inode::View(slot),
        }
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        match node.kind {
            IMAGES => "/images".into(),
            LABELS => "/labels".into(),
            IMAGES_OF => format!("/images/(split {})", node.number),
            LABELS_OF => format!("/labels/(split {})", node.number),
            YAML => "/data.yaml".into(),
            _ => format!("/labels/(the label of entry {})", node.number),
        }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Yolo {
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Own
    }

    fn narrows(&self, _step: ViewStep) -> bool {
        false
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        layout::above(parent, step)
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        layout::path(vfs, (parent, step), self.name())
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        let at = own(vfs, place);
        match name {
            b"images" => Ok(Entry::Found(at.directory(IMAGES, 0))),
            b"labels" => Ok(Entry::Found(at.directory(LABELS, 0))),
            DATA => Ok(Entry::Found(at.file(YAML, 0)?)),
            _ => {
                let Some(text) = layout::options(place, name) else { return Ok(entry(None)) };
                let options = Options::parse(text)?;
                found(vfs, place, &options)?;
                layout::with(at, text)
            }
        }
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        let at = own(vfs, place);
        if layout::is_plain(place)
            && boxes::recognised(&*place.view.schema(&vfs.catalog)?).is_none()
        {
            // Only with options that name the boxes.
            return Ok(Listing::known(vfs, (place.view.own, place.view.up), Vec::new()));
        }
        let heads = vec![
            (DATA.to_vec(), at.file(YAML, 0)?),
            (b"images".to_vec(), at.directory(IMAGES, 0)),
            (b"labels".to_vec(), at.directory(LABELS, 0)),
        ];
        Ok(Listing::known(vfs, (place.view.own, place.view.up), heads))
    }
}

fn own<'a>(vfs: &'a Arc<Vfs>, place: &'a Place) -> At<'a> {
    At::new(vfs, place, ViewNode { directory: NUMBER, kind: IMAGES, number: 0 })
}

/// The options of a layout's place.
fn text(vfs: &Vfs, place: &Place) -> Result<Arc<str>> {
    match place.view.made().and_then(|made| made.text) {
        None => Ok(NONE.into()),
        Some(_) => super::text_of(vfs, place),
    }
}

/// The columns of a layout, and that of its splits.
fn found(vfs: &Vfs, place: &Place, options: &Options<'_>) -> Result<(Boxes, Option<String>)> {
    let source = place.source_by_id(vfs)?;
    let split = match options.split {
        Some(name) => Some(recorded(&source.schema, name)?),
        None if options.division().is_none() => super::hugging_face::split_column(&source.schema),
        None => None,
    };
    Ok((Boxes::new(source, &options.boxes)?, split))
}

/// The name of a stored column, as opposed to a part of a path.
fn recorded(schema: &Schema, name: &str) -> Result<String> {
    let class = sets::named(schema, name)?;
    match class.part {
        None => Ok(class.name),
        Some(_) => {
            let text = format!("`split={name}`: write a stored column, not a part of a path");
            Err(error::Error::new(ErrorKind::Invalid, text))
        }
    }
}

/// The pictures of every split, with the sizes of their labels.
#[derive(Debug)]
struct Plan {
    splits: Vec<Part>,
    /// The number of keypoints of the first pose.
    keypoints: Option<usize>,
}

#[derive(Debug)]
struct Part {
    name: Vec<u8>,
    /// Ascending.
    entries: Vec<EntryId>,
    sizes: Vec<u32>,
}

impl Part {
    /// The picture whose label has this stem.
    fn label_named(&self, at: At<'_>, stem: &[u8]) -> Result<Option<EntryId>> {
        let id = std::str::from_utf8(stem).ok().and_then(|stem| stem.parse().ok());
        let Some(id) = id.map(RowId::new) else { return Ok(None) };
        let Some(ordinal) = at.place.pack.ordinal(id)? else { return Ok(None) };
        let Some(found) = at.place.pack.entry_of(0, ordinal)? else { return Ok(None) };
        let name = at.vfs.picture_name(at.place, found)?;
        let is_it = name.split('.').next().map(str::as_bytes) == Some(stem);
        Ok(Some(found).filter(|found| is_it && self.entries.binary_search(found).is_ok()))
    }
}

fn classes(at: At<'_>) -> Result<Arc<BTreeMap<String, usize>>> {
    let node = ViewNode { directory: NUMBER, kind: CLASSES, number: 0 };
    at.kept(
        node,
        |classes: &BTreeMap<String, usize>| classes.len() * 64 + 64,
        || {
            let text = text(at.vfs, at.place)?;
            Boxes::new(at.place.whole(at.vfs)?, &Options::parse(&text)?.boxes)?.classes()
        },
    )
}

fn plan(at: At<'_>) -> Result<Arc<Plan>> {
    let node = ViewNode { directory: NUMBER, kind: PLAN, number: 0 };
    let weight = |plan: &Plan| plan.splits.iter().map(|split| split.entries.len() * 8 + 64).sum();
    at.kept(node, weight, || {
        let classes = classes(at)?;
        let text = text(at.vfs, at.place)?;
        let options = Options::parse(&text)?;
        let (boxes, column) = found(at.vfs, at.place, &options)?;
        let division = options.division();
        let division = division.as_deref().map(Split::parse).transpose()?;
        // By entry: the split of its first row, and the size of its label.
        let mut pictures: BTreeMap<EntryId, (Option<Vec<u8>>, u32)> = BTreeMap::new();
        let mut keypoints = None;
        let also: Vec<&str> = column.as_deref().into_iter().collect();
        boxes.each(0..=u32::MAX, &also, &mut |drawn| {
            let lines = lines(&boxes, &drawn, &classes)?;
            if let Some(Outline::Points(points)) = drawn.marks.first().map(|mark| &mark.outline) {
                keypoints.get_or_insert(points.len());
            }
            let split = || match (&column, &division) {
                (Some(column), _) => {
                    drawn.text(column).map(|value| escape::segment(value.as_bytes()).into_owned())
                }
                (None, Some(division)) => {
                    let part = division.part(division.hash(&at.place.pack.path(drawn.entry).ok()?));
                    let name = part.and_then(|part| division.names().nth(part)).unwrap_or(TRAIN);
                    Some(name.into())
                }
                (None, None) => Some(TRAIN.into()),
            };
            let picture = pictures.entry(drawn.entry).or_insert_with(|| (split(), 0));
            picture.1 = picture.1.saturating_add(lines.len() as u32);
            Ok(())
        })?;
        let mut splits: BTreeMap<Vec<u8>, Part> = BTreeMap::new();
        for (found, (split, size)) in pictures {
            let Some(name) = split else { continue };
            let part = splits.entry(name.clone()).or_insert_with(|| Part {
                name,
                entries: Vec::new(),
                sizes: Vec::new(),
            });
            part.entries.push(found);
            part.sizes.push(size);
        }
        Ok(Plan { splits: splits.into_values().collect(), keypoints })
    })
}

/// The lines for the objects of one row.
fn lines(boxes: &Boxes, drawn: &boxes::Drawn, classes: &BTreeMap<String, usize>) -> Result<String> {
    let of_row = boxes.class().and_then(|class| drawn.text(class));
    let mut out = String::new();
    for mark in drawn.normalised(boxes)? {
        let class = classes.get(drawn.class(&mark, of_row.as_deref()));
        out += &mark.yolo(class.copied().unwrap_or_default());
    }
    Ok(out)
}

/// The label of a picture: the objects of all rows shown that name it.
fn label(at: At<'_>) -> Result<String> {
    let classes = classes(at)?;
    let text = text(at.vfs, at.place)?;
    let (boxes, _) = found(at.vfs, at.place, &Options::parse(&text)?)?;
    let mut out = String::new();
    for id in at.place.pack.rows(EntryId::new(at.node.number))? {
        let ordinal = at.place.pack.ordinal(id)?.filter(|ordinal| at.place.shows(*ordinal));
        let Some(ordinal) = ordinal else { continue };
        boxes.each(ordinal..=ordinal, &[], &mut |drawn| {
            out += &lines(&boxes, &drawn, &classes)?;
            Ok(())
        })?;
    }
    Ok(out)
}

/// `data.yaml`, with folders relative to it.
fn yaml(plan: &Plan, classes: &BTreeMap<String, usize>) -> String {
    let has = |wanted: &[u8]| plan.splits.iter().any(|split| split.name == wanted);
    let quoted = |text: &[u8]| {
        let mut out = Vec::new();
        json::string(&mut out, text);
        String::from_utf8_lossy(&out).into_owned()
    };
    let folder = |names: &[&str]| {
        let name = names.iter().find(|name| has(name.as_bytes()))?;
        Some(quoted(format!("images/{name}").as_bytes()))
    };
    let train = folder(&["train", "training"]);
    let val = folder(&["val", "valid", "validation", "dev"]);
    let test = folder(&["test", "testing"]);
    let mut out = String::new();
    // Ultralytics requires both, even if they are empty.
    let any = quoted(b"images");
    let first = train.clone().unwrap_or_else(|| any.clone());
    let second = val.or_else(|| test.clone()).or(train).unwrap_or(any);
    let _ = writeln!(out, "train: {first}\nval: {second}");
    if let Some(test) = test {
        let _ = writeln!(out, "test: {test}");
    }
    if let Some(keypoints) = plan.keypoints {
        let _ = writeln!(out, "kpt_shape: [{keypoints}, 3]");
    }
    out += if classes.is_empty() { "names: {}\n" } else { "names:\n" };
    for (class, number) in classes {
        let _ = writeln!(out, "  {number}: {}", quoted(class.as_bytes()));
    }
    out
}
