//! `_views/hf/`: what `load_dataset("imagefolder", data_dir=...)` loads with all columns.
//!
//! The files as they are, but for recorded ones that would be taken for metadata, and one `metadata.jsonl` beside them
//! that names each (`file_name`). Where a
//! column is called `split`, a directory per value in their place, each with its own: Hugging Face
//! looks for the metadata of a split among the files of that split
//! (`datasets/packaged_modules/folder_based_builder`). A `README.md` says there which directory is which split.

use std::sync::Arc;

use super::inode::{Inode, MOST_LEAVES, Slot};
use super::listing::Listing;
use super::place::Place;
use super::tables::Table;
use super::views::{Kind, Step};
use super::{Answer, Attr, Entry, Error, FOREVER, Vfs};
use dcfs_core::error::Result;
use dcfs_core::render::hub;
use dcfs_core::schema::Schema;
use dcfs_core::tree::classes::{Class, classes};
use dcfs_core::tree::values::Values;

/// What a column of splits is called.
const SPLIT: &str = "split";

/// The file that tells Hugging Face of splits.
const CARD: &[u8] = b"README.md";

impl Vfs {
    /// The directory `_views/hf`; `None` where no row names a file.
    pub(super) fn hugging_face(&self, place: &Place) -> Result<Option<Attr>> {
        if place.pack.columns().is_empty() {
            return Ok(None);
        }
        let slot = self.views.step(place.slot, Step::HuggingFace)?;
        Ok(Some(self.directory(Inode::View(slot), Some(&place.view.of))))
    }

    /// The column of splits and its values, if there is one. Blocks.
    fn splits(&self, place: &Place) -> Result<Option<(u16, Arc<Option<Values>>)>> {
        let Some(leaf) = split_leaf(&*place.view.schema(&self.catalog)?) else { return Ok(None) };
        let values = self.values(place, leaf)?;
        Ok(values.is_some().then_some((leaf, values)))
    }

    /// A name in `_views/hf/`.
    pub(super) fn lookup_hugging_face(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        let name = name.to_vec();
        self.with_place_in_task(parent, slot, move |vfs, place| {
            let Some((leaf, values)) = vfs.splits(place)? else {
                if name == Table::Metadata.name().as_bytes() {
                    return vfs.table_of(place, Table::Metadata).map(Entry::Found);
                }
                return vfs.lookup_files(place, &name);
            };
            if name == CARD {
                let (attr, _) = vfs.note_of(place, Inode::HubCard(slot))?;
                return Ok(Entry::Found(attr));
            }
            let found = vfs.split_attrs(place, leaf, &values)?;
            let found = found.into_iter().find(|(split, _)| *split == name);
            Ok(found.map_or(Entry::Absent(FOREVER), |(_, attr)| Entry::Found(attr)))
        })
    }

    /// `_views/hf/`, or one split of it.
    pub(super) fn list_hugging_face(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let is_whole = place.view.kind() == Kind::HuggingFace;
            match vfs.splits(place)?.filter(|_| is_whole) {
                Some((leaf, values)) => {
                    let (card, _) = vfs.note_of(place, Inode::HubCard(slot))?;
                    let mut heads = vfs.split_attrs(place, leaf, &values)?;
                    // A value of that name would be told apart by nobody.
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
        })
    }

    /// `README.md`: which directory is which split.
    pub(super) fn hub_card(&self, place: &Place) -> Result<String> {
        let unknown = || Error::Unknown(Inode::HubCard(place.slot).number());
        let (leaf, values) = self.splits(place)?.ok_or_else(unknown)?;
        let is_null = |name: &Vec<u8>| {
            let value = values.as_ref().as_ref().and_then(|values| values.named(name));
            value.is_some_and(|value| value.is_null)
        };
        let folders = self.split_attrs(place, leaf, &values)?.into_iter().map(|(name, _)| name);
        let folders = folders.filter(|name| name != CARD);
        let (without, folders): (Vec<_>, Vec<_>) = folders.partition(is_null);
        Ok(hub::card(&place.view.of.to_string(), &folders, !without.is_empty()))
    }

    /// The directories of the splits that any row shown here is in.
    fn split_attrs(
        &self,
        place: &Place,
        leaf: u16,
        values: &Option<Values>,
    ) -> Result<Vec<(Vec<u8>, Attr)>> {
        let shown = values.iter().flat_map(Values::iter).filter(|value| place.meets(value));
        shown
            .map(|value| {
                let slot = self.views.step(place.slot, Step::Split(leaf, value.first))?;
                let attr = self.directory(Inode::View(slot), Some(&place.view.of));
                Ok((value.name.clone(), attr))
            })
            .collect()
    }
}

/// The column called `split`, or the only one whose last part is called so.
fn split_leaf(schema: &Schema) -> Option<u16> {
    let all = classes(schema, MOST_LEAVES);
    let is_named = |class: &&Class<'_>| class.name.rsplit('.').next() == Some(SPLIT);
    let named: Vec<_> = all.iter().filter(|class| class.part.is_none()).filter(is_named).collect();
    let exact = named.iter().find(|class| class.name == SPLIT);
    let only = (named.len() == 1).then(|| &named[0]);
    exact.or(only).map(|class| class.number)
}
