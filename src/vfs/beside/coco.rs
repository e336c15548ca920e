//! `_views/coco/{annotations.json,images/}`: what `pycocotools` loads.
//!
//! Pictures are named and boxes found as for YOLO ([`boxes`]). Ids of pictures are those of their first rows,
//! ids of categories count from 1 by name over the whole version. With `caption=` the texts of a column become
//! captions, instead of boxes and without categories: that is how `pycocotools` recognises a file of captions.
//! `annotations.json` may be long: it is written once into the cache, and gets its size from there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use dcfs_core::error::{self, Kind as ErrorKind, Result};
use dcfs_core::id::EntryId;
use dcfs_core::loader::boxes::{Mark, Outline};
use dcfs_core::loader::options::{self, NONE};
use dcfs_core::render::rows::json;
use dcfs_core::schema::Schema;
use dcfs_data::pack::home::{Draft, Home};

use super::boxes::{self, Boxes, Wanted};
use super::layout;
use super::webdataset::digest;
use super::{At, Directory, Narrowing, Shape, Stands, entry};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Listing};
use crate::place::Place;
use crate::tables::Content;
use crate::views::{Kind, Step, ViewStep};
use crate::{Entry, Vfs, sets};

/// The directory that `pycocotools` loads.
pub struct Coco;

const NUMBER: u8 = 9;

/// Kinds of nodes, all in the view of the layout.
const IMAGES: u8 = 1;
const ANNOTATIONS: u8 = 2;
/// Only cache keys: the pictures, and the classes.
const PICTURES: u8 = 3;

const FILE: &[u8] = b"annotations.json";

#[derive(Debug)]
struct Options<'t> {
    boxes: Wanted<'t>,
    caption: Option<&'t str>,
}

impl<'t> Options<'t> {
    fn parse(text: &'t str) -> Result<Self, options::Error> {
        let mut found = Self { boxes: Wanted::default(), caption: None };
        for (key, value) in options::parse(text)? {
            match key {
                "caption" => found.caption = Some(value),
                _ if found.boxes.take(key, value)? => {}
                _ => {
                    let wanted = "`boxes=`, `class=`, `format=`, `coords=`, `size=` and `caption=`";
                    return Err(options::Error::Unknown(key.to_owned(), wanted));
                }
            }
        }
        if found.caption.is_some() {
            found.boxes.without()?;
        }
        Ok(found)
    }

    fn found(&self, vfs: &Vfs, place: &Place) -> Result<Boxes> {
        let source = place.source_by_id(vfs)?;
        if let Some(caption) = self.caption {
            sets::named(&source.schema, caption)?;
        }
        Boxes::new(source, &self.boxes)
    }
}

impl Directory for Coco {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "coco"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## coco/\n\n\
         `annotations.json` and `images/` as COCO has them, boxes, outlines, keypoints and captions, from the columns that `yolo/` takes;\n\
         `caption=` names one of texts:\n\n    \
         python -c 'from pycocotools.coco import COCO; print(COCO(\"coco/annotations.json\").getImgIds())'\n    \
         ls coco/caption=text/images/\n"
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
        if kind == ANNOTATIONS { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        at.vfs.lookup_picture(at.place, &pictures(at)?, name)
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        pictures(at)?;
        Ok(Listing::numbered(at, (at.own(), self.up(at.place.slot, at.node))))
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        at.vfs.list_pictures(at.place, &pictures(at)?, from, each)
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let node = ViewNode { kind: ANNOTATIONS, ..at.node };
        Ok(Handle::Table(at.kept(node, |_| 256, || annotations(at))?))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::View(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        if node.kind == ANNOTATIONS { "/annotations.json".into() } else { "/images".into() }
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Coco {
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
            FILE => Ok(Entry::Found(at.file(ANNOTATIONS, 0)?)),
            _ => {
                let Some(text) = layout::options(place, name) else { return Ok(entry(None)) };
                Options::parse(text)?.found(vfs, place)?;
                layout::with(at, text)
            }
        }
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        let at = own(vfs, place);
        if layout::is_plain(place)
            && boxes::recognised(&*place.view.schema(&vfs.catalog)?).is_none()
        {
            // Only with options that name the boxes or the captions.
            return Ok(Listing::known(vfs, (place.view.own, place.view.up), Vec::new()));
        }
        let images = (b"images".to_vec(), at.directory(IMAGES, 0));
        let heads = vec![(FILE.to_vec(), at.file(ANNOTATIONS, 0)?), images];
        Ok(Listing::known(vfs, (place.view.own, place.view.up), heads))
    }
}

fn own<'a>(vfs: &'a Arc<Vfs>, place: &'a Place) -> At<'a> {
    At::new(vfs, place, ViewNode { directory: NUMBER, kind: IMAGES, number: 0 })
}

/// The entries of the pictures shown, ascending.
fn pictures(at: At<'_>) -> Result<Arc<Vec<EntryId>>> {
    let node = ViewNode { kind: PICTURES, ..at.node };
    at.kept(
        node,
        |pictures: &Vec<EntryId>| pictures.len() * 4 + 64,
        || {
            let files =
                at.place.pack.columns().first().map_or(0..0, |column| column.entries.clone());
            match at.place.set() {
                None => Ok(files.map(EntryId::new).collect()),
                Some(set) => {
                    let shown = at.place.pack.entries(set)?.range(files);
                    Ok(shown.map(EntryId::new).collect())
                }
            }
        },
    )
}

/// The file of annotations: the cached one, or a new one.
fn annotations(at: At<'_>) -> Result<Content> {
    let text = match at.place.view.made().and_then(|made| made.text) {
        None => NONE.into(),
        Some(_) => super::text_of(at.vfs, at.place)?,
    };
    let options = Options::parse(&text)?;
    let boxes = options.found(at.vfs, at.place)?;
    let home = Home::of(&at.place.pack, "tables");
    let stem = at.place.source_by_id(at.vfs)?.stem(&format!("coco-{}", digest(&text)));
    let file = match home.find(&stem) {
        Some(file) => file,
        None => {
            let classes = Boxes::new(at.place.whole(at.vfs)?, &options.boxes)?.classes()?;
            let mut draft = home.create()?;
            write(at, &boxes, options.caption, &classes, &mut draft)?;
            home.keep(draft, &stem)?
        }
    };
    let size = file.metadata().map_err(failed)?.len();
    Ok(Content::File(file, size))
}

fn failed(error: std::io::Error) -> error::Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => ErrorKind::NoSpace,
        _ => ErrorKind::Broken,
    };
    error::Error::new(kind, format!("cannot write annotations into the cache: {error}"))
}

