//! Inode numbers: everything a number has to say, so that nothing has to be remembered per file.
//!
//! ```text
//! 63   60 59                42 41        32 31                              0
//! | kind | view: 18 bits      | depth or   | entry: 32 bits                 |
//! |      |                    | column: 10 |                                |
//! ```
//!
//! A number says the same for the life of a mount, and for a version's files on every mount (as
//! long as two versions do not hash to one slot: [`super::views`]). Numbers come back from programs
//! that kept them, and from `open_by_handle`: every decoded part is checked where it is used.

use crate::pack::{DEEPEST, Dir};
use crate::pages::Page;

/// How many views (versions, later query directories) a mount can tell apart.
pub const VIEWS: u32 = 1 << 18;

/// The root of the mount, as FUSE wants it.
pub const ROOT: u64 = 1;

/// A slot of the table of views, below [`VIEWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What an inode number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inode {
    /// `/`
    Root,
    /// `/README.md`
    Top,
    /// `/datasets`
    Datasets,
    /// A link in `datasets/`: a number of [`super::links`].
    Link(u32),
    /// The directory of a version.
    Version(Slot),
    /// The directory of one File column, where a version has several.
    Column(Slot, u16),
    /// A directory of rows' paths, at depth 1 or more of its column's tree. The column is known from
    /// the entry.
    Dir(Slot, u16, u32),
    /// A row's file.
    File(Slot, u32),
    /// A helper file in a version's directory.
    Page(Slot, Page),
}

const KIND: u32 = 60;
const VIEW: u32 = 42;
const DEPTH: u32 = 32;

const _: () = assert!(DEEPEST < 1 << (VIEW - DEPTH), "every depth has a number");

const FIXED: u64 = 0;
const LINK: u64 = 1;
const VERSION: u64 = 2;
const COLUMN: u64 = 3;
const DIR: u64 = 4;
const FILE: u64 = 5;
const PAGE: u64 = 6;

fn pack(kind: u64, slot: Slot, depth: u16, entry: u32) -> u64 {
    debug_assert!(slot.0 < VIEWS && depth < 1 << (VIEW - DEPTH));
    kind << KIND | u64::from(slot.0) << VIEW | u64::from(depth) << DEPTH | u64::from(entry)
}

impl Inode {
    /// The number for the kernel.
    pub fn number(self) -> u64 {
        match self {
            Self::Root => ROOT,
            Self::Top => 2,
            Self::Datasets => 3,
            Self::Link(link) => LINK << KIND | u64::from(link),
            Self::Version(slot) => pack(VERSION, slot, 0, 0),
            Self::Column(slot, column) => pack(COLUMN, slot, column, 0),
            Self::Dir(slot, depth, first) => pack(DIR, slot, depth, first),
            Self::File(slot, entry) => pack(FILE, slot, 0, entry),
            Self::Page(slot, page) => pack(PAGE, slot, 0, page as u32),
        }
    }

    /// What a number from the kernel means; `None` for one that no mount hands out.
    pub fn decode(number: u64) -> Option<Self> {
        let slot = Slot((number >> VIEW) as u32 & (VIEWS - 1));
        let depth = (number >> DEPTH) as u16 & ((1 << (VIEW - DEPTH)) - 1);
        let entry = number as u32;
        let inode = match (number >> KIND, entry) {
            (FIXED, 1) => Self::Root,
            (FIXED, 2) => Self::Top,
            (FIXED, 3) => Self::Datasets,
            (LINK, link) => Self::Link(link),
            (VERSION, 0) => Self::Version(slot),
            (COLUMN, 0) => Self::Column(slot, depth),
            (DIR, first) if depth > 0 => Self::Dir(slot, depth, first),
            (FILE, entry) => Self::File(slot, entry),
            (PAGE, page) => Self::Page(slot, *Page::ALL.get(page as usize)?),
            _ => return None,
        };
        // One number, one meaning: bits that a kind has no use for are zero.
        (inode.number() == number).then_some(inode)
    }

    /// A directory of a version's tree; `only` where the version has a single File column, whose
    /// root is the version's own directory.
    pub fn dir(slot: Slot, dir: Dir, only: bool) -> Self {
        match (dir.depth, only) {
            (0, true) => Self::Version(slot),
            (0, false) => Self::Column(slot, dir.column),
            (depth, _) => Self::Dir(slot, depth, dir.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_inode() -> impl Strategy<Value = Inode> {
        let slot = (0..VIEWS).prop_map(Slot);
        prop_oneof![
            Just(Inode::Root),
            Just(Inode::Top),
            Just(Inode::Datasets),
            any::<u32>().prop_map(Inode::Link),
            slot.clone().prop_map(Inode::Version),
            (slot.clone(), 0..1024u16).prop_map(|(s, c)| Inode::Column(s, c)),
            (slot.clone(), 1..=DEEPEST, any::<u32>()).prop_map(|(s, d, e)| Inode::Dir(s, d, e)),
            (slot.clone(), any::<u32>()).prop_map(|(s, e)| Inode::File(s, e)),
            (slot, 0..3usize).prop_map(|(s, p)| Inode::Page(s, Page::ALL[p])),
        ]
    }

    proptest! {
        #[test]
        fn a_number_comes_back_as_what_it_was(inode in any_inode()) {
            prop_assert_eq!(Inode::decode(inode.number()), Some(inode));
        }

        #[test]
        fn two_inodes_never_share_a_number(a in any_inode(), b in any_inode()) {
            prop_assert_eq!(a == b, a.number() == b.number());
        }

        #[test]
        fn any_number_is_read_without_a_panic(number: u64) {
            if let Some(inode) = Inode::decode(number) {
                prop_assert_eq!(inode.number(), number);
            }
        }
    }

    #[test]
    fn the_sign_bit_is_never_used() {
        let highest = Inode::Page(Slot(VIEWS - 1), Page::Schema).number();
        assert!(i64::try_from(highest).is_ok());
    }
}
