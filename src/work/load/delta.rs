//! Which files of a load are read, and which rows of the last version stay.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use dcfs_core::id::RowId;

use super::recipe::Known;
use crate::index::Counts;

/// A part of the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A file that did not change: its rows in the last version, if it has any.
    Keep(Known, Option<RangeInclusive<RowId>>),
    /// A file to read, by its index.
    Read(usize),
}

/// The parts of the new version in order, and how many files are new or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub parts: Vec<Part>,
    pub counts: Counts,
}

impl Plan {
    /// Reads all of so many files.
    pub fn all(files: usize) -> Self {
        let counts = Counts { new: files as u64, ..Counts::default() };
        Self { parts: (0..files).map(Part::Read).collect(), counts }
    }

    /// Compares files with those of the last version, whose rows are numbered from `first` on. The files that are gone
    /// come last, where they are kept.
    pub fn delta(files: &[Known], last: &[Known], first: RowId, keeps_deleted: bool) -> Self {
        let mut next = first.key();
        let mut rows = Vec::with_capacity(last.len());
        for known in last {
            let start = next;
            next = next.saturating_add_unsigned(known.rows);
            rows.push((known.rows > 0).then(|| RowId::new(start)..=RowId::new(next - 1)));
        }
        let mut there: HashMap<u64, usize> =
            last.iter().enumerate().map(|(at, known)| (known.name, at)).collect();
        let (mut parts, mut counts) = (Vec::with_capacity(files.len()), Counts::default());
        for (at, file) in files.iter().enumerate() {
            match there.remove(&file.name) {
                Some(old) if file.is_as(&last[old]) => {
                    counts.unchanged += 1;
                    parts.push(Part::Keep(last[old], rows[old].clone()));
                }
                old => {
                    *(if old.is_some() { &mut counts.changed } else { &mut counts.new }) += 1;
                    parts.push(Part::Read(at));
                }
            }
        }
        match keeps_deleted {
            true => {
                let mut gone: Vec<usize> = there.into_values().collect();
                gone.sort_unstable();
                parts.extend(gone.iter().map(|at| Part::Keep(last[*at], rows[*at].clone())));
            }
            false => counts.gone = there.len() as u64,
        }
        Self { parts, counts }
    }

    /// The indices of the files to read.
    pub fn read(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Read(at) => Some(*at),
            Part::Keep(..) => None,
        })
    }

    /// The number of rows that stay.
    pub fn kept(&self) -> u64 {
        let rows = |part: &Part| match part {
            Part::Read(_) => 0,
            Part::Keep(known, _) => known.rows,
        };
        self.parts.iter().map(rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(files: &[(u64, u64, u64)]) -> Vec<Known> {
        files.iter().map(|&(name, state, rows)| Known { name, state, rows }).collect()
    }

    #[test]
    fn files_stay_come_and_go() {
        let last = known(&[(1, 1, 2), (2, 1, 0), (3, 1, 1), (4, 1, 5), (5, 1, 1)]);
        let now = known(&[(1, 1, 0), (2, 1, 0), (4, 2, 0), (5, 1, 0), (6, 1, 0)]);
        let range = |from: i64, to: i64| Some(RowId::new(from)..=RowId::new(to));
        let plan = Plan::delta(&now, &last, RowId::new(1), false);
        let want = vec![
            Part::Keep(last[0], range(1, 2)),
            Part::Keep(last[1], None),
            Part::Read(2),
            Part::Keep(last[4], range(9, 9)),
            Part::Read(4),
        ];
        assert_eq!(plan.parts, want);
        assert_eq!(plan.counts, Counts { unchanged: 3, new: 1, changed: 1, gone: 1 });
        assert_eq!((plan.kept(), plan.read().collect::<Vec<_>>()), (3, vec![2, 4]));
        let plan = Plan::delta(&now, &last, RowId::new(1), true);
        assert_eq!(plan.parts[5..], [Part::Keep(last[2], range(3, 3))]);
        assert_eq!(plan.counts.gone, 0);
        assert!(Plan::delta(&last, &last, RowId::new(1), false).counts.is_nothing());
        assert_eq!(Plan::all(2).parts, [Part::Read(0), Part::Read(1)]);
    }
}
