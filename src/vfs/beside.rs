//! `_views/` and the folders by value: what stands beside the files of a view.
//!
//! ```text
//! _views/  _README.md
//!          rows/<sys__id>.json          one file per row              (see `rows`)
//!          by/<column>/<value>/         class folders, nested at will
//!          hf/                          for Hugging Face `datasets`   (see `hugging_face`)
//!          q/<hash>/                    query directories by short names  (see `filters`)
//!          diff/<version>/              what differs from another version (see `diffs`)
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::inode::{Inode, MOST_LEAVES, Slot};
use super::listing::Listing;
use super::place::Place;
use super::views::Step;
use super::{Answer, Attr, Entry, Error, FOREVER, Vfs, sets};
use dcfs_core::error::Result;
use dcfs_core::tree::classes::classes;
use dcfs_core::tree::values::Value;
use dcfs_data::pages;

/// The page that stands in place of more values than are listed.
const TOO_MANY: &[u8] = b"_too_many_values.md";

impl Vfs {
    /// A name in `_views/`.
    pub(super) fn lookup_views(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        match name {
            b"_README.md" => {
                let inode = Inode::ViewsPage(slot);
                self.note(parent, slot, inode).map(|(attr, _)| Entry::Found(attr))
            }
            b"rows" => self.beside(parent, slot, Inode::Rows(slot)),
            b"by" => self.beside(parent, slot, Inode::By(slot)),
            b"q" => self.beside(parent, slot, Inode::Aliases(slot)),
            b"diff" => self.lookup_diffs(parent, slot),
            b"hf" => self.with_place(parent, slot, move |vfs, place| {
                Ok(vfs.hugging_face(place)?.map_or(Entry::Absent(FOREVER), Entry::Found))
            }),
            _ => Answer::Now(Ok(Entry::Absent(FOREVER))),
        }
    }

    /// A directory that every view has.
    fn beside(self: &Arc<Self>, parent: u64, slot: Slot, inode: Inode) -> Answer<Entry> {
        let view = self.view(parent, slot);
        Answer::Now(view.map(|view| Entry::Found(self.directory(inode, Some(&view.of)))))
    }

