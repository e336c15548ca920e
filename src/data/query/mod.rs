//! Turns filters into rows: evaluated once over packed columns, cached in memory, and on disk for
//! the next mount.
//!
//! A version never changes, so the rows of a filter over it never change. Filters with equal
//! canonical forms share one set of rows, however they were typed and wherever they occur.
//!
//! | file | what lives there |
//! |---|---|
//! | [`find`] | the rows of a condition, and rows in order |
//! | [`prefix`] | conditions that the index of names can answer |
//! | [`told`] | conditions that a server evaluates, if the rows are on one |
//! | [`target`] | the target of a distance: a vector, a row, a file |
//! | [`disk`] | sets of rows in the cache directory |
//! | [`alias`] | short names of long filters |
//! | `why` | why a filter selects nothing |

pub mod alias;
mod disk;
mod find;
mod prefix;
mod target;
pub mod told;
mod why;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, VersionInfo};
use crate::pack::shared::{Shared, Written};
use crate::pack::{Ordinals, Pack, hash_ordinals};
use dcfs_core::error::{self, Kind, Result};
use dcfs_core::expr::{Expr, Fault, Query, Ranked, Type, Val};
use dcfs_core::kept::Kept;
use dcfs_core::name::escape;
use dcfs_core::schema::ValueType;

use self::disk::Saver;
pub use target::of_file;
pub use why::why;

/// Memory for sets of rows, in bytes.
const SETS: usize = 48 << 20;

/// Memory for rankings, in bytes.
const RANKINGS: usize = 32 << 20;

/// Why a valid filter has no rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "a regular expression backtracks too much; write it without `(...)+` inside `(...)+`, or without look-around"
    )]
    TooManySteps,
    #[error("the regular expression library cannot match this pattern; rewrite it")]
    BadPattern,
    #[error("cancelled: nobody waits for the result any more")]
    Cancelled,
    #[error("the pack is damaged; it is rebuilt at its next use")]
    Damaged,
    #[error("vectors of `{column}` have {width} numbers, and this one {given}")]
    Width { column: String, width: usize, given: usize },
    #[error("row {0} is not in this version, or its vector is missing or of another length")]
    NoRow(i64),
    #[error("no file of this version has the path or the name `{0}`, or it has no vector")]
    NoFile(String),
    #[error("several files are called `{0}`; write a path, or `row(<sys__id>)`")]
    ManyFiles(String),
    #[error("so many rows cannot be ordered at once; say how many you want with `limit`")]
    TooManyRows,
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Damaged => Kind::Stale,
            Error::Cancelled => Kind::Busy,
            _ => Kind::Invalid,
        };
        Self::new(kind, error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged | Fault::NoTarget => Self::Damaged,
            Fault::TooManySteps => Self::TooManySteps,
            Fault::BadPattern => Self::BadPattern,
            Fault::Cancelled => Self::Cancelled,
        }
    }
}

/// A version to be queried.
#[derive(Clone, Copy)]
pub struct Version<'v> {
    pub catalog: &'v Catalog,
    pub of: &'v VersionInfo,
    pub pack: &'v Arc<Pack>,
    /// Called now and then with the number of rows packed.
    pub each: &'v (dyn Fn(u64) + Sync),
}

/// The rows that a query selects.
#[derive(Clone, Debug)]
pub struct Selected {
    pub rows: Arc<Ordinals>,
    /// Their order, if the query has one.
    pub ranking: Option<Arc<Ranking>>,
}

impl Selected {
    /// Skips `offset` rows and takes the next `limit`.
    #[must_use]
    pub fn slice(self, offset: u64, limit: u64) -> Self {
        let Some(ranking) = &self.ranking else {
            return Self { rows: Arc::new(find::slice(&self.rows, offset, limit)), ranking: None };
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(ranking.rows.len());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows: Vec<_> = ranking.rows[start..].iter().take(limit).cloned().collect();
        let set = rows.iter().map(|ranked| ranked.row).collect();
        let offset = ranking.offset + start as u64;
        let ranking = Ranking { rows, key: ranking.key.clone(), offset };
        Self { rows: Arc::new(set), ranking: Some(Arc::new(ranking)) }
    }
}

/// Rows in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    pub rows: Vec<Ranked>,
    /// The type of their keys; datetimes are texts.
    pub key: ValueType,
    /// The number of rows before the first.
    pub offset: u64,
}

impl Ranking {
    /// The ordinal of the row with this rank, counted from 0.
    pub fn row(&self, rank: u32) -> Option<u32> {
        Some(self.rows.get(rank as usize)?.row)
    }

    /// The name of the file at `path` at a position of the ranking, counted from 0: its rank,
    /// counted from 1, in four digits or more, `_`, and its own name.
    pub fn name(&self, place: u32, path: &[u8]) -> Vec<u8> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let rank = self.offset + u64::from(place) + 1;
        let mut ranked = format!("{rank:0width$}_", width = self.digits()).into_bytes();
        ranked.extend_from_slice(name);
        escape::segment(&ranked).into_owned()
    }

    /// The position in a name, if it is in this ranking; the caller checks that the file has that
    /// name.
    pub fn place(&self, name: &[u8]) -> Option<u32> {
        let digits = std::str::from_utf8(name.get(..self.digits())?).ok()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let rank: u64 = digits.parse().ok().filter(|_| is_number)?;
        let place = u32::try_from(rank.checked_sub(self.offset + 1)?).ok()?;
        ((place as usize) < self.rows.len()).then_some(place)
    }

    fn digits(&self) -> usize {
        (self.offset + self.rows.len() as u64).to_string().len().max(4)
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let texts = self.rows.iter().map(|ranked| match &ranked.key {
            Val::Text(text) => text.len(),
            _ => 0,
        });
        self.rows.len() * size_of::<Ranked>() + texts.sum::<usize>() + 64
    }
}

