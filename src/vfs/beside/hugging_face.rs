//! `_views/hf/`: a folder that `load_dataset("imagefolder", data_dir=...)` loads with all columns.
//!
//! The files as they are, except recorded ones that would be taken for metadata, and one `metadata.jsonl`
//! beside them that names each (`file_name`). If there is a column called `split`, there is a directory per
//! value instead, each with its own metadata: Hugging Face looks for the metadata of a split among the files of
//! that split (`datasets/packaged_modules/folder_based_builder`). A `README.md` there maps directories to
//! splits.

use std::sync::Arc;

use dcfs_core::error::Result;
use dcfs_core::render::hub;
use dcfs_core::render::rows::{caption, is_metadata};
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::{Class, classes};
use dcfs_core::tree::values::Values;

use super::{At, Directory, Narrowing, Shape, Stands, entry};
use crate::handles::Handle;
use crate::inode::{Inode, MOST_LEAVES, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::{Place, Shown};
use crate::tables::Table;
use crate::views::{Kind, Step, ViewStep};
use crate::{Attr, Entry, Vfs, sets};

/// Name of the column of splits.
const SPLIT: &str = "split";

/// The file that tells Hugging Face of splits.
const CARD: &[u8] = b"README.md";

/// The directory that Hugging Face loads.
pub struct HuggingFace;

const NUMBER: u8 = 2;

/// [`CARD`], the only node.
const CARD_NODE: u8 = 0;

/// Kinds of views: all rows, and below it the rows of one value of the column of splits.
const ALL: u8 = 0;
const ONE: u8 = 1;

impl Directory for HuggingFace {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "hf"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## hf/\n\n\
         What Hugging Face `datasets` loads, all scalar columns included: the files, and a `metadata.jsonl` that names\n\
         them (by name also `metadata.parquet`, `captions.csv` where a column has captions, and a card, `README.md`). Where a column is called `split`, there is one directory per value, each with its own.\n\n    \
         python -c 'from datasets import load_dataset; print(load_dataset(\"imagefolder\", data_dir=\"hf\"))'\n\n\
         Without such a column, Hugging Face still makes splits of directories and files that are called `train`, `test`,\n\
         `val` and the like, and finds no columns for them. Then say `data_files={\"train\": \"hf/**\"}` in place of\n\
         `data_dir`.\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::WithFiles
    }

    fn top(&self, vfs: &Vfs, slot: Slot) -> Result<Inode> {
        let all = ViewStep { directory: NUMBER, kind: ALL, number: 0, text: None };
        Ok(Inode::View(vfs.views.step(slot, Step::Beside(all))?))
    }

    fn shape(&self, _kind: u8) -> Shape {
        Shape::File
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let text = match splits(at.vfs, at.place)? {
            Some((leaf, values)) => card(at.vfs, at.place, leaf, &values)?,
            None => hub::whole(&at.place.view.of.to_string()),
        };
        Ok(Handle::Text(text.into()))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::View(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, _node: ViewNode) -> String {
        "/README.md".into()
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for HuggingFace {
    fn kind(&self, _step: ViewStep) -> Kind {
        Kind::Own
    }

    fn narrows(&self, step: ViewStep) -> bool {
        step.kind == ONE
    }

    fn rows(&self, vfs: &Arc<Vfs>, around: &Place, step: ViewStep) -> Result<Shown> {
        let (leaf, first) = value_of(step);
        vfs.shown_of_value(around, leaf, first)
    }

    fn above(&self, parent: Slot, step: ViewStep) -> Inode {
        if step.kind == ONE { Inode::View(parent) } else { Inode::Views(parent) }
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let rest = match step.kind {
            ONE => {
                let ((leaf, first), around) = (value_of(step), vfs.views.named(parent)?);
                format!("/{}", vfs.value_name(&around, leaf, first))
            }
            _ => "/_views/hf".into(),
        };
        Some(vfs.view_path(parent)? + &rest)
    }

    fn owns(&self, step: ViewStep, name: &[u8]) -> bool {
        // Finding out whether all rows have splits takes a scan of the values.
        step.kind == ALL || table(name).is_some()
    }

    fn lookup(&self, vfs: &Arc<Vfs>, place: &Place, name: &[u8]) -> Result<Entry> {
        let Some((leaf, values)) = splits(vfs, place)? else {
            return match table(name) {
                Some(Table::Captions) if !has_captions(vfs, place)? => Ok(entry(None)),
                Some(table) => vfs.table_of(place, table).map(Entry::Found),
                None => match vfs.lookup_files(place, name)? {
                    // Not listed, and a recorded file wins: only Hugging Face looks for it.
                    Entry::Absent(_) if name == CARD && !is_split(place) => {
                        Ok(Entry::Found(card_attr(vfs, place)?))
                    }
                    found => Ok(found),
                },
            };
        };
        if name == CARD {
            return Ok(Entry::Found(card_attr(vfs, place)?));
        }
        let mut found = split_attrs(vfs, place, leaf, &values)?.into_iter();
        Ok(entry(found.find(|(split, _)| *split == name).map(|(_, attr)| attr)))
    }

    fn list(&self, vfs: &Arc<Vfs>, place: &Place) -> Result<Listing> {
        match splits(vfs, place)? {
            Some((leaf, values)) => {
                let card = card_attr(vfs, place)?;
                let mut heads = split_attrs(vfs, place, leaf, &values)?;
                // A value of that name would be ambiguous.
                heads.retain(|(name, _)| name != CARD);
                heads.push((CARD.to_vec(), card));
                Ok(Listing::known(vfs, (place.view.own, place.view.up), heads))
            }
            None => {
                let metadata = vfs.table_of(place, Table::Metadata)?;
                let heads = vec![(Table::Metadata.name().as_bytes().to_vec(), metadata)];
                Listing::top(vfs, place, heads)
            }
        }
    }

    fn hides(&self, _step: ViewStep, name: &[u8]) -> bool {
        is_metadata(name)
    }
}

fn table(name: &[u8]) -> Option<Table> {
    Table::HUGGING_FACE.into_iter().find(|table| table.name().as_bytes() == name)
}

fn has_captions(vfs: &Vfs, place: &Place) -> Result<bool> {
    Ok(caption(&*place.view.schema(&vfs.catalog)?).is_some())
}

/// The value of a split: a leaf, and the ordinal of its first row.
fn value_of(step: ViewStep) -> (u16, u32) {
    ((step.number >> 32) as u16, step.number as u32)
}

/// Whether a place is a split, which has no splits itself.
fn is_split(place: &Place) -> bool {
    matches!(place.view.from, Some((_, Step::Beside(step))) if step.kind == ONE)
}

/// The column of splits and its values, if there is one. Blocking.
fn splits(vfs: &Vfs, place: &Place) -> Result<Option<(u16, Arc<Option<Values>>)>> {
    if is_split(place) {
        return Ok(None);
    }
    let Some(leaf) = split_leaf(&*place.view.schema(&vfs.catalog)?) else { return Ok(None) };
    let values = vfs.values(place, leaf)?;
    Ok(values.is_some().then_some((leaf, values)))
}

fn card_attr(vfs: &Arc<Vfs>, place: &Place) -> Result<Attr> {
    let node = ViewNode { directory: NUMBER, kind: CARD_NODE, number: 0 };
    At::new(vfs, place, node).file(CARD_NODE, 0)
}

/// `README.md`: maps directories to splits.
fn card(vfs: &Vfs, place: &Place, leaf: u16, values: &Option<Values>) -> Result<String> {
    let is_null = |name: &Vec<u8>| {
        let value = values.as_ref().and_then(|values| values.named(name));
        value.is_some_and(|value| value.is_null)
    };
    let folders = split_attrs(vfs, place, leaf, values)?.into_iter().map(|(name, _)| name);
    let folders = folders.filter(|name| name != CARD);
    let (without, folders): (Vec<_>, Vec<_>) = folders.partition(is_null);
    Ok(hub::card(&place.view.of.to_string(), &folders, !without.is_empty()))
}

/// The directories of the splits that any row shown here is in.
fn split_attrs(
    vfs: &Vfs,
    place: &Place,
    leaf: u16,
    values: &Option<Values>,
) -> Result<Vec<(Vec<u8>, Attr)>> {
    let shown = values.iter().flat_map(Values::iter).filter(|value| place.meets(value));
    shown
        .map(|value| {
            let number = u64::from(leaf) << 32 | u64::from(value.first);
            let step = ViewStep { directory: NUMBER, kind: ONE, number, text: None };
            let slot = vfs.views.step(place.slot, Step::Beside(step))?;
            let attr = vfs.directory(Inode::View(slot), Some(&place.view.of));
            Ok((value.name.clone(), attr))
        })
        .collect()
}

/// The name of the column of splits, if there is one.
pub fn split_column(schema: &Schema) -> Option<String> {
    sets::scalar(schema, split_leaf(schema)?).map(|class| class.name)
}

/// The column called `split`, or the only one whose last part is called that.
fn split_leaf(schema: &Schema) -> Option<u16> {
    let all = classes(schema, MOST_LEAVES);
    let is_named = |class: &&Class<'_>| class.name.rsplit('.').next() == Some(SPLIT);
    let named: Vec<_> = all.iter().filter(|class| class.part.is_none()).filter(is_named).collect();
    let exact = named.iter().find(|class| class.name == SPLIT);
    let only = (named.len() == 1).then(|| &named[0]);
    exact.or(only).map(|class| class.number)
}
