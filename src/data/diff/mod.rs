//! Compares two versions row by row: for `dcfs diff` and for `_views/diff/` of the mount.
//!
//! 1. Rows are matched by key ([`plan`]): the object that they name, or chosen columns. If several
//!    rows have the same key, the first of each side are a pair, the second, and so on, by
//!    `sys__id`; the rest is added or removed.
//! 2. A pair is the same if all columns of both sides have equal values: NULL equals NULL, `1`
//!    equals `1.0`, and times and JSON are compared by meaning, not by spelling. `sys__` columns
//!    never count.
//! 3. Memory is bounded, whatever the versions contain: each row becomes 32 bytes ([`row`]), sorted
//!    on all cores with runs on the disk ([`sort`]), and the two orders are merged. Only pairs with
//!    different texts are read again, to find the columns in which they differ ([`look`]).
//!
//! Keys are identified by 128 bits from two SipHashes with random keys, values by 64: nobody can
//! construct a collision, and by chance one has probability 2^-64 for a pair and, among a billion
//! rows, 2^-68 for the keys.
//!
//! | file | what lives there |
//! |---|---|
//! | [`plan`] | the columns that match rows, and those that are compared |
//! | [`row`] | cells as hashes that are equal if their meaning is |
//! | [`sort`] | the records of a version, in order |
//! | [`scan`] | the rows of a version as records, on all cores |
//! | [`look`] | the columns in which pairs differ |
//! | [`first`] | the first few of many differences |
//! | [`sets`] | the differences as sets of rows, cached for the mount |

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
use self::sort::Record;

/// Memory for the records of both versions, in bytes; further ones go to the disk.
const MEMORY: usize = 128 << 20;

/// Two versions to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Versions<'v> {
    pub catalog: &'v Catalog,
    /// The earlier version.
    pub left: &'v VersionInfo,
    /// The later version.
    pub right: &'v VersionInfo,
}

/// A row on one side only, or a pair that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'d> {
    /// A row of the right side.
    Added(RowId),
    /// A row of the left side.
    Removed(RowId),
    /// A pair, and the indices in [`Plan::compared`] that differ, ascending: at least one.
    Changed { left: RowId, right: RowId, columns: &'d [u16] },
}

/// The callback for every difference, in no particular order.
pub type Each<'e> = dyn FnMut(Difference<'_>) -> Result<()> + 'e;

/// Compares two versions. `scratch` is a folder for data beyond the memory limit; nothing is left
/// in it. Calls `told` now and then with the number of rows read since the last call.
///
/// # Errors
/// [`dcfs_core::error::Kind::Stale`] if a version is removed meanwhile; a scratch folder that
/// cannot be written to; errors of `each`.
pub fn compare(
    versions: Versions<'_>,
    plan: &Plan,
    scratch: &Path,
    told: &(dyn Fn(u64) + Sync),
    each: &mut Each<'_>,
) -> Result<Counts> {
    compare_within(MEMORY, versions, plan, scratch, told, each)
}

/// The same with a memory limit for records, in bytes.
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
        scan::records(catalog, of, &columns, &keys, (scratch, memory / 2), told)
    };
    let lefts = records(left, plan.left())?;
    let rights = records(right, plan.right())?;
    let looker = Looker::new(catalog, left, right, plan, &keys);
    merge(lefts.records()?, rights.records()?, looker, each)
}

/// Merges both orders: rows with equal keys are pairs, in row order.
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
            // Unreachable: the right side has ended, so the left comes first.
            (Some(_), None) => break,
        }
    }
    looker.finish(&mut counts, each)?;
    Ok(counts)
}
