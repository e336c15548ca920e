//! `_views/gallery/page-0001.html`: the rows of a view as static pages of 200 rows each, for any browser.

use std::ops::ControlFlow;

use dcfs_core::error::Result;
use dcfs_core::render::gallery::{Card, Gallery as Page, page_name};
use dcfs_core::schema::{Leaf, Schema};

use super::{At, Directory, Shape, Stands, entry};
use crate::handles::Handle;
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::{Each, Item, Listing, position};
use crate::{Entry, Vfs, attributes};

/// Pages of pictures.
pub struct Gallery;

const NUMBER: u8 = 10;

/// Kinds of nodes: the top; the first page under the name that web servers look for; a page, counted from 1.
const INDEX: u8 = 1;
const PAGE: u8 = 2;

/// Rows of a page.
const ROWS: u32 = 200;

/// Number of columns shown for each row.
const FACTS: usize = 6;

const FIRST: &[u8] = b"index.html";

impl Directory for Gallery {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "gallery"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## gallery/\n\n\
         Plain pages of the pictures, 200 on each, without scripts: open `gallery/index.html` in a browser, or serve the version's directory\n\
         by any server of static files.\n"
            .into()
    }

    fn stands(&self) -> Stands {
        Stands::WithFiles
    }

    fn shape(&self, kind: u8) -> Shape {
        if matches!(kind, INDEX | PAGE) { Shape::File } else { Shape::Directory }
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        if name == FIRST {
            return Ok(Entry::Found(at.file(INDEX, 1)?));
        }
        let number = std::str::from_utf8(name).ok().and_then(|name| {
            name.strip_prefix("page-")?.strip_suffix(".html")?.parse::<u32>().ok()
        });
        let is_one = |number: &u32| {
            (1..=pages(at)).contains(number) && page_name((*number).into()).as_bytes() == name
        };
        Ok(entry(number.filter(is_one).map(|number| at.file(PAGE, number)).transpose()?))
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        Ok(Listing::numbered(at, (at.own(), self.up(at.place.slot, at.node))))
    }

    fn list_from(&self, at: At<'_>, from: u32, each: &mut Each<'_>) -> Result<()> {
        for number in from..=pages(at) {
            let (name, attr) = match number {
                0 => (FIRST.to_vec(), at.file(INDEX, 1)?),
                number => (page_name(number.into()).into_bytes(), at.file(PAGE, number)?),
            };
            let next = position(number) + 1;
            if each(Item { name: &name, attr, next, dots: false }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, at: At<'_>) -> Result<Handle> {
        let number = at.node.number;
        if !(1..=pages(at)).contains(&number) {
            return Err(at.unknown());
        }
        Ok(Handle::Text(page(at, number)?.into()))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, node: ViewNode) -> String {
        match node.kind {
            INDEX => "/_views/gallery/index.html".into(),
            PAGE => format!("/_views/gallery/{}", page_name(node.number.into())),
            _ => "/_views/gallery".into(),
        }
    }
}

/// The number of rows in a view.
fn rows(at: At<'_>) -> u32 {
    let all = at.place.pack.row_count();
    match (at.place.ranking(), at.place.set()) {
        (Some(ranking), _) => u32::try_from(ranking.rows.len()).unwrap_or(u32::MAX),
        (None, Some(set)) => u32::try_from(set.rows().len()).unwrap_or(u32::MAX),
        (None, None) => all,
    }
}

/// The number of pages; one if there are no rows.
fn pages(at: At<'_>) -> u32 {
    rows(at).div_ceil(ROWS).max(1)
}

fn page(at: At<'_>, number: u32) -> Result<String> {
    let source = at.place.source(at.vfs)?;
    let (first, count) = ((number - 1) * ROWS, rows(at));
    let last = (first + ROWS).min(count);
    // Converts an index among the shown rows to a position in the table.
    let position = |place: u32| match (at.place.ranking(), at.place.set()) {
        (None, Some(set)) => set.rows().select(place),
        _ => Some(place),
    };
    let mut cards = Vec::new();
    let ends = position(first).zip(last.checked_sub(1).and_then(position)).filter(|_| first < last);
    if let Some((from, to)) = ends {
        let schema = source.schema.clone();
        let told = told(&schema);
        let columns: Vec<String> = told.iter().map(|leaf| leaf.column.to_owned()).collect();
        source.scan(&columns, from..=to, &mut |row, id, cells| {
            let path = (0..at.place.pack.columns().len() as u16)
                .find_map(|column| at.place.path_of(column, row.position, row.ordinal).transpose());
            let Some(path) = path.transpose()? else { return Ok(ControlFlow::Continue(())) };
            let fact = |(number, leaf): (usize, &Leaf<'_>)| {
                let text = attributes::text(cells.cell(number), leaf.value)?;
                Some((leaf.name.clone(), String::from_utf8_lossy(&text).into_owned()))
            };
            let facts = told.iter().enumerate().filter_map(fact).collect();
            cards.push(Card { path, id: id.key(), facts });
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let name = at.place.view.of.to_string();
    let (page, pages) = (number.into(), pages(at).into());
    Ok(Page { name: &name, rows: count.into(), page, pages, cards }.html())
}

/// The most useful columns: those with single values, and not of the file itself.
fn told(schema: &Schema) -> Vec<Leaf<'_>> {
    let is_of_file = |name: &str| {
        schema
            .files
            .iter()
            .any(|file| name.strip_prefix(&file.name).is_some_and(|rest| rest.starts_with('.')))
    };
    let leaves = schema.leaves().into_iter();
    let shown =
        leaves.filter(|leaf| leaf.value.is_scalar() && !leaf.hidden && !is_of_file(&leaf.name));
    shown.take(FACTS).collect()
}
