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

use super::tables::Table;
use dcfs_data::pack::DEEPEST;
use dcfs_data::pages::Page;

/// How many views (versions and the directories that show some of their rows) a mount can tell apart.
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
    /// The directory of one File column, where a version has several.
    Column(Slot, u16),
    /// A directory of rows' paths, at depth 1 or more of its column's tree. The column is known from
    /// the entry.
    Dir(Slot, u16, u32),
    /// A row's file. Its slot is that of the whole version, whichever view shows it.
    File(Slot, u32),
    /// A helper file in a version's directory.
    Page(Slot, Page),
    /// A table of a view's rows.
    Table(Slot, Table),
    /// `_views`
    Views(Slot),
    /// `_views/_README.md`
    ViewsPage(Slot),
    /// `_views/rows`
    Rows(Slot),
    /// `_views/rows/<sys__id>.json`, by ordinal.
    Row(Slot, u32),
    /// `_views/by`
    By(Slot),
    /// `_views/by/<column>`, by the number of the leaf.
    ByColumn(Slot, u16),
    /// `_views/by/<column>/_too_many_values.md`
    TooMany(Slot, u16),
    /// `_views/q`
    Aliases(Slot),
    /// `_views/diff`
    Diffs(Slot),
    /// `_views/diff/_README.md`
    DiffsPage(Slot),
    /// `_views/diff/<version>`, by the slot of that version.
    Diff(Slot, Slot),
    /// `_views/diff/<version>/_summary.md`
    Summary(Slot, Slot),
    /// `_views/diff/<version>/_summary.json`
    SummaryJson(Slot, Slot),
    /// `_views/hf/README.md`
    HubCard(Slot),
    /// `_error` at the top of a view; below one of its File columns; below a directory of rows' paths, as [`Inode::Dir`] has it.
    Errors(Slot),
    ColumnErrors(Slot, u16),
    DirErrors(Slot, u16, u32),
    /// `_error/<filter>` in any of them: a number of [`super::wrong`].
    ErrorNote(Slot, u32),
    /// `_views/by/<column>/<value>`, by the ordinal of the value's first row. The slot is that of the
    /// view around it: a value has one of its own only when someone goes below it.
    Value(Slot, u16, u32),
}

/// The most columns that have a directory in `_views/by`.
pub const MOST_LEAVES: usize = 1 << (VIEW - DEPTH);

const KIND: u32 = 60;
const VIEW: u32 = 42;
const DEPTH: u32 = 32;

const _: () = assert!(DEEPEST < 1 << (VIEW - DEPTH), "every depth has a number");

/// What no version has; and, with a depth, the `_error` of a directory.
const FIXED: u64 = 0;
const LINK: u64 = 1;
const TOP: u64 = 2;
const COLUMN: u64 = 3;
const DIR: u64 = 4;
const FILE: u64 = 5;
/// What is beside a view's files; which of them stands in place of the depth.
const BESIDE: u64 = 6;
const VALUE: u64 = 7;

