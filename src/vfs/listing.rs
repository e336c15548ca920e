//! Directories, paged by position: where a listing goes on depends on the position alone, so a
//! directory of a version needs no open handle and no materialised list.
//!
//! Positions: 0 is `.`, 1 is `..`, then the few entries known beforehand (helper files, columns,
//! the names of `datasets/`), and from [`BODY`] on the entry numbers of the pack.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::inode::{Inode, Slot};
use super::{Attr, Vfs};
use crate::catalog::VersionInfo;
use crate::error::Result;
use crate::pack::{Dir, Pack};

/// Where the pack's entries begin: beyond every list that is known beforehand.
const BODY: u64 = 1 << 32;

/// One name of a listing.
#[derive(Debug)]
pub struct Item<'a> {
    pub name: &'a [u8],
    pub attr: Attr,
    /// The position after it.
    pub next: u64,
    /// `.` or `..`, which the kernel knows already.
    pub dots: bool,
}

/// A directory, ready to be listed from any position.
#[derive(Debug)]
pub struct Listing {
    own: Attr,
    up: Attr,
    heads: Vec<(Vec<u8>, Attr)>,
    body: Option<Body>,
}

/// The part of a directory that a pack holds.
#[derive(Debug)]
struct Body {
    vfs: Arc<Vfs>,
    slot: Slot,
    pack: Arc<Pack>,
    dir: Dir,
}

impl Listing {
    /// The top of the mount.
    pub(super) fn root(vfs: &Vfs) -> Result<Self> {
        let heads = vec![
            (b"README.md".to_vec(), vfs.top_attr()?),
            (b"datasets".to_vec(), vfs.directory(Inode::Datasets, None)),
        ];
        Ok(Self::of(vfs, Inode::Root, Inode::Root, heads, None))
    }

    /// `datasets/` as it stands now.
    pub(super) fn datasets(vfs: &Vfs) -> Result<Self> {
        let current = vfs.datasets.current()?;
        let heads: Result<Vec<_>> = current
            .entries()
            .map(|(name, found)| Ok((name.to_vec(), vfs.dataset_attr(name, found)?)))
            .collect();
        Ok(Self::of(vfs, Inode::Datasets, Inode::Root, heads?, None))
    }

    /// A version with several File columns, or none.
    pub(super) fn columns(
        vfs: &Vfs,
        slot: Slot,
        pack: &Pack,
        of: &VersionInfo,
        mut heads: Vec<(Vec<u8>, Attr)>,
    ) -> Self {
        heads.extend(pack.columns().iter().enumerate().map(|(number, column)| {
            let inode = Inode::Column(slot, number as u16);
            (column.directory.clone(), vfs.directory(inode, Some(of)))
        }));
        Self::of(vfs, Inode::Version(slot), Inode::Datasets, heads, None)
    }

    /// A directory of a pack, after the entries in `heads`.
    pub(super) fn below(
        own: Inode,
        up: Inode,
        vfs: &Arc<Vfs>,
        slot: Slot,
        pack: &Arc<Pack>,
        dir: Dir,
        heads: Vec<(Vec<u8>, Attr)>,
    ) -> Self {
        let body = Body { vfs: vfs.clone(), slot, pack: pack.clone(), dir };
        Self::of(vfs, own, up, heads, Some(body))
    }

    fn of(
        vfs: &Vfs,
        own: Inode,
        up: Inode,
        heads: Vec<(Vec<u8>, Attr)>,
        body: Option<Body>,
    ) -> Self {
        let plain = |inode| vfs.directory(inode, None);
        Self { own: plain(own), up: plain(up), heads, body }
    }

    /// Whether it is the same for ever, so that the kernel may keep it.
    pub fn is_fixed(&self) -> bool {
        self.own.inode != Inode::Datasets
    }

    /// Calls `each` with every name from `position` on, until it breaks.
    pub fn each(
        &self,
        position: u64,
        each: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let dots = [(&b"."[..], self.own, true), (b"..", self.up, true)];
        let heads = self.heads.iter().map(|(name, attr)| (&name[..], *attr, false));
        let known = 2 + self.heads.len() as u64;
        if position < known {
            let from = usize::try_from(position).unwrap_or(usize::MAX);
            let numbered = dots.into_iter().chain(heads).zip(1..).skip(from);
            for ((name, attr, dots), next) in numbered {
                let next = if next == known { self.start() } else { next };
                if each(Item { name, attr, next, dots }).is_break() {
                    return Ok(());
                }
            }
        }
        self.body(position.max(self.start()), each)
    }

    /// The position of the first entry of the pack.
    fn start(&self) -> u64 {
        BODY + self.body.as_ref().map_or(0, |body| u64::from(body.dir.first))
    }

    fn body(&self, position: u64, each: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>) -> Result<()> {
        let Some(Body { vfs, slot, pack, dir }) = &self.body else { return Ok(()) };
        // Past the last entry number there is nothing, whatever a program asks for.
        let Ok(from) = u32::try_from(position - BODY) else { return Ok(()) };
        let mut failed = None;
        let walk =
            pack.list(*dir, from, None, &mut |child| match vfs.node(*slot, pack, child.node) {
                Ok(attr) => {
                    let next = BODY + u64::from(child.next);
                    each(Item { name: child.name, attr, next, dots: false })
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            });
        let number = self.own.inode.number();
        vfs.sound(number, *slot, pack, walk.and(failed.map_or(Ok(()), Err)))
    }
}
