//! Joins the rows of two versions: pairs of rows, and their columns side by side.
//!
//! The smaller side is hashed, and the rows of the larger are looked up on all cores. The columns
//! needed of the pairs are gathered into buffers, so that the kernels of `expr` see one table.
//! Two columns of one value each have as many pairs as the product of their rows: pairs are counted
//! while they are found, and joins with too many are left to SQLite, which holds none.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::engine::{Error, Limits};
use super::index::{Index, hash_of, hash_text, mix};
use super::table::{TableColumns, text_of, value_of};
use crate::pack::Ordinals;
use dcfs_core::cancel;
use dcfs_core::error::Result;
use dcfs_core::expr::packed::{Packed, Texts, Valid, Word};
use dcfs_core::expr::{Column, Columns, Part, Target};
use dcfs_core::sql::Join;
use rusqlite::types::ValueRef;

/// The most bytes of gathered texts, if the limits allow as many.
const MOST_TEXT: usize = 1 << 30;

/// Pairs that a thread counts at a time.
const COUNTED: usize = 4096;

/// Rows compared between checks of the clock.
const COMPARED: usize = 1 << 16;

/// Rows that a thread looks up at a time.
const CHUNK: usize = 1 << 16;

/// The most threads that look up.
const MOST_THREADS: usize = 8;

/// One side of a join: its columns, the rows that take part, and the columns that must equal the
/// other side's.
pub struct Side<'s> {
    pub table: &'s TableColumns,
    pub within: Option<&'s Ordinals>,
    pub on: Vec<usize>,
}

