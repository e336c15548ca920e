//! Inode numbers: they encode everything about an inode, so that no state is needed per file.
//!
//! ```text
//! 63   60 59                42 41        32 31                              0
//! | kind | view: 18 bits      | depth or   | entry: 32 bits                 |
//! |      |                    | column: 10 |                                |
//! ```
//!
//! A number is valid for the life of a mount, and for a version's files on every mount (unless two versions
//! hash to one slot: [`super::views`]). Numbers come back from programs that kept them, and from
//! `open_by_handle_at`: every decoded part is validated before use.

use super::tables::Table;
use dcfs_core::id::EntryId;
use dcfs_data::pack::DEEPEST;
use dcfs_data::pages::Page;

/// Limit of views (versions and the directories that show some of their rows) of a mount.
pub const VIEWS: u32 = 1 << 18;

/// The root of the mount, as defined by FUSE.
pub const ROOT: u64 = 1;

/// A slot of the table of views, below [`VIEWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// A node of a directory below `_views/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewNode {
    /// The number of the directory, below [`MOST_DIRECTORIES`].
    pub directory: u8,
    /// One of the directory's kinds of nodes, below [`NODE_KINDS`].
    pub kind: u8,
    /// Defined by the directory.
    pub number: u32,
}

/// Limit of the kinds of nodes in a directory below `_views/`.
pub const NODE_KINDS: u8 = 16;

/// Limit of directories below `_views/`.
pub const MOST_DIRECTORIES: u8 = ((1 << (VIEW - DEPTH)) - NODES) as u8 / NODE_KINDS;

/// The meaning of an inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inode {
    /// `/`
    Root,
    /// `/README.md`
    Top,
    /// `/AGENTS.md`
    Agents,
    /// `/knowledge`
    Knowledge,
    /// A page or a directory below `/knowledge`: a number of [`super::knowledge`].
    Known(u32),
    /// A node of a directory at the top of the mount that is there by name alone: a number of [`super::by_name`].
    ByName(u32),
    /// `/_status.json`
    Status,
    /// `/_metrics.prom`
    Metrics,
    /// `/datasets`
    Datasets,
    /// A link in `datasets/`: a number of [`super::links`].
    Link(u32),
    /// The top directory of a view: of a version, of `_views/hf`, of a query.
    View(Slot),
    /// The directory of one File column, if a version has several.
    Column(Slot, u16),
    /// A directory in rows' paths, at depth 1 or more of its column's tree. The column follows from the entry.
    Dir(Slot, u16, u32),
    /// A row's file. Its slot is that of the whole version, whichever view shows it.
    File(Slot, EntryId),
    /// A helper file in a version's directory.
    Page(Slot, Page),
    /// A table of a view's rows.
    Table(Slot, Table),
    /// `_views`
    Views(Slot),
    /// `_views/_README.md`
    ViewsPage(Slot),
    /// A directory or a file of one of the directories below `_views/` ([`super::beside`]).
    Beside(Slot, ViewNode),
    /// `_error` at the top of a view; below one of its File columns; below a directory of rows' paths, encoded
    /// like [`Inode::Dir`].
    Errors(Slot),
    ColumnErrors(Slot, u16),
    DirErrors(Slot, u16, u32),
    /// `_error/<filter>` in any of them: a number of [`super::wrong`].
    ErrorNote(Slot, u32),
    /// `_views/by/<column>/<value>`, by the ordinal of the value's first row. The slot is that of the parent
    /// view: a value gets one of its own only when someone opens it.
    Value(Slot, u16, u32),
}

/// Limit of columns with a directory in `_views/by`.
pub const MOST_LEAVES: usize = 1 << (VIEW - DEPTH);

const KIND: u32 = 60;
const VIEW: u32 = 42;
const DEPTH: u32 = 32;

const _: () = assert!(DEEPEST < 1 << (VIEW - DEPTH), "every depth has a number");

/// Inodes outside of versions; and, with a depth, the `_error` of a directory.
const FIXED: u64 = 0;
const LINK: u64 = 1;
/// In place of a view: distinguishes pages, and nodes below directories that are not listed, from links.
const KNOWN: Slot = Slot(1);
const BY_NAME: Slot = Slot(2);
const TOP: u64 = 2;
const COLUMN: u64 = 3;
const DIR: u64 = 4;
const FILE: u64 = 5;
/// Inodes beside a view's files; the depth field tells which.
const BESIDE: u64 = 6;
const VALUE: u64 = 7;

