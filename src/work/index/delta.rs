//! Compares the objects of a version with a new listing: merges two sequences in the order of their
//! keys.
//!
//! The key is the full address of an object. One that is in both with the same version, etag and
//! size is unchanged; with a different one it changed; one that is only in the old version is gone.
//! If a key occurs several times (DataChain keeps the rows of objects that changed), each row is
//! matched with at most one other.

use std::iter::Peekable;

use serde::Serialize;

use super::item::Item;
use super::rows::{From, StoredRow};
use dcfs_core::error::Result;

/// Counts of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub unchanged: u64,
    pub new: u64,
    pub changed: u64,
    pub gone: u64,
}

impl Counts {
    /// Whether nothing changed, so that no new version is needed.
    pub fn is_nothing(&self) -> bool {
        (self.new, self.changed, self.gone) == (0, 0, 0)
    }
}

/// The fate of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The old row stays unchanged.
    Keep(Item),
    /// A row of the new listing, whose other columns have to be computed.
    Fresh(Item),
}

/// Merges the rows of the next version, in the order of their keys.
pub struct Merge<N: Iterator, O: Iterator> {
    new: Peekable<N>,
    old: Peekable<O>,
    keeps_deleted: bool,
    counts: Counts,
    ready: std::vec::IntoIter<Step>,
}

