//! Directories, paged by position: where a listing continues depends on the position alone, so a directory of a
//! version needs no open handle and no materialised list.
//!
//! Positions: 0 is `.`, 1 is `..`, then the few precomputed entries (helper files, columns, the names of
//! `datasets/`, values), and from [`BODY`] on the entry numbers of the pack, or ordinals.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::beside::{self, At, Shape};
use super::inode::{Inode, ViewNode};
use super::knowledge::{self, Front};
use super::place::Place;
use super::{Attr, Vfs};
use dcfs_core::error::Result;
use dcfs_data::pack::Dir;
use dcfs_data::query::Ranking;

/// The position of the first entry or ordinal: beyond every precomputed list.
const BODY: u64 = 1 << 32;

/// The callback for every name; breaking ends the listing.
pub type Each<'e> = dyn FnMut(Item<'_>) -> ControlFlow<()> + 'e;

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

/// The part of a directory that is not precomputed.
#[derive(Debug)]
enum Body {
    /// A directory of a pack. A file with the same name as a head is hidden: that happens only in `_views/hf`,
    /// because elsewhere recorded names win.
    Files { vfs: Arc<Vfs>, place: Place, dir: Dir },
    /// The entries that a directory below `_views/` computes while it is listed.
    Beside { vfs: Arc<Vfs>, place: Place, node: ViewNode },
    /// The files of one File column by rank.
    Ranked { vfs: Arc<Vfs>, place: Place, ranking: Arc<Ranking>, column: u16 },
}

impl Listing {
    /// The top of the mount.
    pub(super) fn root(vfs: &Vfs) -> Result<Self> {
        let front = |front: Front| Ok((front.name().as_bytes().to_vec(), vfs.front_attr(front)?));
        let mut heads: Vec<_> = Front::ALL.into_iter().map(front).collect::<Result<_>>()?;
        heads.push((b"datasets".to_vec(), vfs.directory(Inode::Datasets, None)));
        heads.push((knowledge::NAME.to_vec(), vfs.directory(Inode::Knowledge, None)));
        Ok(Self::of(vfs, Inode::Root, Inode::Root, heads, None))
    }

    /// `datasets/` in its current state.
    pub(super) fn datasets(vfs: &Vfs) -> Result<Self> {
        let current = vfs.datasets.current()?;
        let heads: Result<Vec<_>> = current
            .entries()
            .map(|(name, found)| Ok((name.to_vec(), vfs.dataset_attr(name, found)?)))
            .collect();
        Ok(Self::of(vfs, Inode::Datasets, Inode::Root, heads?, None))
    }

    /// The top directory of a view: `heads`, then the files of its one File column, or its columns.
    pub(super) fn top(
        vfs: &Arc<Vfs>,
        place: &Place,
        mut heads: Vec<(Vec<u8>, Attr)>,
    ) -> Result<Self> {
        let (own, up) = (place.view.own, place.view.up);
        if let Some(dir) = place.top() {
            return Self::files(vfs, (own, up), place, dir, heads);
        }
        heads.extend(place.columns()?.into_iter().map(|(column, directory)| {
            let inode = Inode::Column(place.slot, column);
            (directory.to_vec(), vfs.directory(inode, Some(&place.view.of)))
        }));
        Ok(Self::of(vfs, own, up, heads, None))
    }

    /// A directory of a pack, after the entries in `heads`; if rows have an order, those of its column by rank.
    pub(super) fn files(
        vfs: &Arc<Vfs>,
        (own, up): (Inode, Inode),
        place: &Place,
        dir: Dir,
        heads: Vec<(Vec<u8>, Attr)>,
    ) -> Result<Self> {
        // Here and not during the listing, because that may run on a thread that must not block.
        if let (Some(set), None) = (place.set(), place.ranking()) {
            place.pack.entries(set)?;
        }
        vfs.listed(place, dir.column);
        let (vfs_of, place_of) = (vfs.clone(), place.clone());
        let body = match place.ranking().cloned() {
            Some(ranking) => {
                Body::Ranked { vfs: vfs_of, place: place_of, ranking, column: dir.column }
            }
            None => Body::Files { vfs: vfs_of, place: place_of, dir },
        };
        Ok(Self::of(vfs, own, up, heads, Some(body)))
    }

