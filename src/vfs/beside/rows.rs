//! `_views/rows/`: one file per row, rendered when it is read. Not listed, but found by name,
//! `<sys__id>.why.md` explains the origin of the row, like `dcfs why`.

use std::ops::{ControlFlow, RangeInclusive};

use bytes::Bytes;
use tokio::runtime::Handle as Runtime;

use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::render::rows::Format;
use dcfs_core::schema::Schema;
use dcfs_data::tables::text::write;
use dcfs_data::trace::Tracer;

use super::{At, Directory, Shape, entry};
use crate::Vfs;
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Item, Listing, position};
use crate::place::Place;
use crate::{Attr, Entry};

/// Number of rows rendered at a time for a listing that needs their sizes.
const PAGE: usize = 512;

/// One file per row.
pub struct Rows;

/// A row's file and its page, by ordinal; the only other node is the top.
const ROW: u8 = 1;
const WHY: u8 = 2;

/// Extensions of names.
const JSON: &[u8] = b".json";
const PAGE_OF_ROW: &[u8] = b".why.md";

impl Directory for Rows {
    fn number(&self) -> u8 {
        1
    }

    fn name(&self) -> &'static str {
        "rows"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## rows/\n\nOne JSON file per row, `<sys__id>.json`, nested as the models nest. By name, `<sys__id>.why.md` follows\nthe row back to the storage: which rows of which parents, the filter that it passed, the program that computed it.\n"
            .into()
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, ROW | WHY) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        let kinds = [(ROW, JSON), (WHY, PAGE_OF_ROW)];
        let named = kinds.iter().find_map(|(kind, ending)| Some((*kind, row_id(name, ending)?)));
        let Some((kind, id)) = named else { return Ok(entry(None)) };
        let shown = at.place.pack.ordinal(id)?.map(|ordinal| (kind, ordinal));
        let shown = shown.filter(|(_, ordinal)| at.place.shows(*ordinal));
        Ok(entry(shown.map(|(kind, ordinal)| at.file(kind, ordinal)).transpose()?))
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        Ok(Listing::numbered(at, (at.own(), self.up(at.place.slot, at.node))))
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        at.vfs.each_row(at.place, from, &mut |ordinal, id, size| {
            let attr: Attr = at.vfs.fixed(at.inode(ROW, ordinal), &at.place.view.of, size);
            let name = format!("{id}.json");
            each(Item { name: name.as_bytes(), attr, next: position(ordinal) + 1, dots: false })
        })
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        if at.node.kind == WHY {
            // Cached, so that the reported size matches the bytes read.
            let page = at.kept(at.node, Bytes::len, || why(at))?;
            return Ok(Handle::Text(Bytes::clone(&page)));
        }
        let (mut found, ordinal) = (None, at.node.number);
        at.vfs.render(at.place, ordinal..=ordinal, &mut |_, text| {
            found = Some(Bytes::copy_from_slice(text));
        })?;
        Ok(Handle::Text(found.ok_or_else(|| at.unknown())?))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, vfs: &Vfs, slot: Slot, node: ViewNode) -> String {
        match node.kind {
            ROW => vfs.row_path(slot, node.number, ".json"),
            WHY => vfs.row_path(slot, node.number, ".why.md"),
            _ => "/_views/rows".into(),
        }
    }
}

/// The origin of a row, as a page.
fn why(at: At<'_>) -> Result<Bytes> {
    let row = at.place.pack.row_id(at.node.number)?.ok_or_else(|| at.unknown())?;
    // Called in a task that may block.
    let packs = |of: &_| Runtime::current().block_on(at.vfs.packs.get(of));
    let step = Tracer::new(&at.vfs.catalog, &packs)?.trace(&at.place.view.of, row)?;
    Ok(step.page().into())
}

impl Vfs {
    /// Calls `each` with the ordinal, the id and the size of the file of every row shown, starting at the
    /// ordinal `from`, until it breaks. Blocking.
    fn each_row(
        &self,
        place: &Place,
        from: u32,
        each: &mut dyn FnMut(u32, RowId, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let source = place.source_by_id(self)?;
        let mut ordinals = source.places(from..=u32::MAX);
        loop {
            // `each` breaks when a reply to the kernel is full, so only a page is rendered at a time.
            let page: Vec<u32> = ordinals.by_ref().take(PAGE).map(|at| at.ordinal).collect();
            let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(()) };
            let mut sizes = Vec::with_capacity(page.len());
            self.render(place, *first..=*last, &mut |ordinal, text| {
                sizes.push((ordinal, text.len() as u64));
            })?;
            for (ordinal, size) in sizes {
                let Some(id) = place.pack.row_id(ordinal)? else { continue };
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

/// The row of a name: digits in the canonical form of a `sys__id`, and nothing else.
fn row_id(name: &[u8], ending: &[u8]) -> Option<RowId> {
    let digits = std::str::from_utf8(name.strip_suffix(ending)?).ok()?;
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
            assert_eq!(row_id(name.as_bytes(), JSON).map(RowId::key), want, "{name}");
        }
    }
}