/// The numbers of what is [`BESIDE`].
mod beside {
    pub const PAGE: u16 = 0;
    pub const TABLE: u16 = 1;
    pub const VIEWS: u16 = 2;
    pub const VIEWS_PAGE: u16 = 3;
    pub const ROWS: u16 = 4;
    pub const ROW: u16 = 5;
    pub const BY: u16 = 6;
    pub const BY_COLUMN: u16 = 7;
    pub const TOO_MANY: u16 = 8;
    pub const ALIASES: u16 = 9;
    pub const DIFFS: u16 = 10;
    pub const DIFFS_PAGE: u16 = 11;
    pub const DIFF: u16 = 12;
    pub const SUMMARY: u16 = 13;
    pub const SUMMARY_JSON: u16 = 14;
    pub const HUB_CARD: u16 = 15;
    pub const ERRORS: u16 = 16;
    pub const COLUMN_ERRORS: u16 = 17;
    pub const ERROR_NOTE: u16 = 18;
}

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
            Self::Status => 4,
            Self::Metrics => 5,
            Self::Link(link) => LINK << KIND | u64::from(link),
            Self::View(slot) => pack(TOP, slot, 0, 0),
            Self::Column(slot, column) => pack(COLUMN, slot, column, 0),
            Self::Dir(slot, depth, first) => pack(DIR, slot, depth, first),
            Self::File(slot, entry) => pack(FILE, slot, 0, entry),
            Self::Page(slot, page) => pack(BESIDE, slot, beside::PAGE, page as u32),
            Self::Table(slot, table) => pack(BESIDE, slot, beside::TABLE, table as u32),
            Self::Views(slot) => pack(BESIDE, slot, beside::VIEWS, 0),
            Self::ViewsPage(slot) => pack(BESIDE, slot, beside::VIEWS_PAGE, 0),
            Self::Rows(slot) => pack(BESIDE, slot, beside::ROWS, 0),
            Self::Row(slot, ordinal) => pack(BESIDE, slot, beside::ROW, ordinal),
            Self::By(slot) => pack(BESIDE, slot, beside::BY, 0),
            Self::ByColumn(slot, leaf) => pack(BESIDE, slot, beside::BY_COLUMN, leaf.into()),
            Self::TooMany(slot, leaf) => pack(BESIDE, slot, beside::TOO_MANY, leaf.into()),
            Self::Aliases(slot) => pack(BESIDE, slot, beside::ALIASES, 0),
            Self::Diffs(slot) => pack(BESIDE, slot, beside::DIFFS, 0),
            Self::DiffsPage(slot) => pack(BESIDE, slot, beside::DIFFS_PAGE, 0),
            Self::Diff(slot, other) => pack(BESIDE, slot, beside::DIFF, other.0),
            Self::Summary(slot, other) => pack(BESIDE, slot, beside::SUMMARY, other.0),
            Self::SummaryJson(slot, other) => pack(BESIDE, slot, beside::SUMMARY_JSON, other.0),
            Self::HubCard(slot) => pack(BESIDE, slot, beside::HUB_CARD, 0),
            Self::Errors(slot) => pack(BESIDE, slot, beside::ERRORS, 0),
            Self::ColumnErrors(slot, column) => {
                pack(BESIDE, slot, beside::COLUMN_ERRORS, column.into())
            }
            Self::DirErrors(slot, depth, first) => pack(FIXED, slot, depth, first),
            Self::ErrorNote(slot, filter) => pack(BESIDE, slot, beside::ERROR_NOTE, filter),
            Self::Value(slot, leaf, first) => pack(VALUE, slot, leaf, first),
        }
    }

    /// The view that it is of, if it is of one.
    pub fn slot(self) -> Option<Slot> {
        match self {
            Self::Root
            | Self::Top
            | Self::Datasets
            | Self::Status
            | Self::Metrics
            | Self::Link(_) => None,
            Self::View(slot)
            | Self::Column(slot, _)
            | Self::Dir(slot, ..)
            | Self::File(slot, _)
            | Self::Page(slot, _)
            | Self::Table(slot, _)
            | Self::Views(slot)
            | Self::ViewsPage(slot)
            | Self::Rows(slot)
            | Self::Row(slot, _)
            | Self::By(slot)
            | Self::ByColumn(slot, _)
            | Self::TooMany(slot, _)
            | Self::Aliases(slot)
            | Self::Diffs(slot)
            | Self::DiffsPage(slot)
            | Self::Diff(slot, _)
            | Self::Summary(slot, _)
            | Self::SummaryJson(slot, _)
            | Self::HubCard(slot)
            | Self::Errors(slot)
            | Self::ColumnErrors(slot, _)
            | Self::DirErrors(slot, ..)
            | Self::ErrorNote(slot, _)
            | Self::Value(slot, ..) => Some(slot),
        }
    }

    /// What a number from the kernel means; `None` for one that no mount hands out.
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
            (LINK, link) => Self::Link(link),
            (TOP, 0) => Self::View(slot),
            (COLUMN, 0) => Self::Column(slot, depth),
            (DIR, first) if depth > 0 => Self::Dir(slot, depth, first),
            (FILE, entry) => Self::File(slot, entry),
            (BESIDE, entry) => Self::beside(slot, depth, entry)?,
            (VALUE, first) => Self::Value(slot, depth, first),
            _ => return None,
        };
        // One number, one meaning: bits that a kind has no use for are zero.
        (inode.number() == number).then_some(inode)
    }

    fn beside(slot: Slot, what: u16, entry: u32) -> Option<Self> {
        let leaf = u16::try_from(entry).ok().filter(|leaf| usize::from(*leaf) < MOST_LEAVES);
        let other = || Some(Slot(entry)).filter(|other| other.0 < VIEWS);
        Some(match what {
            beside::PAGE => Self::Page(slot, *Page::ALL.get(entry as usize)?),
            beside::TABLE => Self::Table(slot, *Table::ALL.get(entry as usize)?),
            beside::VIEWS => Self::Views(slot),
            beside::VIEWS_PAGE => Self::ViewsPage(slot),
            beside::ROWS => Self::Rows(slot),
            beside::ROW => Self::Row(slot, entry),
            beside::BY => Self::By(slot),
            beside::BY_COLUMN => Self::ByColumn(slot, leaf?),
            beside::TOO_MANY => Self::TooMany(slot, leaf?),
            beside::ALIASES => Self::Aliases(slot),
            beside::DIFFS => Self::Diffs(slot),
            beside::DIFFS_PAGE => Self::DiffsPage(slot),
            beside::DIFF => Self::Diff(slot, other()?),
            beside::SUMMARY => Self::Summary(slot, other()?),
            beside::SUMMARY_JSON => Self::SummaryJson(slot, other()?),
            beside::HUB_CARD => Self::HubCard(slot),
            beside::ERRORS => Self::Errors(slot),
            beside::COLUMN_ERRORS => Self::ColumnErrors(slot, leaf?),
            beside::ERROR_NOTE => Self::ErrorNote(slot, entry),
            _ => return None,
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
            any::<u32>().prop_map(Inode::Link),
            slot.clone().prop_map(Inode::View),
            (slot.clone(), 0..1024u16).prop_map(|(s, c)| Inode::Column(s, c)),
            (slot.clone(), 1..=DEEPEST, any::<u32>()).prop_map(|(s, d, e)| Inode::Dir(s, d, e)),
            (slot.clone(), any::<u32>()).prop_map(|(s, e)| Inode::File(s, e)),
            (slot.clone(), 0..3usize).prop_map(|(s, p)| Inode::Page(s, Page::ALL[p])),
            (slot.clone(), 0..5usize).prop_map(|(s, t)| Inode::Table(s, Table::ALL[t])),
            slot.clone().prop_map(Inode::Views),
            slot.clone().prop_map(Inode::ViewsPage),
            slot.clone().prop_map(Inode::Aliases),
            slot.clone().prop_map(Inode::Rows),
            slot.clone().prop_map(Inode::HubCard),
            slot.clone().prop_map(Inode::Errors),
            (slot.clone(), 0..1024u16).prop_map(|(s, c)| Inode::ColumnErrors(s, c)),
            (slot.clone(), 1..=DEEPEST, any::<u32>())
                .prop_map(|(s, d, e)| Inode::DirErrors(s, d, e)),
            (slot.clone(), any::<u32>()).prop_map(|(s, f)| Inode::ErrorNote(s, f)),
            slot.clone().prop_map(Inode::Diffs),
            slot.clone().prop_map(Inode::DiffsPage),
            (slot.clone(), slot.clone()).prop_map(|(s, o)| Inode::Diff(s, o)),
            (slot.clone(), slot.clone()).prop_map(|(s, o)| Inode::Summary(s, o)),
            (slot.clone(), slot.clone()).prop_map(|(s, o)| Inode::SummaryJson(s, o)),
            (slot.clone(), any::<u32>()).prop_map(|(s, o)| Inode::Row(s, o)),
            slot.clone().prop_map(Inode::By),
            (slot.clone(), 0..1024u16).prop_map(|(s, l)| Inode::ByColumn(s, l)),
            (slot.clone(), 0..1024u16).prop_map(|(s, l)| Inode::TooMany(s, l)),
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