impl<N, O> Merge<N, O>
where
    N: Iterator<Item = Result<Item>>,
    O: Iterator<Item = Result<Item>>,
{
    /// `new` and `old` must be in the order of their keys.
    pub fn new(new: N, old: O, keeps_deleted: bool) -> Self {
        let (counts, ready) = (Counts::default(), Vec::new().into_iter());
        Self { new: new.peekable(), old: old.peekable(), keeps_deleted, counts, ready }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next row of the next version.
    ///
    /// # Errors
    /// Errors of the sequences.
    pub fn step(&mut self) -> Result<Option<Step>> {
        loop {
            if let Some(step) = self.ready.next() {
                return Ok(Some(step));
            }
            let Some(first) = least(&mut self.new, &mut self.old)? else { return Ok(None) };
            let of_key = |item: &Result<Item>| has_key(item, first.key());
            let new = self.new.next_if(of_key).transpose()?;
            let old = self.old.next_if(of_key).transpose()?;
            let more_new = group(&mut self.new, first.key())?;
            let more_old = group(&mut self.old, first.key())?;
            match (new, old) {
                // Nearly all rows of a delta get here.
                (Some(new), Some(old))
                    if more_new.is_empty() && more_old.is_empty() && is_same(&new, &old) =>
                {
                    self.counts.unchanged += 1;
                    return Ok(Some(Step::Keep(old)));
                }
                (new, old) => {
                    let new = new.into_iter().chain(more_new).collect();
                    let old = old.into_iter().chain(more_old).collect();
                    self.ready = self.matched(new, old).into_iter();
                }
            }
        }
    }

    /// Matches the rows of one key.
    fn matched(&mut self, new: Vec<Item>, mut old: Vec<Item>) -> Vec<Step> {
        let (mut kept, mut fresh) = (Vec::new(), Vec::new());
        for item in new {
            match old.iter().position(|other| is_same(&item, other)) {
                Some(at) => kept.push(old.remove(at)),
                None => fresh.push(item),
            }
        }
        let changed = fresh.len().min(old.len());
        self.counts.unchanged += kept.len() as u64;
        self.counts.changed += changed as u64;
        self.counts.new += (fresh.len() - changed) as u64;
        if self.keeps_deleted {
            kept.append(&mut old);
        } else {
            self.counts.gone += (old.len() - changed) as u64;
        }
        kept.sort_by_key(|item| match StoredRow::of(item).from {
            From::Row(_, row) => row.key(),
            From::Single(_) => 0,
        });
        kept.into_iter().map(Step::Keep).chain(fresh.into_iter().map(Step::Fresh)).collect()
    }
}

fn is_same(one: &Item, other: &Item) -> bool {
    StoredRow::of(one).is_same(&StoredRow::of(other))
}

/// The next row with the least key of two sequences.
pub fn least(
    new: &mut Peekable<impl Iterator<Item = Result<Item>>>,
    old: &mut Peekable<impl Iterator<Item = Result<Item>>>,
) -> Result<Option<Item>> {
    let (new, old) = (first(new)?, first(old)?);
    Ok(match (new, old) {
        (Some(new), Some(old)) => Some(if new.key() <= old.key() { new } else { old }),
        (new, old) => new.or(old),
    })
}

fn first(items: &mut Peekable<impl Iterator<Item = Result<Item>>>) -> Result<Option<Item>> {
    match items.peek() {
        None => Ok(None),
        Some(Ok(item)) => Ok(Some(item.clone())),
        Some(Err(_)) => items.next().transpose(),
    }
}

/// Takes the rows with the same key from the front of a sequence.
pub fn group(
    items: &mut Peekable<impl Iterator<Item = Result<Item>>>,
    key: &[u8],
) -> Result<Vec<Item>> {
    std::iter::from_fn(|| items.next_if(|item| has_key(item, key))).collect()
}

/// An error matches every key.
fn has_key(item: &Result<Item>, key: &[u8]) -> bool {
    item.as_ref().map_or(true, |item| item.key() == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::id::RowId;

    use proptest::prelude::*;

    /// Keys, etags and row numbers.
    type Rows = Vec<(u8, u8)>;

    fn items(rows: &Rows) -> Vec<Result<Item>> {
        let item = |(row, (key, etag)): (usize, &(u8, u8))| {
            let (address, etag) = (&[*key][..], &[*etag][..]);
            let (from, none) = (From::Row(0, RowId::new(row as i64)), &b""[..]);
            let row =
                StoredRow { address, path: 0, from, size: 0, version: none, etag, modified: none };
            Ok(Item::new(|out| row.write(out)))
        };
        rows.iter().enumerate().map(item).collect()
    }

    fn merged(new: &Rows, old: &Rows, keeps_deleted: bool) -> (Vec<(bool, u8, u8)>, Counts) {
        let mut merge = Merge::new(items(new).into_iter(), items(old).into_iter(), keeps_deleted);
        let mut steps = Vec::new();
        while let Some(step) = merge.step().expect("a step") {
            let (is_fresh, item) = match step {
                Step::Keep(item) => (false, item),
                Step::Fresh(item) => (true, item),
            };
            steps.push((is_fresh, item.key()[0], StoredRow::of(&item).etag[0]));
        }
        (steps, merge.counts())
    }

    #[test]
    fn rows_stay_come_and_go() {
        let (new, old) = (vec![(1, 1), (2, 2), (4, 1)], vec![(1, 1), (2, 1), (3, 1)]);
        let (steps, counts) = merged(&new, &old, false);
        assert_eq!(steps, [(false, 1, 1), (true, 2, 2), (true, 4, 1)]);
        assert_eq!(counts, Counts { unchanged: 1, new: 1, changed: 1, gone: 1 });
        let (steps, counts) = merged(&new, &old, true);
        assert_eq!(
            steps,
            [(false, 1, 1), (false, 2, 1), (true, 2, 2), (false, 3, 1), (true, 4, 1)]
        );
        assert_eq!(counts, Counts { unchanged: 1, new: 1, changed: 1, gone: 0 });
        assert!(merged(&old, &old, false).1.is_nothing());
    }

    #[test]
    fn an_error_of_either_ends_it() {
        type Some = std::vec::IntoIter<Result<Item>>;
        let bad = |rows: Rows| -> Some {
            let error = dcfs_core::error::Error::new(dcfs_core::error::Kind::Broken, "bad");
            items(&rows).into_iter().chain([Err(error)]).collect::<Vec<_>>().into_iter()
        };
        let good = |rows: Rows| -> Some { items(&rows).into_iter() };
        let (one, more) = (vec![(1, 1)], vec![(0, 0), (1, 1), (1, 2), (3, 0)]);
        let cases = [
            (bad(one.clone()), good(Vec::new())),
            (good(Vec::new()), bad(one.clone())),
            (bad(one.clone()), good(more.clone())),
            (good(more.clone()), bad(one.clone())),
            (bad(Vec::new()), good(more)),
        ];
        for (new, old) in cases {
            let mut merge = Merge::new(new, old, false);
            let steps = std::iter::from_fn(|| merge.step().transpose());
            assert_eq!(steps.take(9).filter(Result::is_err).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn every_row_is_told_once(
            mut new in prop::collection::vec((0..9_u8, 0..3_u8), 0..12),
            mut old in prop::collection::vec((0..9_u8, 0..3_u8), 0..12),
            keeps_deleted: bool,
        ) {
            new.sort();
            old.sort();
            let (steps, counts) = merged(&new, &old, keeps_deleted);
            let mut got: Rows = steps.iter().map(|(_, key, etag)| (*key, *etag)).collect();
            got.sort();
            prop_assert!(steps.is_sorted_by_key(|(_, key, _)| *key));
            prop_assert_eq!(counts.unchanged + counts.new + counts.changed, new.len() as u64);
            prop_assert_eq!(steps.iter().filter(|(is_fresh, ..)| *is_fresh).count() as u64, counts.new + counts.changed);
            if keeps_deleted {
                // All old rows stay.
                let mut left = got.clone();
                for row in &old {
                    let at = left.iter().position(|other| other == row);
                    prop_assert!(at.is_some());
                    left.remove(at.unwrap_or(0));
                }
                prop_assert_eq!(left.len() as u64, counts.new + counts.changed);
            } else {
                prop_assert_eq!(got, new);
                prop_assert_eq!(counts.unchanged + counts.changed + counts.gone, old.len() as u64);
            }
        }
    }
}