/// First number of nodes among [`BESIDE`]: [`NODE_KINDS`] for each directory.
const NODES: u32 = 32;

/// The numbers of the others among [`BESIDE`].
mod beside {
    pub const PAGE: u16 = 0;
    pub const TABLE: u16 = 1;
    pub const VIEWS: u16 = 2;
    pub const VIEWS_PAGE: u16 = 3;
    pub const ERRORS: u16 = 4;
    pub const COLUMN_ERRORS: u16 = 5;
    pub const ERROR_NOTE: u16 = 6;
}

fn pack(kind: u64, slot: Slot, depth: u16, entry: u32) -> u64 {
    debug_assert!(slot.0 < VIEWS && depth < 1 << (VIEW - DEPTH));
    kind << KIND | u64::from(slot.0) << VIEW | u64::from(depth) << DEPTH | u64::from(entry)
}

impl ViewNode {
    /// Its number among [`BESIDE`].
    fn which(self) -> u16 {
        debug_assert!(self.directory < MOST_DIRECTORIES && self.kind < NODE_KINDS);
        NODES as u16 + u16::from(self.directory) * u16::from(NODE_KINDS) + u16::from(self.kind)
    }

    fn decode(which: u16, number: u32) -> Option<Self> {
        let node = which.checked_sub(NODES as u16)?;
        let directory = u8::try_from(node / u16::from(NODE_KINDS)).ok()?;
        let kind = (node % u16::from(NODE_KINDS)) as u8;
        (directory < MOST_DIRECTORIES).then_some(Self { directory, kind, number })
    }
}

impl Inode {
    /// The number for the kernel.
    pub fn number(self) -> u64 {
        match self {
            Self::Root => ROOT,
            Self::Top => 2,
            Self::Datasets => 3,
            Self::Status => 4,
            Self::Metrics => 5,
            Self::Agents => 6,
            Self::Knowledge => 7,
            Self::Link(link) => LINK << KIND | u64::from(link),
            Self::Known(number) => pack(LINK, KNOWN, 0, number),
            Self::ByName(number) => pack(LINK, BY_NAME, 0, number),
            Self::View(slot) => pack(TOP, slot, 0, 0),
            Self::Column(slot, column) => pack(COLUMN, slot, column, 0),
            Self::Dir(slot, depth, first) => pack(DIR, slot, depth, first),
            Self::File(slot, entry) => pack(FILE, slot, 0, entry.number()),
            Self::Page(slot, page) => pack(BESIDE, slot, beside::PAGE, page as u32),
            Self::Table(slot, table) => pack(BESIDE, slot, beside::TABLE, table as u32),
            Self::Views(slot) => pack(BESIDE, slot, beside::VIEWS, 0),
            Self::ViewsPage(slot) => pack(BESIDE, slot, beside::VIEWS_PAGE, 0),
            Self::Beside(slot, node) => pack(BESIDE, slot, node.which(), node.number),
            Self::Errors(slot) => pack(BESIDE, slot, beside::ERRORS, 0),
            Self::ColumnErrors(slot, column) => {
                pack(BESIDE, slot, beside::COLUMN_ERRORS, column.into())
            }
            Self::DirErrors(slot, depth, first) => pack(FIXED, slot, depth, first),
            Self::ErrorNote(slot, filter) => pack(BESIDE, slot, beside::ERROR_NOTE, filter),
            Self::Value(slot, leaf, first) => pack(VALUE, slot, leaf, first),
        }
    }

    /// The view that it belongs to, if any.
    pub fn slot(self) -> Option<Slot> {
        match self {
            Self::Root
            | Self::Top
            | Self::Datasets
            | Self::Status
            | Self::Metrics
            | Self::Agents
            | Self::Knowledge
            | Self::Known(_)
            | Self::ByName(_)
            | Self::Link(_) => None,
            Self::View(slot)
            | Self::Column(slot, _)
            | Self::Dir(slot, ..)
            | Self::File(slot, _)
            | Self::Page(slot, _)
            | Self::Table(slot, _)
            | Self::Views(slot)
            | Self::ViewsPage(slot)
            | Self::Beside(slot, _)
            | Self::Errors(slot)
            | Self::ColumnErrors(slot, _)
            | Self::DirErrors(slot, ..)
            | Self::ErrorNote(slot, _)
            | Self::Value(slot, ..) => Some(slot),
        }
    }