impl Side<'_> {
    fn rows(&self) -> usize {
        self.within.map_or_else(|| Columns::rows(self.table), |within| within.len() as usize)
    }

    /// The hash of a row's join columns; `None` if one is NULL, which equals nothing.
    fn hash(&self, packed: &[(Packed<'_>, Option<Part>)], row: usize) -> Option<u64> {
        packed.iter().try_fold(0, |all, (packed, part)| {
            let hash = match part {
                None => hash_of(packed, row)?,
                Some(part) => hash_text(part.of(text_of(packed, row)?)),
            };
            Some(mix(all ^ hash))
        })
    }

    fn packed(&self) -> Vec<(Packed<'_>, Option<Part>)> {
        self.on.iter().map(|column| self.table.packed_part(*column)).collect()
    }
}

/// Why threads stop looking up: they do not, there are too many pairs, or it takes too long.
const GOES_ON: u8 = 0;
const TOO_MANY: u8 = 1;
const TOO_LONG: u8 = 2;

/// Pairs of rows whose join columns are equal, ordered by the rows of the first side; `None` if
/// there are too many. For a SEMI or an ANTI JOIN, one pair for each row of the first side that is
/// in any, in any order.
///
/// # Errors
/// [`Error::TooLong`]; as [`cancel::check`].
pub fn pairs(
    first: &Side<'_>,
    second: &Side<'_>,
    join: Join,
    limits: &Limits,
) -> Result<Option<Vec<(u32, u32)>>> {
    // The smaller side is hashed.
    let is_swapped = first.rows() < second.rows();
    let (hashed, looked) = if is_swapped { (first, second) } else { (second, first) };
    let (theirs, ours) = (hashed.packed(), looked.packed());
    let takes = |row: usize| hashed.within.is_none_or(|within| within.contains(row as u32));
    let total = Columns::rows(hashed.table);
    let index = Index::new(total, |row| hashed.hash(&theirs, row).filter(|_| takes(row)));
    let rows = Columns::rows(looked.table);
    // The rows of a hashed first side that a test has found.
    let words = if join.is_test() && is_swapped { total.div_ceil(64) } else { 0 };
    let seen: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let is_new = |row: u32| {
        let bit = 1_u64 << (row % 64);
        let word = seen.get(row as usize / 64);
        word.is_none_or(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    };
    let until = limits.deadline();
    let is_late = || cancel::is_cancelled() || until.is_some_and(|until| Instant::now() >= until);
    let next = AtomicUsize::new(0);
    let (count, stop) = (AtomicU64::new(0), AtomicU8::new(GOES_ON));
    let take = || {
        let mut found: Vec<(usize, Vec<(u32, u32)>)> = Vec::new();
        let mut compared = 0_usize;
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if is_late() {
                stop.store(TOO_LONG, Ordering::Relaxed);
            }
            if chunk * CHUNK >= rows || stop.load(Ordering::Relaxed) != GOES_ON {
                return found;
            }
            let mut pairs: Vec<(u32, u32)> = Vec::new();
            let mut counted = 0_usize;
            for row in chunk * CHUNK..((chunk + 1) * CHUNK).min(rows) {
                if looked.within.is_some_and(|within| !within.contains(row as u32)) {
                    continue;
                }
                let Some(hash) = looked.hash(&ours, row) else { continue };
                let mut other = index.first(hash);
                while let Some(at) = other {
                    compared += 1;
                    if compared.is_multiple_of(COMPARED) {
                        if is_late() {
                            stop.store(TOO_LONG, Ordering::Relaxed);
                        }
                        if stop.load(Ordering::Relaxed) != GOES_ON {
                            return found;
                        }
                    }
                    other = index.after(at);
                    if !are_equal(&ours, row, &theirs, at as usize) {
                        continue;
                    }
                    // Whoever found the first of equal rows finds the others too.
                    if !is_new(at) {
                        break;
                    }
                    if pairs.len() == counted {
                        counted += COUNTED;
                        let before = count.fetch_add(COUNTED as u64, Ordering::Relaxed);
                        if before + COUNTED as u64 > limits.pairs {
                            stop.store(TOO_MANY, Ordering::Relaxed);
                            return found;
                        }
                    }
                    pairs.push((row as u32, at));
                    // The first match tells about a row of the first side.
                    if join.is_test() && !is_swapped {
                        break;
                    }
                }
            }
            count.fetch_sub((counted - pairs.len()) as u64, Ordering::Relaxed);
            found.push((chunk, pairs));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = cores.min(MOST_THREADS).min(rows.div_ceil(CHUNK)).max(1);
    let (take, flag) = (&take, &cancel::current());
    let mut found = thread::scope(|scope| {
        let running: Vec<_> =
            (1..threads).map(|_| scope.spawn(move || cancel::within(flag.clone(), take))).collect();
        let mut found = take();
        for thread in running {
            found.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    match stop.load(Ordering::Relaxed) {
        TOO_MANY => return Ok(None),
        TOO_LONG => {
            cancel::check()?;
            return Err(Error::TooLong(limits.time).into());
        }
        _ => {}
    }
    found.sort_unstable_by_key(|(chunk, _)| *chunk);
    let pairs = found.into_iter().flat_map(|(_, pairs)| pairs);
    Ok(Some(match is_swapped {
        true => pairs.map(|(row, other)| (other, row)).collect(),
        false => pairs.collect(),
    }))
}

/// No row of the other side.
pub const NONE: u32 = u32::MAX;

/// The rows of a side that are in no pair, or of those in one.
fn apart(side: &Side<'_>, pairs: &[(u32, u32)], of: impl Fn(&(u32, u32)) -> u32) -> Ordinals {
    let mut rows = match side.within {
        Some(within) => within.clone(),
        None => (0..Columns::rows(side.table) as u32).collect(),
    };
    rows -= matched(pairs, of);
    rows
}

fn matched(pairs: &[(u32, u32)], of: impl Fn(&(u32, u32)) -> u32) -> Ordinals {
    pairs.iter().map(of).collect()
}

/// Adds to the pairs of two sides the rows that an outer join keeps without a match.
pub fn add_unmatched(pairs: &mut Vec<(u32, u32)>, join: Join, first: &Side<'_>, second: &Side<'_>) {
    let (keeps_first, keeps_second) =
        (matches!(join, Join::Left | Join::Full), matches!(join, Join::Right | Join::Full));
    let left = keeps_first.then(|| apart(first, pairs, |pair| pair.0));
    let right = keeps_second.then(|| apart(second, pairs, |pair| pair.1));
    pairs.extend(left.iter().flatten().map(|row| (row, NONE)));
    pairs.extend(right.iter().flatten().map(|row| (NONE, row)));
}

/// The rows of the first side that a SEMI or an ANTI JOIN leaves.
pub fn tested(pairs: &[(u32, u32)], join: Join, first: &Side<'_>) -> Ordinals {
    match join {
        Join::Anti => apart(first, pairs, |pair| pair.0),
        _ => matched(pairs, |pair| pair.0),
    }
}

fn are_equal(
    ours: &[(Packed<'_>, Option<Part>)],
    row: usize,
    theirs: &[(Packed<'_>, Option<Part>)],
    other: usize,
) -> bool {
    ours.iter().zip(theirs).all(|((a, a_part), (b, b_part))| {
        match (value_of(a, row), value_of(b, other)) {
            (Some(ValueRef::Text(a)), Some(ValueRef::Text(b))) => {
                let part =
                    |part: &Option<Part>, text| part.map_or(text, |part: Part| part.of(text));
                part(a_part, a) == part(b_part, b)
            }
            (Some(ValueRef::Integer(a)), Some(ValueRef::Integer(b))) => a == b,
            (Some(ValueRef::Real(a)), Some(ValueRef::Real(b))) => a == b,
            _ => false,
        }
    })
}

/// The columns of pairs.
pub struct Joined {
    rows: usize,
    columns: Vec<(Arc<Column>, Gathered)>,
}

/// A column gathered in the order of the pairs.
struct Gathered {
    valid: Option<Vec<Word>>,
    values: Values,
}

enum Values {
    Ints(Vec<[u8; 8]>),
    Floats(Vec<[u8; 8]>),
    Words(Vec<[u8; 2]>, Vec<[u8; 8]>, Vec<u8>),
    Texts(Vec<[u8; 8]>, Vec<u8>),
}

impl Values {
    /// The bytes of its texts.
    fn text(&self) -> usize {
        match self {
            Self::Ints(_) | Self::Floats(_) => 0,
            Self::Words(_, _, bytes) | Self::Texts(_, bytes) => bytes.len(),
        }
    }
}

impl Joined {
    /// Gathers the columns `wanted` of pairs: the side, the index of the column there, and the key
    /// it is requested by. `None` if their texts take more than `memory` bytes.
    pub fn new(
        sides: [&TableColumns; 2],
        pairs: &[(u32, u32)],
        wanted: &[(usize, usize, Arc<Column>)],
        memory: u64,
    ) -> Option<Self> {
        let mut left = usize::try_from(memory).unwrap_or(MOST_TEXT).min(MOST_TEXT);
        let gather = |(side, column, name): &(usize, usize, Arc<Column>)| {
            let (packed, _) = sides[*side].packed_part(*column);
            let rows = pairs.iter().map(|pair| if *side == 0 { pair.0 } else { pair.1 } as usize);
            let gathered = gathered(&packed, rows, left)?;
            left -= gathered.values.text().min(left);
            Some((name.clone(), gathered))
        };
        let columns = wanted.iter().map(gather).collect::<Option<_>>()?;
        Some(Self { rows: pairs.len(), columns })
    }
}

fn gathered(
    packed: &Packed<'_>,
    rows: impl Iterator<Item = usize> + Clone,
    most_text: usize,
) -> Option<Gathered> {
    let is_valid = |row: usize| {
        row != NONE as usize && value_of(packed, row).is_some_and(|value| value != ValueRef::Null)
    };
    let mut valid: Vec<Word> = Vec::new();
    let (mut word, mut count, mut has_null) = (0_u64, 0, false);
    for row in rows.clone() {
        let is = is_valid(row);
        has_null |= !is;
        word |= u64::from(is) << (count % 64);
        count += 1;
        if count % 64 == 0 {
            valid.push(word.to_le_bytes());
            word = 0;
        }
    }
    valid.push(word.to_le_bytes());
    let values = match packed {
        Packed::Words(codes, texts, _) => {
            let code = |row: usize| codes.get(row).copied().unwrap_or_default();
            Values::Words(rows.map(code).collect(), texts.offsets.to_vec(), texts.bytes.to_vec())
        }
        Packed::Texts(..) => {
            let (mut offsets, mut bytes) = (vec![0_u64.to_le_bytes()], Vec::new());
            for row in rows {
                if row != NONE as usize {
                    bytes.extend_from_slice(text_of(packed, row).unwrap_or_default());
                }
                if bytes.len() > most_text {
                    return None;
                }
                offsets.push((bytes.len() as u64).to_le_bytes());
            }
            Values::Texts(offsets, bytes)
        }
        Packed::Floats(values, _) => {
            Values::Floats(rows.map(|row| values.get(row).copied().unwrap_or_default()).collect())
        }
        _ => {
            let number = |row: usize| match value_of(packed, row) {
                Some(ValueRef::Integer(n)) if row != NONE as usize => n.to_le_bytes(),
                _ => [0; 8],
            };
            Values::Ints(rows.map(number).collect())
        }
    };
    Some(Gathered { valid: has_null.then_some(valid), values })
}

impl Columns for Joined {
    fn rows(&self) -> usize {
        self.rows
    }

    fn packed(&self, column: &Arc<Column>) -> Packed<'_> {
        let Some((_, found)) = self.columns.iter().find(|(own, _)| own == column) else {
            return Packed::Null;
        };
        let valid = Valid(found.valid.as_deref());
        match &found.values {
            Values::Ints(values) => Packed::Ints(values, valid),
            Values::Floats(values) => Packed::Floats(values, valid),
            Values::Words(codes, offsets, bytes) => {
                Packed::Words(codes, Texts { offsets, bytes }, valid)
            }
            Values::Texts(offsets, bytes) => Packed::Texts(Texts { offsets, bytes }, valid),
        }
    }

    fn target(&self, _: &Column, _: &Target) -> Option<Vec<f64>> {
        None
    }
}
