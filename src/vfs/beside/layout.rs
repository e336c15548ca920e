//! A layout for training that stands as it is, and with options in a name below it: `yolo/`, `yolo/boxes=faces,class=who/`.

use dcfs_core::error::Result;

use super::At;
use crate::inode::{Inode, Slot};
use crate::place::Place;
use crate::views::ViewStep;
use crate::{Entry, Vfs};

/// The views: the layout as it is without options, and with those that its name says.
pub const PLAIN: u8 = 0;
const WITH: u8 = 1;

/// Whether a place is the layout without options.
pub fn is_plain(place: &Place) -> bool {
    place.view.made().is_some_and(|made| made.kind == PLAIN)
}

/// The options that a name in a place says; `None` where it says none.
pub fn options<'n>(place: &Place, name: &'n [u8]) -> Option<&'n str> {
    std::str::from_utf8(name).ok().filter(|text| is_plain(place) && text.contains('='))
}

/// The layout with options that were found to be right.
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

/// Where a layout called `name` is.
pub fn path(vfs: &Vfs, (parent, step): (Slot, ViewStep), name: &str) -> Option<String> {
    let above = vfs.view_path(parent)?;
    match step.text {
        Some(text) => Some(format!("{above}/{}", vfs.filters.text(text)?)),
        None => Some(format!("{above}/_views/{name}")),
    }
}