    /// `_views/`: all of it.
    pub(super) fn list_views(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let of = &place.view.of;
            let (page, _) = vfs.note_of(place, Inode::ViewsPage(slot))?;
            let mut heads = vec![
                (b"_README.md".to_vec(), page),
                (b"by".to_vec(), vfs.directory(Inode::By(slot), Some(of))),
                (b"rows".to_vec(), vfs.directory(Inode::Rows(slot), Some(of))),
            ];
            heads.extend(vfs.hugging_face(place)?.map(|attr| (b"hf".to_vec(), attr)));
            heads.push((b"q".to_vec(), vfs.directory(Inode::Aliases(slot), Some(of))));
            heads.extend(vfs.diffs_attr(&place.view).map(|attr| (b"diff".to_vec(), attr)));
            Ok(Listing::known(vfs, (Inode::Views(slot), place.view.own), heads))
        })
    }

    /// A column in `_views/by/`.
    pub(super) fn lookup_by(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        let name = name.to_vec();
        self.with_place_in_task(parent, slot, move |vfs, place| {
            let schema = place.view.schema(&vfs.catalog)?;
            let mut found = classes(&schema, MOST_LEAVES).into_iter();
            let found = found.find(|class| class.folder() == name);
            Ok(found.map_or(Entry::Absent(FOREVER), |class| {
                let inode = Inode::ByColumn(slot, class.number);
                Entry::Found(vfs.directory(inode, Some(&place.view.of)))
            }))
        })
    }

    /// `_views/by/`: the columns that hold one value each and parts of paths, hidden ones left out.
    pub(super) fn list_by(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let schema = place.view.schema(&vfs.catalog)?;
            let all = classes(&schema, MOST_LEAVES);
            let heads = all.iter().filter(|class| !class.is_hidden).map(|class| {
                let inode = Inode::ByColumn(slot, class.number);
                (class.folder(), vfs.directory(inode, Some(&place.view.of)))
            });
            let places = (Inode::By(slot), Inode::Views(slot));
            Ok(Listing::known(vfs, places, heads.collect()))
        })
    }

    /// A value in `_views/by/<column>/`.
    pub(super) fn lookup_value(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        leaf: u16,
        name: &[u8],
    ) -> Answer<Entry> {
        let name = name.to_vec();
        self.with_place_in_task(parent, slot, move |vfs, place| {
            if name == TOO_MANY && vfs.values(place, leaf)?.is_none() {
                let (attr, _) = vfs.note_of(place, Inode::TooMany(slot, leaf))?;
                return Ok(Entry::Found(attr));
            }
            let Some(first) = vfs.value_named(place, leaf, &name)? else {
                return Ok(Entry::Absent(FOREVER));
            };
            Ok(match vfs.is_shown(place, leaf, first)? {
                true => Entry::Found(vfs.value_attr(place, leaf, first)),
                false => Entry::Absent(FOREVER),
            })
        })
    }

    /// Whether any row of the value is shown in `place`.
    fn is_shown(&self, place: &Place, leaf: u16, first: u32) -> Result<bool> {
        let Some(set) = place.set() else { return Ok(true) };
        if let Some(values) = &*self.values(place, leaf)? {
            let value = values.numbered(first);
            return Ok(value.is_some_and(|value| !value.rows.is_disjoint(set.rows())));
        }
        let below = self.views.step(place.slot, Step::Value(leaf, first))?;
        let view = self.view(Inode::View(below).number(), below)?;
        let rows = self.rows_of(below, &view, &place.pack)?;
        Ok(rows.is_some_and(|shown| !shown.set.rows().is_empty()))
    }

    fn value_attr(&self, place: &Place, leaf: u16, first: u32) -> Attr {
        self.directory(Inode::Value(place.slot, leaf, first), Some(&place.view.of))
    }

    /// `_views/by/<column>/`: the values that any row shown here has, or a page that there are too
    /// many. Rows without a value are no class: theirs is there by name alone.
    pub(super) fn list_values(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        leaf: u16,
    ) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let places = (Inode::ByColumn(slot, leaf), Inode::By(slot));
            let heads = match &*vfs.values(place, leaf)? {
                Some(values) => {
                    let has = |value: &&Value| !value.is_null && place.meets(value);
                    let shown = values.iter().filter(has);
                    let named = |value: &Value| {
                        (value.name.clone(), vfs.value_attr(place, leaf, value.first))
                    };
                    shown.map(named).collect()
                }
                None => {
                    let (attr, _) = vfs.note_of(place, Inode::TooMany(slot, leaf))?;
                    vec![(TOO_MANY.to_vec(), attr)]
                }
            };
            Ok(Listing::known(vfs, places, heads))
        })
    }

    /// A page of `_views/`: its attributes and its text, the same for ever.
    pub(super) fn note(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        inode: Inode,
    ) -> Answer<(Attr, Bytes)> {
        self.with_place_in_task(number, slot, move |vfs, place| vfs.note_of(place, inode))
    }

    pub(super) fn note_of(&self, place: &Place, inode: Inode) -> Result<(Attr, Bytes)> {
        let schema = place.view.schema(&self.catalog)?;
        let text = match inode {
            Inode::TooMany(_, leaf) => {
                let column = sets::scalar(&schema, leaf);
                let column = column.ok_or(Error::Unknown(inode.number()))?;
                pages::too_many_values(&column.name)
            }
            Inode::HubCard(_) => self.hub_card(place)?,
            Inode::ErrorNote(_, number) => self.error_note(place, number)?,
            Inode::DiffsPage(_) => pages::diffs(&place.view.of),
            Inode::Summary(_, other) => self.diff(place, other)?.summary.page(),
            Inode::SummaryJson(_, other) => self.diff(place, other)?.summary.json(),
            _ => pages::views(&place.view.of, &schema),
        };
        Ok((self.fixed(inode, &place.view.of, text.len() as u64), text.into()))
    }
}
