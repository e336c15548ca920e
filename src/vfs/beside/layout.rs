//! A layout for training that works without options, and with options in a name below it: `yolo/`,
//! `yolo/boxes=faces,class=who/`.

use dcfs_core::error::Result;

use super::At;
use crate::inode::{Inode, Slot};
use crate::place::Place;
use crate::views::ViewStep;
use crate::{Entry, Vfs};

/// Kinds of views: the layout without options, and with the options in its name.
pub const PLAIN: u8 = 0;
const WITH: u8 = 1;

/// Whether a place is the layout without options.
pub fn is_plain(place: &Place) -> bool {
    place.view.made().is_some_and(|made| made.kind == PLAIN)
}

/// The options in a name below a place; `None` if it has none.
pub fn options<'n>(place: &Place, name: &'n [u8]) -> Option<&'n str> {
    std::str::from_utf8(name).ok().filter(|text| is_plain(place) && text.contains('='))
}

/// The layout with validated options.
///
/// # Errors
/// The tables of the mount are full.
pub fn with(at: At<'_>, options: &str) -> Result<Entry> {
    let text = Some(at.vfs.filters.number(options)?);
    let step = ViewStep { directory: at.node.directory, kind: WITH, number: 0, text };
    Ok(Entry::Found(at.view(step)?))
}

/// The directory above a layout.
pub fn above(parent: Slot, step: ViewStep) -> Inode {
    if step.kind == WITH { Inode::View(parent) } else { Inode::Views(parent) }
}

/// The path of a layout called `name`.
pub fn path(vfs: &Vfs, (parent, step): (Slot, ViewStep), name: &str) -> Option<String> {
    let above = vfs.view_path(parent)?;
    match step.text {
        Some(text) => Some(format!("{above}/{}", vfs.filters.text(text)?)),
        None => Some(format!("{above}/_views/{name}")),
    }
}