    /// The entries that the directory of a node computes while it is listed.
    pub(super) fn numbered(at: At<'_>, (own, up): (Inode, Inode)) -> Self {
        let body = Body::Beside { vfs: at.vfs.clone(), place: at.place.clone(), node: at.node };
        Self::of(at.vfs, own, up, Vec::new(), Some(body))
    }

    /// A directory whose names are all known.
    pub(super) fn known(vfs: &Vfs, (own, up): (Inode, Inode), heads: Vec<(Vec<u8>, Attr)>) -> Self {
        Self::of(vfs, own, up, heads, None)
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

    /// Whether [`Listing::each`] may block on the catalog, or on names that are on another host.
    pub fn may_wait(&self) -> bool {
        match &self.body {
            None => false,
            Some(Body::Beside { .. }) => true,
            Some(Body::Files { place, .. } | Body::Ranked { place, .. }) => !place.pack.is_here(),
        }
    }

    /// Whether it never changes, so that the kernel may cache it.
    pub fn is_fixed(&self) -> bool {
        match self.own.inode {
            Inode::Datasets | Inode::Knowledge | Inode::Known(_) | Inode::ByName(_) => false,
            Inode::Beside(_, node) => beside::shape(node) != Some(Shape::Changing),
            _ => true,
        }
    }

    /// Calls `each` for every name, starting at `position`, until it breaks.
    pub fn each(&self, position: u64, each: &mut Each<'_>) -> Result<()> {
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

    /// The position of the first entry of the body.
    fn start(&self) -> u64 {
        match &self.body {
            Some(Body::Files { dir, .. }) => BODY + u64::from(dir.first),
            _ => BODY,
        }
    }

    fn body(&self, position: u64, each: &mut Each<'_>) -> Result<()> {
        // Nothing lies beyond the last number, whatever a program asks for.
        let Ok(from) = u32::try_from(position - BODY) else { return Ok(()) };
        let (vfs, place, listed) = match &self.body {
            None => return Ok(()),
            Some(Body::Files { vfs, place, dir }) => {
                let is_head = |name: &[u8]| self.heads.iter().any(|(head, _)| head == name);
                let mut unless_head = |item: Item<'_>| match is_head(item.name) {
                    true => ControlFlow::Continue(()),
                    false => each(item),
                };
                (vfs, place, list_files(vfs, place, *dir, from, &mut unless_head))
            }
            Some(Body::Beside { vfs, place, node }) => {
                let at = At::new(vfs, place, *node);
                (vfs, place, beside::list_from(at, from, each))
            }
            Some(Body::Ranked { vfs, place, ranking, column }) => {
                (vfs, place, list_ranked(vfs, place, (ranking, *column), from, each))
            }
        };
        vfs.sound(self.own.inode.number(), place, listed)
    }
}

fn list_files(vfs: &Vfs, place: &Place, dir: Dir, from: u32, each: &mut Each<'_>) -> Result<()> {
    let mut failed = Ok(());
    let walk = place.list(dir, from, &mut |child| match vfs.node(place, child.node) {
        Ok(attr) => {
            let next = BODY + u64::from(child.next);
            each(Item { name: child.name, attr, next, dots: false })
        }
        Err(error) => {
            failed = Err(error);
            ControlFlow::Break(())
        }
    });
    walk.and(failed)
}

fn list_ranked(
    vfs: &Vfs,
    place: &Place,
    (ranking, column): (&Ranking, u16),
    from: u32,
    each: &mut Each<'_>,
) -> Result<()> {
    for rank in from..u32::try_from(ranking.rows.len()).unwrap_or(u32::MAX) {
        let Some((entry, name)) = place.ranked(ranking, column, rank)? else { continue };
        let attr = vfs.file(place.view.base, &place.pack, entry)?;
        let next = BODY + u64::from(rank) + 1;
        if each(Item { name: &name, attr, next, dots: false }).is_break() {
            break;
        }
    }
    Ok(())
}

/// The position of the entry with this number in the body of a listing.
pub fn position(number: u32) -> u64 {
    BODY + u64::from(number)
}
