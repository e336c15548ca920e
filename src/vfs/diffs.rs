//! `_views/diff/<version>/`: what differs from another version of the dataset.
//!
//! ```text
//! _views/diff/  _README.md
//!               1.0.0/  added/  changed/     views of this version
//!                       removed/             a view of the other: its files, its inodes
//!                       _summary.md, .json   by name, for they take a pass over both versions
//! ```
//!
//! Only a whole version has it. Other versions come and go, so what names them is believed for a second; below,
//! rows are those of two immutable versions, found in a task when somebody goes there ([`dcfs_data::diff::sets`]).

use std::sync::Arc;

use tokio::runtime::Handle;

use super::inode::{Inode, Slot};
use super::listing::Listing;
use super::place::{Place, Shown};
use super::views::{Step, View};
use super::{Answer, Attr, Entry, Error, FOREVER, SHORT, Vfs};
use dcfs_core::error::Result;
use dcfs_core::version::Version;
use dcfs_data::catalog::VersionInfo;
use dcfs_data::diff::sets::{Sets, Side};
use dcfs_data::pack::{Pack, Subset};

impl Vfs {
    /// The directory `_views/diff`, which a whole version has.
    pub(super) fn diffs_attr(&self, view: &View) -> Option<Attr> {
        let is_whole = view.from.is_none();
        is_whole.then(|| self.diff_attr(Inode::Diffs(view.base), &view.of))
    }

    /// The attributes of a directory that other versions can change.
    pub(super) fn diff_attr(&self, inode: Inode, of: &VersionInfo) -> Attr {
        Attr { ttl: SHORT, ..self.directory(inode, Some(of)) }
    }

    /// `diff` in `_views/`.
    pub(super) fn lookup_diffs(&self, parent: u64, slot: Slot) -> Answer<Entry> {
        let attr = self.view(parent, slot).map(|view| self.diffs_attr(&view));
        Answer::Now(attr.map(|attr| attr.map_or(Entry::Absent(FOREVER), Entry::Found)))
    }

    /// A name in `_views/diff/`: another version by its whole number.
    pub(super) fn lookup_version(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        if name == b"_README.md" {
            let page = self.note(parent, slot, Inode::DiffsPage(slot));
            return page.map(|(attr, _)| Entry::Found(attr));
        }
        let wanted = std::str::from_utf8(name).ok().and_then(|name| {
            let version: Version = name.parse().ok()?;
            (version.to_string() == name).then_some(version)
        });
        let Some(wanted) = wanted else { return Answer::Now(Ok(Entry::Absent(FOREVER))) };
        self.with_view(parent, slot, |view| {
            let vfs = self.clone();
            self.in_background(move || {
                let current = vfs.datasets.current()?;
                let mut others = current.others(&view.of).into_iter();
                let other = others.find(|other| other.version == wanted);
                let found = other.map(|other| vfs.other(slot, &view.of, other)).transpose()?;
                Ok(found.map_or(Entry::Absent(SHORT), Entry::Found))
            })
        })
    }

    /// The directory of one other version.
    fn other(&self, slot: Slot, of: &VersionInfo, other: &VersionInfo) -> Result<Attr> {
        Ok(self.diff_attr(Inode::Diff(slot, self.views.slot(other)?), of))
    }

    /// `_views/diff/`: the other versions as they are now.
    pub(super) fn list_diffs(self: &Arc<Self>, number: u64, slot: Slot) -> Answer<Listing> {
        self.with_place_in_task(number, slot, move |vfs, place| {
            let (page, _) = vfs.note_of(place, Inode::DiffsPage(slot))?;
            let mut heads = vec![(b"_README.md".to_vec(), page)];
            for other in vfs.datasets.current()?.others(&place.view.of) {
                let attr = vfs.other(slot, &place.view.of, other)?;
                heads.push((other.version.to_string().into_bytes(), attr));
            }
            Ok(Listing::known(vfs, (Inode::Diffs(slot), Inode::Views(slot)), heads))
        })
    }

