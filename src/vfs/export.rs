//! `.` and `..` by number: holders of a file handle outside of the kernel, such as an NFS server and
//! `open_by_handle_at`, come back with just a number, even after this mount has ended and another took its
//! place.
//!
//! Files of a version have the same number on every mount ([`super::inode`]), so they are found again once the
//! versions of the catalog have their slots. Numbers of query directories and other views are valid for one
//! mount only. The generation of a number tells these apart: it is derived from the version's uuid, and for
//! other views from this mount, so a handle never leads to anything but what it was made for.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::beside::by;
use super::inode::{Inode, Slot};
use super::{Answer, Entry, Error, Vfs};

/// Generations have 31 bits, because the kernel compares them as signed 32-bit numbers.
const GENERATION: u32 = u32::MAX >> 1;

impl Vfs {
    /// A number that the kernel keeps beside an inode number, to detect reuse.
    pub fn generation(&self, inode: Inode) -> u64 {
        let Some(view) = inode.slot().and_then(|slot| self.views.named(slot)) else { return 0 };
        let of_version = view.generation();
        let own = match view.from {
            None => of_version,
            Some(_) => {
                let born = self.born.duration_since(UNIX_EPOCH).map_or(1, |born| born.as_nanos());
                // Odd, so that different serials give different products.
                of_version ^ (born / 1_000) as u32 ^ view.serial().wrapping_mul(0x9e37_79b1)
            }
        };
        u64::from(own & GENERATION)
    }

    /// Handles `.` and `..`, which only the kernel requests, with a handle; `None` for any other name. Paths of
    /// programs never lead up this way.
    pub fn by_number(self: &Arc<Self>, number: u64, name: &[u8]) -> Option<Answer<Entry>> {
        match name {
            b"." => Some(self.itself(number)),
            b".." => Some(self.around(number)),
            _ => None,
        }
    }

    /// `.`: the inode itself.
    fn itself(self: &Arc<Self>, number: u64) -> Answer<Entry> {
        let vfs = self.clone();
        Answer::later(async move {
            vfs.find_again(number).wait().await?;
            vfs.getattr(number).wait().await.map(Entry::Found)
        })
    }

    /// `..`: the parent of a directory.
    fn around(self: &Arc<Self>, number: u64) -> Answer<Entry> {
        let vfs = self.clone();
        Answer::later(async move {
            vfs.find_again(number).wait().await?;
            let up = vfs.up(number).wait().await?;
            vfs.getattr(up.number()).wait().await.map(Entry::Found)
        })
    }

    /// Gives every version its slot and every link its number, if `number` is unknown.
    fn find_again(self: &Arc<Self>, number: u64) -> Answer<()> {
        let is_known = match Inode::decode(number) {
            None => return Answer::Now(Err(Error::Unknown(number).into())),
            Some(Inode::Link(link)) => self.links.name(link).is_some(),
            Some(inode) => inode.slot().is_none_or(|slot| self.views.get(slot).is_some()),
        };
        if is_known {
            return Answer::Now(Ok(()));
        }
        let vfs = self.clone();
        self.in_background(move || {
            for (name, found) in vfs.datasets.current()?.entries() {
                vfs.dataset_attr(name, found)?;
            }
            Ok(())
        })
    }

    /// The parent of a directory.
    pub(super) fn up(self: &Arc<Self>, number: u64) -> Answer<Inode> {
        let Some(inode) = Inode::decode(number) else {
            return Answer::Now(Err(Error::Unknown(number).into()));
        };
        let view = |slot: Slot| self.view(number, slot);
        Answer::Now(match inode {
            Inode::Dir(slot, depth, first) => {
                return self.with_place(number, slot, move |_, place| {
                    let dir = place.dir(depth, first)?;
                    Ok(place.inode(place.pack.parent(dir)?))
                });
            }
            Inode::DirErrors(slot, depth, first) => {
                return self.with_place(number, slot, move |_, place| {
                    Ok(place.inode(place.dir(depth, first)?))
                });
            }
            Inode::Errors(slot) => view(slot).map(|view| view.own),
            Inode::ColumnErrors(slot, column) => Ok(Inode::Column(slot, column)),
            Inode::Root | Inode::Datasets => Ok(Inode::Root),
            Inode::Knowledge | Inode::Known(_) => self.known_up(inode),
            Inode::ByName(number) => self.up_by_name(number),
            Inode::View(slot) => view(slot).map(|view| view.up),
            Inode::Column(slot, _) | Inode::Views(slot) => view(slot).map(|view| view.own),
            Inode::Beside(slot, node) => self.up_node(number, slot, node),
            Inode::Value(slot, leaf, _) => Ok(by::column(slot, leaf)),
            _ => Err(Error::Wrong(number, "directory").into()),
        })
    }
}
