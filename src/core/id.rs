//! Keys of the catalog, one type each, so that they cannot be confused.

use std::fmt;
use std::ops::RangeInclusive;

/// One saved version of one dataset: the key of `datasets_versions` in the catalog.
///
/// Not the number a person types: `1.0.0` of two datasets are two `VersionId`s. Not stable either:
/// a catalog that is deleted and recreated reuses the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VersionId(i64);

impl VersionId {
    /// Wraps a key just read from the catalog. Only `catalog` calls this.
    pub const fn from_catalog(key: i64) -> Self {
        Self(key)
    }

    /// The key, for a bound SQL parameter.
    pub const fn key(self) -> i64 {
        self.0
    }
}

/// One dataset, over all its names and versions: the key of `datasets` in the catalog.
///
/// As stable as a [`VersionId`]. Unchanged by a rename, and never equal for two datasets at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DatasetId(i64);

impl DatasetId {
    /// Wraps a key just read from the catalog. Only `catalog` calls this.
    pub const fn from_catalog(key: i64) -> Self {
        Self(key)
    }

    /// The key, for a bound SQL parameter.
    pub const fn key(self) -> i64 {
        self.0
    }
}

/// One row of one version: its `sys__id`, which DataChain numbers from 1 in saved order.
///
/// Not its ordinal: ids may have gaps, be negative, or start anywhere in a foreign catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(i64);

impl RowId {
    /// The range of all possible ids.
    pub const ALL: RangeInclusive<Self> = Self(i64::MIN)..=Self(i64::MAX);

    /// Wraps a `sys__id` read from a row table or a pack.
    pub const fn new(key: i64) -> Self {
        Self(key)
    }

    /// The `sys__id`, for a bound SQL parameter.
    pub const fn key(self) -> i64 {
        self.0
    }
}

/// One object of a version: its place in the order of names, over all File columns, from 0.
///
/// Not the ordinal of a row, which is its place in saved order: several rows may name one object. Means nothing beside
/// the pack that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u32);

impl EntryId {
    /// Wraps a number that a pack or an inode gives; whether the pack has such an entry is seen where it is asked.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, for sets of entries and inode numbers.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
