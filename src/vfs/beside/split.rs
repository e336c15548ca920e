//! `_views/split/<train=0.8,val=0.1,test=0.1>/<train|val|test>/`: rows divided by a seeded hash ([`dcfs_core::loader::split`]).
//!
//! A split is a view of all rows of its parent, with its parts at its top; a part is a view of its rows, which
//! has files, tables and `_views/` like a query directory. The identity of a row is the path of its file in the
//! first File column (its `sys__id` if it names none), or the value of the column that `by=` names.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::loader::split::Split;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::Class;
use dcfs_core::tree::values::wanted_name;
use dcfs_data::pack::{Ordinals, Subset};
use dcfs_data::tables::Source;

use super::{At, Directory, Narrowing, Shape, entry, inode, text_of};
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::{Place, Shown};
use crate::views::{Kind, Step, ViewStep};
use crate::{Attr, Entry, Vfs, sets};

/// Rows divided into parts.
pub struct Splits;

const NUMBER: u8 = 5;

/// Kinds of views: a split, by the text of its name; below it a part, by its index.
const SPLIT: u8 = 0;
const PART: u8 = 1;

impl Directory for Splits {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "split"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## split/\n\n\
         Rows divided by a seeded hash of their files' paths, by the name you give: a row stays in its part as others come and go.\n\
         `by=` keeps rows of one value together, `stratify=` keeps the shares within every value:\n\n    \
         ls 'split/train=0.8,val=0.1,test=0.1/train/'\n    \
         ls 'split/train=0.9,val=0.1,seed=7,by=file.parent/val/'\n    \
         ls 'split/train=0.9,val=0.1,stratify=label/val/'\n"
            .into()
    }

    fn shape(&self, _kind: u8) -> Shape {
        Shape::Directory
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let Some(text) = std::str::from_utf8(name).ok().filter(|text| text.contains('=')) else {
            return Ok(entry(None));
        };
        let split = Split::parse(text)?;
        let schema = at.place.view.schema(&at.vfs.catalog)?;
        for column in [split.by, split.stratify].into_iter().flatten() {
            sets::named(&schema, column)?;
        }
        let text = Some(at.vfs.filters.number(text)?);
        let step = ViewStep { directory: NUMBER, kind: SPLIT, number: 0, text };
        Ok(Entry::Found(at.view(step)?))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, _node: ViewNode) -> String {
        "/_views/split".into()
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Splits {
    fn kind(&self, step: ViewStep) -> Kind {
        if step.kind == SPLIT { Kind::Own } else { Kind::Version }
    }

    fn narrows(&self, step: ViewStep) -> bool {
        step.kind == PART
    }

    fn rows(&self, vfs: &Arc<Vfs>, around: &Place, step: ViewStep) -> Result<Shown> {
        let text = text_of(vfs, around)?;
        let rows = match Split::parse(&text)? {
            split if split.stratify.is_some() => stratified(vfs, around, &split, step.number)?,
            split => hashed(vfs, around, &split, step.number)?,
        };
        Ok(Shown { set: Subset::new(Arc::new(rows)), ranking: None })
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        if step.kind == SPLIT { inode(NUMBER, parent, 0, 0) } else { Inode::View(parent) }
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let above = vfs.view_path(parent)?;
        if step.kind == SPLIT {
            let text = vfs.filters.text(step.text?)?;
            return Some(format!("{above}/_views/split/{}", text));
        }
        Some(format!("{above}/{}", part_name(vfs, parent, step)?))
    }

    fn describe(&self, vfs: &Vfs, around: Slot, step: ViewStep) -> Option<String> {
        if step.kind == SPLIT {
            return None;
        }
        let (_, made) = vfs.views.named(around)?.from?;
        let text = vfs.filters.text(made.text()?)?;
        Some(format!("in `{}` of the split `{text}`", part_name(vfs, around, step)?))
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        let part = parts(vfs, place)?.into_iter().find(|(part, _)| part == name);
        Ok(entry(part.map(|(_, attr)| attr)))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        Ok(Listing::known(vfs, (place.view.own, place.view.up), parts(vfs, place)?))
    }
}

fn part_name(vfs: &Vfs, split: Slot, step: ViewStep) -> Option<String> {
    let (_, made) = vfs.views.named(split)?.from?;
    let text = vfs.filters.text(made.text()?)?;
    let split = Split::parse(&text).ok()?;
    let name = split.names().nth(usize::try_from(step.number).ok()?);
    name.map(str::to_owned)
}

fn parts(vfs: &Vfs, place: &Place) -> Result<Vec<(Vec<u8>, Attr)>> {
    let text = text_of(vfs, place)?;
    let split = Split::parse(&text)?;
    let part = |(number, name): (u64, &str)| {
        let step = ViewStep { directory: NUMBER, kind: PART, number, text: None };
        let slot = vfs.views.step(place.slot, Step::Beside(step))?;
        let attr = vfs.directory(Inode::View(slot), Some(&place.view.of));
        Ok((name.as_bytes().to_vec(), attr))
    };
    (0..).zip(split.names()).map(part).collect()
}

/// The rows whose hash falls in a part.
fn hashed(vfs: &Vfs, around: &Place, split: &Split<'_>, part: u64) -> Result<Ordinals> {
    let mut rows = Ordinals::new();
    each_hash(vfs, around, split, &mut |ordinal, hash, _| {
        if split.part(hash).is_some_and(|found| found as u64 == part) {
            rows.insert(ordinal);
        }
    })?;
    Ok(rows)
}

/// The rows of a part that takes its share of every value: those with the lowest hashes first.
fn stratified(vfs: &Vfs, around: &Place, split: &Split<'_>, part: u64) -> Result<Ordinals> {
    // Values by their hash, because strings may be long.
    let mut of_value: HashMap<u64, Vec<(u64, u32)>> = HashMap::new();
    each_hash(vfs, around, split, &mut |ordinal, hash, value| {
        of_value.entry(value).or_default().push((hash, ordinal));
    })?;
    let mut rows = Ordinals::new();
    for mut hashed in of_value.into_values() {
        hashed.sort_unstable();
        let count = hashed.len() as u64;
        for (rank, (_, ordinal)) in (0..).zip(hashed) {
            if split.part_of_rank(rank, count).is_some_and(|found| found as u64 == part) {
                rows.insert(ordinal);
            }
        }
    }
    Ok(rows)
}

/// Calls `each` with the ordinal and the hash of every row, and the hash of its value in the column to stratify
/// by.
fn each_hash(
    vfs: &Vfs,
    around: &Place,
    split: &Split<'_>,
    each: &mut dyn FnMut(u32, u64, u64),
) -> Result<()> {
    let source = around.source_by_id(vfs)?;
    let schema = source.schema.clone();
    let identity = match split.by {
        Some(name) => Some(sets::named(&schema, name)?),
        None => path_column(&source),
    };
    let stratify = split.stratify.map(|name| sets::named(&schema, name)).transpose()?;
    let asked: Vec<&Class<'_>> = identity.iter().chain(&stratify).collect();
    let columns: Vec<String> = asked.iter().map(|class| class.column.to_owned()).collect();
    source.scan(&columns, 0..=u32::MAX, &mut |at, id, cells| {
        let hash = match identity.as_ref().map(|class| (class, class.of(cells.cell(0)))) {
            None | Some((_, Cell::Null | Cell::Text(b""))) => split.hash(id.to_string().as_bytes()),
            // As recorded, without escapes: programs outside would hash the same.
            Some((_, Cell::Text(text) | Cell::Blob(text))) => split.hash(text),
            Some((class, cell)) => split.hash(&wanted_name(cell, class.value)),
        };
        let last = columns.len().saturating_sub(1);
        match &stratify {
            Some(class) => {
                let cell = class.of(cells.cell(last));
                each(at.ordinal, hash, split.hash(&wanted_name(cell, class.value)));
            }
            None => each(at.ordinal, hash, 0),
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The path in the first File column that has files.
fn path_column(source: &Source) -> Option<Class<'_>> {
    let file = &source.pack.columns().first()?.file;
    sets::named(&source.schema, &format!("{}.path", file.name)).ok()
}
