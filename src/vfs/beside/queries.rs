//! `_views/q/<hash>/`: query directories by short names, for programs that treat `*` or `[` in a path as
//! wildcards.

use std::sync::Arc;

use dcfs_core::error::Result;
use dcfs_core::expr;
use dcfs_core::schema::Schema;
use dcfs_data::query::alias;

use super::{At, Directory, Narrowing, Shape, inode};
use crate::inode::{Inode, Slot, ViewNode};
use crate::listing::Listing;
use crate::place::{Place, Shown};
use crate::views::ViewStep;
use crate::{Entry, Error, SHORT, Vfs};

/// Query directories by short names; only those that were requested exist.
pub struct Queries;

const NUMBER: u8 = 3;

impl Directory for Queries {
    fn number(&self) -> u8 {
        NUMBER
    }

    fn name(&self) -> &'static str {
        "q"
    }

    fn help(&self, _schema: &Schema) -> String {
        "## q/\n\n\
         Query directories by short names, for programs that take `*` or `[` in a path for a pattern. `dcfs path` makes them;\n\
         the `_README.md` of each says which filter it is. Any filter is a directory by itself, wherever files are.\n"
            .into()
    }

    fn shape(&self, _kind: u8) -> Shape {
        Shape::Changing
    }

    fn lookup(&self, at: At<'_>, name: &[u8]) -> Result<Entry> {
        // A name may be registered at any time.
        let Some(filter) = alias::find(&at.place.pack, name) else {
            return Ok(Entry::Absent(SHORT));
        };
        expr::check(&filter, &*at.place.view.schema(&at.vfs.catalog)?)?;
        Ok(Entry::Found(at.view(step(at, &filter)?)?))
    }

    fn list(&self, at: At<'_>) -> Result<Listing> {
        let mut heads = Vec::new();
        for name in alias::names(&at.place.pack) {
            let Some(filter) = alias::find(&at.place.pack, name.as_bytes()) else { continue };
            heads.push((name.into_bytes(), at.view(step(at, &filter)?)?));
        }
        Ok(at.known(self.up(at.place.slot, at.node), heads))
    }

    fn up(&self, slot: Slot, _node: ViewNode) -> Inode {
        Inode::Views(slot)
    }

    fn path(&self, _vfs: &Vfs, _slot: Slot, _node: ViewNode) -> String {
        "/_views/q".into()
    }

    fn views(&self) -> &dyn Narrowing {
        self
    }
}

impl Narrowing for Queries {
    fn rows(&self, vfs: &Arc<Vfs>, around: &Place, step: ViewStep) -> Result<Shown> {
        let unknown = || Error::Unknown(Inode::View(around.slot).number());
        vfs.selected(around, step.text.ok_or_else(unknown)?, None)
    }

    fn above(&self, parent: Slot, _step: ViewStep) -> Inode {
        inode(NUMBER, parent, 0, 0)
    }

    fn path(&self, vfs: &Vfs, parent: Slot, step: ViewStep) -> Option<String> {
        let filter = vfs.filters.text(step.text?)?;
        Some(format!("{}/_views/q/{}", vfs.view_path(parent)?, alias::name(&filter)))
    }

    fn is_filter(&self) -> bool {
        true
    }
}

fn step(at: At<'_>, filter: &str) -> Result<ViewStep> {
    let text = Some(at.vfs.filters.number(filter)?);
    Ok(ViewStep { directory: NUMBER, kind: 0, number: 0, text })
}