    /// A name in `_views/diff/<version>/`.
    pub(super) fn lookup_diff(
        self: &Arc<Self>,
        parent: u64,
        (slot, other): (Slot, Slot),
        name: &[u8],
    ) -> Answer<Entry> {
        let page = match name {
            b"_summary.md" => Inode::Summary(slot, other),
            b"_summary.json" => Inode::SummaryJson(slot, other),
            _ => {
                let found = self.parts(parent, slot, other);
                let part = found.map(|parts| parts.into_iter().find(|(part, _)| part == name));
                let entry = |part: Option<(_, Attr)>| {
                    part.map_or(Entry::Absent(FOREVER), |(_, attr)| Entry::Found(attr))
                };
                return Answer::Now(part.map(entry));
            }
        };
        self.note(parent, slot, page).map(|(attr, _)| Entry::Found(attr))
    }

    /// `_views/diff/<version>/`, without what takes a pass over the rows.
    pub(super) fn list_diff(&self, number: u64, slot: Slot, other: Slot) -> Answer<Listing> {
        let parts = self.parts(number, slot, other);
        let places = (Inode::Diff(slot, other), Inode::Diffs(slot));
        Answer::Now(parts.map(|parts| Listing::known(self, places, parts)))
    }

    /// The directories of the rows that differ. `number` is the inode that was asked, for the error.
    fn parts(&self, number: u64, slot: Slot, other: Slot) -> Result<Vec<(Vec<u8>, Attr)>> {
        let (this, that) = (self.view(number, slot)?, self.view(number, other)?);
        let part = |name: &str, around: Slot, step: Step, of: &VersionInfo| -> Result<_> {
            let view = Inode::View(self.views.step(around, step)?);
            Ok((name.as_bytes().to_vec(), self.directory(view, Some(of))))
        };
        Ok(vec![
            part("added", slot, Step::Added(other), &this.of)?,
            part("changed", slot, Step::Changed(other), &this.of)?,
            part("removed", other, Step::Removed(slot), &that.of)?,
        ])
    }

    /// What the pages of a view say of a step that leads to rows that differ.
    pub(super) fn difference(&self, step: Step) -> Option<String> {
        let (what, other) = match step {
            Step::Added(other) => ("not in", other),
            Step::Changed(other) => ("otherwise in", other),
            Step::Removed(by) => ("not in", by),
            _ => return None,
        };
        Some(format!("{what} {}", self.views.named(other)?.of))
    }

    /// The rows of a step that differ. Blocks.
    pub(super) fn differing(&self, place: &Place, step: Step) -> Result<Shown> {
        let rows = match step {
            Step::Added(other) => self.diff(place, other)?.added.clone(),
            Step::Changed(other) => self.diff(place, other)?.changed.clone(),
            Step::Removed(by) => {
                let around = self.view(Inode::View(by).number(), by)?;
                let pack = self.pack_of(by, &around)?;
                let newer = Place { slot: by, view: around, pack, shown: None };
                self.compared(place, &newer)?.removed.clone()
            }
            _ => return Err(Error::Unknown(Inode::View(place.slot).number()).into()),
        };
        Ok(Shown { set: Subset::new(rows), ranking: None })
    }

    /// What differs in `place` from another version. Blocks.
    pub(super) fn diff(&self, place: &Place, other: Slot) -> Result<Arc<Sets>> {
        let view = self.view(Inode::View(other).number(), other)?;
        let pack = self.pack_of(other, &view)?;
        self.compared(&Place { slot: other, view, pack, shown: None }, place)
    }

    fn compared(&self, before: &Place, after: &Place) -> Result<Arc<Sets>> {
        let schemas = [before, after].map(|place| place.view.schema(&self.catalog));
        let [left, right] = schemas;
        let (left, right) = (left?, right?);
        let left = Side { of: &before.view.of, schema: &left, pack: &before.pack };
        let right = Side { of: &after.view.of, schema: &right, pack: &after.pack };
        self.diffs.get(&self.catalog, left, right)
    }

    /// The pack of a version beside the one that was asked. Blocks, on a thread for what does.
    fn pack_of(&self, slot: Slot, view: &View) -> Result<Arc<Pack>> {
        if let Some(pack) = view.pack() {
            self.believe(Inode::View(slot).number(), slot, &pack)?;
            return Ok(pack);
        }
        let pack = Handle::current().block_on(self.packs.get(&view.of))?;
        view.keep(&pack);
        Ok(pack)
    }
}