/// The type of a key's values, for a table.
fn type_of(key: &Expr) -> ValueType {
    match key.kind() {
        Type::Bool => ValueType::Bool,
        Type::Int => ValueType::Int,
        Type::Float => ValueType::Float,
        Type::Time => ValueType::Time,
        _ => ValueType::Text,
    }
}

/// The pack, by its serial number, and the filter. A pack that is rebuilt after damage has another
/// serial number: nothing computed from the damaged one is used.
type SetKey = (u64, String);

/// The cached results of filters, for all versions of a catalog.
#[derive(Debug)]
pub struct Queries {
    sets: Kept<SetKey, Ordinals>,
    rankings: Kept<(SetKey, Vec<u8>), Ranking>,
    saver: Saver,
}

impl Default for Queries {
    fn default() -> Self {
        Self { sets: Kept::new(SETS), rankings: Kept::new(RANKINGS), saver: Saver::default() }
    }
}

impl Queries {
    /// For a single command: results that cannot be written to disk at once are not kept.
    #[must_use]
    pub fn for_a_command() -> Self {
        Self { saver: Saver::hurried(), ..Self::default() }
    }

    /// The rows that `query` selects, out of all rows or those `within`. Blocks for a pass over the
    /// rows if a column is not packed yet.
    ///
    /// # Errors
    /// [`enum@Error`]; errors of the catalog and the pack.
    pub fn select(
        &self,
        version: Version<'_>,
        query: &Query,
        within: Option<&Arc<Ordinals>>,
    ) -> Result<Selected> {
        let rows = match &query.filter {
            Some(filter) => self.rows(version, filter)?,
            None => Arc::new(find::all(version.pack)),
        };
        let rows = match within {
            Some(within) => Arc::new(&*rows & &**within),
            None => rows,
        };
        if query.is_plain() {
            return Ok(Selected { rows, ranking: None });
        }
        if query.order.is_empty() {
            let limit = query.limit.unwrap_or(u64::MAX);
            let rows = Arc::new(find::slice(&rows, query.offset, limit));
            return Ok(Selected { rows, ranking: None });
        }
        let ranking = self.ranking(version, query, &rows)?;
        let rows = Arc::new(ranking.rows.iter().map(|ranked| ranked.row).collect());
        Ok(Selected { rows, ranking: Some(ranking) })
    }

    /// The rows for which a condition is true.
    fn rows(&self, version: Version<'_>, filter: &Expr) -> Result<Arc<Ordinals>> {
        let canonical = filter.to_string();
        let key = key(version, &canonical);
        self.sets.get(&key, Ordinals::serialized_size, || {
            let Some(place) = disk::place(version.pack, &canonical) else {
                return found(version, find::rows(version, filter)?);
            };
            let kept = disk::find(&place, &canonical)
                .or_else(|| disk::find_shared(version.pack, &place, &canonical));
            if let Some(rows) = kept {
                return Ok(rows);
            }
            let rows = found(version, find::rows(version, filter)?)?;
            self.saver.save(place, &canonical, &rows, version.pack);
            Ok(rows)
        })
    }

    /// Shares the rows of a query's filter with other hosts, if there are enough.
    ///
    /// # Errors
    /// As [`Queries::select`]; errors of the shared folder and the catalog.
    pub fn share(&self, version: Version<'_>, query: &Query, with: &Shared) -> Result<Written> {
        let Some(filter) = &query.filter else { return Ok(Written::default()) };
        let rows = self.rows(version, filter)?;
        disk::share(version.pack, &filter.to_string(), &rows, with)
    }

    fn ranking(
        &self,
        version: Version<'_>,
        query: &Query,
        rows: &Arc<Ordinals>,
    ) -> Result<Arc<Ranking>> {
        let mut hash = Sha256::new();
        hash_ordinals(rows, &mut hash);
        let key = (key(version, &query.to_string()), hash.finalize()[..16].to_vec());
        self.rankings
            .get(&key, Ranking::weight, || found(version, find::ranking(version, query, rows)?))
    }
}

fn key(version: Version<'_>, text: &str) -> SetKey {
    (version.pack.serial(), text.to_owned())
}

/// Returns `value`, unless the pack proved damaged meanwhile.
fn found<T>(version: Version<'_>, value: T) -> Result<T> {
    if version.pack.is_damaged() { Err(Error::Damaged.into()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(rows: u32, offset: u64) -> Ranking {
        let rows = (0..rows).map(|row| Ranked { row, key: Val::Null }).collect();
        Ranking { rows, key: ValueType::Int, offset }
    }

    #[test]
    fn a_name_tells_its_place() {
        let cases = [
            (ranking(3, 0), 2, "a/b.jpg", "0003_b.jpg"),
            (ranking(12_345, 0), 0, "b", "00001_b"),
            (ranking(1, 99_999), 0, "b", "100000_b"),
        ];
        for (ranking, place, path, name) in cases {
            assert_eq!(ranking.name(place, path.as_bytes()), name.as_bytes());
            assert_eq!(ranking.place(name.as_bytes()), Some(place));
        }
        for bad in ["0000_b", "0004_b", "1_b", "", "000", "+001_b", "\u{e9}\u{e9}_"] {
            assert_eq!(ranking(3, 0).place(bad.as_bytes()), None, "{bad}");
        }
        let long = ranking(1, 0).name(0, &[b'x'; 255]);
        assert!(long.len() <= 255 && long.starts_with(b"0001_x"));
    }
}