/// Writes the file: pictures first, in a pass of their own, because a list must end before the next begins.
fn write(
    at: At<'_>,
    boxes: &Boxes,
    caption: Option<&str>,
    classes: &BTreeMap<String, usize>,
    draft: &mut Draft,
) -> Result<()> {
    let mut out = std::io::BufWriter::new(draft);
    let mut put = |text: &str| out.write_all(text.as_bytes()).map_err(failed);
    put("{\"info\": {\"description\": ")?;
    put(&quoted(&at.place.view.of.to_string()))?;
    put("}, \"licenses\": [], \"images\": [")?;
    let mut seen = dcfs_data::pack::Ordinals::new();
    boxes.each(0..=u32::MAX, &[], &mut |drawn| {
        if !seen.insert(drawn.entry.number()) {
            return Ok(());
        }
        let first = at.place.pack.first_row(drawn.entry)?;
        let name = boxes::name(first, &drawn.path);
        let size = drawn.size.map_or(String::new(), |(width, height)| {
            format!(", \"width\": {width}, \"height\": {height}")
        });
        let comma = if seen.len() == 1 { "" } else { ",\n" };
        put(&format!("{comma}{{\"id\": {first}, \"file_name\": {}{size}}}", quoted(&name)))
    })?;
    put("],\n\"annotations\": [")?;
    let (mut id, also) = (0_u64, caption.into_iter().collect::<Vec<_>>());
    boxes.each(0..=u32::MAX, &also, &mut |drawn| {
        let picture = at.place.pack.first_row(drawn.entry)?;
        let of_row = boxes.class().and_then(|class| drawn.text(class));
        let mut annotation = |text: String| {
            id += 1;
            let comma = if id == 1 { "" } else { ",\n" };
            put(&format!("{comma}{{\"id\": {id}, \"image_id\": {picture}, {text}}}"))
        };
        for mark in drawn.in_pixels(boxes)? {
            let class = classes.get(drawn.class(&mark, of_row.as_deref()));
            annotation(object(&mark, class.copied().unwrap_or_default() + 1))?;
        }
        match caption.and_then(|caption| drawn.text(caption)) {
            Some(text) => annotation(format!("\"caption\": {}", quoted(&text))),
            None => Ok(()),
        }
    })?;
    if caption.is_some() {
        put("]}\n")?;
        return out.flush().map_err(failed);
    }
    put("],\n\"categories\": [")?;
    for (class, number) in classes {
        let comma = if *number == 0 { "" } else { ",\n" };
        put(&format!("{comma}{{\"id\": {}, \"name\": {}}}", number + 1, quoted(class)))?;
    }
    put("]}\n")?;
    out.flush().map_err(failed)
}

/// The annotation of an object.
fn object(mark: &Mark, category: usize) -> String {
    let [left, top, right, bottom] = mark.edges();
    let list = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
    };
    let bbox = list(&mut [left, top, right - left, bottom - top].into_iter());
    let area = mark.area();
    let mut text = format!(
        "\"category_id\": {category}, \"bbox\": [{bbox}], \"area\": {area}, \"iscrowd\": 0"
    );
    match &mark.outline {
        Outline::Box(_) => {}
        Outline::Polygon(points) => {
            let points = list(&mut points.iter().flat_map(|(x, y)| [*x, *y]));
            text += &format!(", \"segmentation\": [[{points}]]");
        }
        Outline::Points(points) => {
            let seen = points.iter().filter(|point| point.2 > 0.0).count();
            let points = list(&mut points.iter().flat_map(|(x, y, seen)| [*x, *y, *seen]));
            text += &format!(", \"keypoints\": [{points}], \"num_keypoints\": {seen}");
        }
    }
    text
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json::string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}
