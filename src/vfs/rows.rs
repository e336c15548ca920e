//! `_views/rows/`: one file per row, rendered when it is looked at.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;

use super::handles::Handle;
use super::inode::{Inode, Slot};
use super::place::Place;
use super::{Answer, Attr, Entry, Error, FOREVER, Opened, Vfs};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::render::rows::Format;
use dcfs_data::tables::text::write;

/// How many rows are rendered in one go for a listing that needs their sizes.
const PAGE: usize = 512;

impl Vfs {
    /// A row in `_views/rows/`, by `<sys__id>.json`.
    pub(super) fn lookup_row(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        let id = row_id(name);
        self.with_place_in_task(parent, slot, move |vfs, place| {
            let ordinal = id.and_then(|id| place.pack.ordinal(id));
            match ordinal.filter(|ordinal| place.shows(*ordinal)) {
                Some(ordinal) => Ok(Entry::Found(vfs.row_attr_of(place, ordinal)?)),
                None => Ok(Entry::Absent(FOREVER)),
            }
        })
    }

    /// The attributes of a row's file.
    pub(super) fn row_attr(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ordinal: u32,
    ) -> Answer<Attr> {
        self.with_place_in_task(number, slot, move |vfs, place| vfs.row_attr_of(place, ordinal))
    }

    fn row_attr_of(&self, place: &Place, ordinal: u32) -> Result<Attr> {
        let text = self.row(place, ordinal)?;
        Ok(self.fixed(Inode::Row(place.slot, ordinal), &place.view.of, text.len() as u64))
    }

    /// Opens a row's file.
    pub(super) fn open_row(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ordinal: u32,
    ) -> Answer<Opened> {
        let vfs = self.clone();
        let row = self.with_place_in_task(number, slot, move |vfs, place| vfs.row(place, ordinal));
        row.map(move |text| vfs.opened(Handle::Text(text)))
    }

    fn row(&self, place: &Place, ordinal: u32) -> Result<Bytes> {
        let mut found = None;
        self.render(place, ordinal..=ordinal, &mut |_, text| found = Some(text.to_vec()))?;
        let unknown = || Error::Unknown(Inode::Row(place.slot, ordinal).number());
        Ok(found.ok_or_else(unknown)?.into())
    }

    /// Calls `each` with the ordinal, the id and the size of the file of every row shown, from the
    /// ordinal `from` on, until it breaks. Blocks.
    pub(super) fn each_row(
        &self,
        place: &Place,
        from: u32,
        each: &mut dyn FnMut(u32, RowId, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let source = place.source_by_id(self)?;
        let mut ordinals = source.places(from..=u32::MAX);
        loop {
            // `each` ends when a reply of the kernel is full, so only a page is rendered at a time.
            let page: Vec<u32> = ordinals.by_ref().take(PAGE).map(|at| at.ordinal).collect();
            let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
            let mut sizes = Vec::with_capacity(page.len());
            self.render(place, *first..=*last, &mut |ordinal, text| {
                sizes.push((ordinal, text.len() as u64));
            })?;
            for (ordinal, size) in sizes {
                let Some(id) = place.pack.row_id(ordinal) else { continue };
                if each(ordinal, id, size).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn render(
        &self,
        place: &Place,
        within: RangeInclusive<u32>,
        each: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<()> {
        let source = place.source_by_id(self)?;
        let layout = source.layout(Format::Pretty);
        let mut text = Vec::new();
        write(&source, &layout, within, &mut text, &mut |ordinal, text| {
            each(ordinal, text);
            text.clear();
            true
        })
    }
}

/// The row that a name means: digits as `sys__id`s print, and nothing else.
fn row_id(name: &[u8]) -> Option<RowId> {
    let digits = std::str::from_utf8(name.strip_suffix(b".json")?).ok()?;
    let id: i64 = digits.parse().ok()?;
    (id.to_string() == digits).then(|| RowId::new(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_means_one_row() {
        let cases: [(&str, Option<i64>); 9] = [
            ("1.json", Some(1)),
            ("-9223372036854775808.json", Some(i64::MIN)),
            ("0.json", Some(0)),
            ("01.json", None),
            ("+1.json", None),
            ("-0.json", None),
            ("1", None),
            (".json", None),
            ("9223372036854775808.json", None),
        ];
        for (name, want) in cases {
            assert_eq!(row_id(name.as_bytes()).map(RowId::key), want, "{name}");
        }
    }
}