    /// Decodes a number from the kernel; `None` for one that no mount hands out.
    pub fn decode(number: u64) -> Option<Self> {
        let slot = Slot((number >> VIEW) as u32 & (VIEWS - 1));
        let depth = (number >> DEPTH) as u16 & ((1 << (VIEW - DEPTH)) - 1);
        let entry = number as u32;
        let inode = match (number >> KIND, entry) {
            (FIXED, first) if depth > 0 => Self::DirErrors(slot, depth, first),
            (FIXED, 1) => Self::Root,
            (FIXED, 2) => Self::Top,
            (FIXED, 3) => Self::Datasets,
            (FIXED, 4) => Self::Status,
            (FIXED, 5) => Self::Metrics,
            (FIXED, 6) => Self::Agents,
            (FIXED, 7) => Self::Knowledge,
            (LINK, number) if slot == KNOWN => Self::Known(number),
            (LINK, number) if slot == BY_NAME => Self::ByName(number),
            (LINK, link) => Self::Link(link),
            (TOP, 0) => Self::View(slot),
            (COLUMN, 0) => Self::Column(slot, depth),
            (DIR, first) if depth > 0 => Self::Dir(slot, depth, first),
            (FILE, entry) => Self::File(slot, EntryId::new(entry)),
            (BESIDE, entry) => Self::beside(slot, depth, entry)?,
            (VALUE, first) => Self::Value(slot, depth, first),
            _ => return None,
        };
        // Each meaning has exactly one number: unused bits are zero.
        (inode.number() == number).then_some(inode)
    }

    fn beside(slot: Slot, what: u16, entry: u32) -> Option<Self> {
        let leaf = u16::try_from(entry).ok().filter(|leaf| usize::from(*leaf) < MOST_LEAVES);
        Some(match what {
            beside::PAGE => Self::Page(slot, *Page::ALL.get(entry as usize)?),
            beside::TABLE => Self::Table(slot, *Table::ALL.get(entry as usize)?),
            beside::VIEWS => Self::Views(slot),
            beside::VIEWS_PAGE => Self::ViewsPage(slot),
            beside::ERRORS => Self::Errors(slot),
            beside::COLUMN_ERRORS => Self::ColumnErrors(slot, leaf?),
            beside::ERROR_NOTE => Self::ErrorNote(slot, entry),
            which => Self::Beside(slot, ViewNode::decode(which, entry)?),
        })
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
            Just(Inode::Status),
            Just(Inode::Metrics),
            Just(Inode::Datasets),
            Just(Inode::Agents),
            Just(Inode::Knowledge),
            any::<u32>().prop_map(Inode::Known),
            any::<u32>().prop_map(Inode::ByName),
            any::<u32>().prop_map(Inode::Link),
            slot.clone().prop_map(Inode::View),
            (slot.clone(), 0..1024u16).prop_map(|(s, c)| Inode::Column(s, c)),
            (slot.clone(), 1..=DEEPEST, any::<u32>()).prop_map(|(s, d, e)| Inode::Dir(s, d, e)),
            (slot.clone(), any::<u32>()).prop_map(|(s, e)| Inode::File(s, EntryId::new(e))),
            (slot.clone(), 0..3usize).prop_map(|(s, p)| Inode::Page(s, Page::ALL[p])),
            (slot.clone(), 0..Table::ALL.len()).prop_map(|(s, t)| Inode::Table(s, Table::ALL[t])),
            slot.clone().prop_map(Inode::Views),
            slot.clone().prop_map(Inode::ViewsPage),
            (slot.clone(), 0..MOST_DIRECTORIES, 0..NODE_KINDS, any::<u32>()).prop_map(
                |(s, directory, kind, number)| {
                    Inode::Beside(s, ViewNode { directory, kind, number })
                }
            ),
            slot.clone().prop_map(Inode::Errors),
            (slot.clone(), 0..1024u16).prop_map(|(s, c)| Inode::ColumnErrors(s, c)),
            (slot.clone(), 1..=DEEPEST, any::<u32>())
                .prop_map(|(s, d, e)| Inode::DirErrors(s, d, e)),
            (slot.clone(), any::<u32>()).prop_map(|(s, f)| Inode::ErrorNote(s, f)),
            (slot, 0..1024u16, any::<u32>()).prop_map(|(s, l, f)| Inode::Value(s, l, f)),
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
        let highest = Inode::Value(Slot(VIEWS - 1), 1023, u32::MAX).number();
        assert!(i64::try_from(highest).is_ok());
    }
}
