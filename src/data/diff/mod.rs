//! What differs between two versions, row by row: for `dcfs diff` and for `_views/diff/` of the mount.
//!
//! 1. Rows are matched by key ([`plan`]): the object that they name, or columns of one's choice. Of several rows
//!    with one key, the first of each side are a pair, the second, and so on, by `sys__id`; what is left over is
//!    added or removed.
//! 2. A pair is the same where all columns that both sides have hold the same: NULL equals NULL, `1` equals `1.0`,
//!    and times and JSON are compared by what they say, not by how they are written. `sys__` columns never count.
//! 3. Memory is bounded, whatever the versions hold: each row becomes 32 bytes ([`row`]), sorted on all cores with
//!    runs on the disk ([`sort`]), and the two orders are merged. Only pairs that are written differently are read
//!    again, to see in which columns they differ ([`look`]).
//!
//! Keys are told apart by 128 bits of two SipHashes with random keys, values by 64: nobody can make two that
//! collide on purpose, and chance takes 2^-64 for a pair and, among a billion rows, 2^-68 for the keys.
//!
//! | file | what lives there |
//! |---|---|
//! | [`plan`] | which columns match rows and which are compared |
//! | [`row`] | cells as numbers that are equal where they say the same |
//! | [`sort`] | more records than memory should hold, in order |
//! | [`scan`] | the rows of a version as records, on all cores |
//! | [`look`] | in which columns pairs differ |
//! | [`first`] | the first few of many differences |
//! | [`sets`] | the differences as sets of rows, kept for the mount |

pub mod first;
mod look;
pub mod plan;
pub mod row;
mod scan;
pub mod sets;
mod sort;

use std::path::Path;

use crate::catalog::{Catalog, VersionInfo};
use dcfs_core::error::Result;
use dcfs_core::id::RowId;
pub use dcfs_core::render::diff::Counts;

use self::look::Looker;
pub use self::plan::Plan;
use self::row::Keys;
use self::sort::{Record, Runs};

/// Memory for the records of both versions, in bytes; what is more goes to the disk.
const MEMORY: usize = 128 << 20;

/// Two versions that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Versions<'v> {
    pub catalog: &'v Catalog,
    /// The version before.
    pub left: &'v VersionInfo,
    /// The version after.
    pub right: &'v VersionInfo,
}

/// One row, or two, that are not the same on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'d> {
    /// A row of the right side.
    Added(RowId),
    /// A row of the left side.
    Removed(RowId),
    /// A pair, and which of [`Plan::compared`] differ, rising: at least one.
    Changed { left: RowId, right: RowId, columns: &'d [u16] },
}

/// What is called with every difference, in no order.
pub type Each<'e> = dyn FnMut(Difference<'_>) -> Result<()> + 'e;

/// Compares two versions. `scratch` is a folder for what memory does not hold; nothing stays in it. `told` is told
/// how many more rows were read, now and then.
///
/// # Errors
/// [`dcfs_core::error::Kind::Stale`] where a version is removed meanwhile; a scratch folder that cannot be written; what
/// `each` returns.
pub fn compare(
    versions: Versions<'_>,
    plan: &Plan,
    scratch: &Path,
    told: &(dyn Fn(u64) + Sync),
    each: &mut Each<'_>,
) -> Result<Counts> {
    compare_within(MEMORY, versions, plan, scratch, told, each)
}

/// The same with so many bytes of memory for records.
pub fn compare_within(
    memory: usize,
    Versions { catalog, left, right }: Versions<'_>,
    plan: &Plan,
    scratch: &Path,
    told: &(dyn Fn(u64) + Sync),
    each: &mut Each<'_>,
) -> Result<Counts> {
    let keys = Keys::default();
    let records = |of: &VersionInfo, columns: row::Columns| {
        let runs = Runs::new(scratch, memory / 2);
        scan::records(catalog, of, &columns, &keys, &runs, told)?;
        runs.finish()
    };
    let lefts = records(left, plan.left())?;
    let rights = records(right, plan.right())?;
    let looker = Looker::new(catalog, left, right, plan, &keys);
    merge(lefts.records()?, rights.records()?, looker, each)
}

/// Goes through both orders at once: equal keys are pairs, in the order of their rows.
fn merge(
    mut lefts: impl Iterator<Item = Result<Record>>,
    mut rights: impl Iterator<Item = Result<Record>>,
    mut looker: Looker<'_>,
    each: &mut Each<'_>,
) -> Result<Counts> {
    let mut counts = Counts::default();
    let (mut left, mut right) = (lefts.next().transpose()?, rights.next().transpose()?);
    loop {
        match (left, right) {
            (None, None) => break,
            (Some(one), Some(other)) if one.key == other.key => {
                match one.values == other.values {
                    true => counts.same += 1,
                    false => looker.push((one.row(), other.row()), &mut counts, each)?,
                }
                (left, right) = (lefts.next().transpose()?, rights.next().transpose()?);
            }
            (Some(one), other) if other.is_none_or(|other| one.key < other.key) => {
                counts.removed += 1;
                each(Difference::Removed(one.row()))?;
                left = lefts.next().transpose()?;
            }
            (_, Some(other)) => {
                counts.added += 1;
                each(Difference::Added(other.row()))?;
                right = rights.next().transpose()?;
            }
            // Covered above: the right side has ended, so the left comes first.
            (Some(_), None) => break,
        }
    }
    looker.finish(&mut counts, each)?;
    Ok(counts)
}
