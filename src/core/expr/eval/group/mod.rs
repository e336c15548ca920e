//! Groups of rows, and their aggregates.
//!
//! Rows are processed in blocks. First the key values of a block become numbers: those of a
//! dictionary-encoded column through a table, others through a hash, several columns through pairs
//! of numbers. Then every aggregated column is read once, whatever is asked of it. Each thread has
//! its own groups, which are merged at the end.

mod keys;
mod sums;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use roaring::RoaringBitmap;
use roaring::bitmap::Iter;

use self::keys::{KeyColumn, Seed, Value};
use self::sums::{NO_INT, NO_REAL, Sums, TextSum, add_up, folded};
use super::kernel::Block;
use super::value::Val;
use super::{Columns, Fault, blocks, fold_chunks};
use crate::expr::packed::Packed;
use crate::expr::typed::{Column, Part};

/// An operand of a key or an aggregate: a column, or a path component in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    pub column: Arc<Column>,
    pub part: Option<Part>,
}

/// An aggregate over the rows of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Fold {
    /// The number of rows.
    Rows,
    /// The number of values.
    Count(Operand),
    /// The number of different values.
    Distinct(Operand),
    Sum(Operand),
    Mean(Operand),
    Least(Operand),
    Greatest(Operand),
}

/// A group: the values of its keys, and one value per aggregate.
pub type Group = (Vec<Val<'static>>, Vec<Val<'static>>);

/// Why rows were not grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ungrouped {
    Fault(Fault),
    /// There are more groups than this limit.
    TooMany(usize),
    /// A sum of integers exceeds 64 bits.
    Overflow,
}

impl From<Fault> for Ungrouped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Fold {
    fn operand(&self) -> Option<&Operand> {
        match self {
            Self::Rows => None,
            Self::Count(of)
            | Self::Distinct(of)
            | Self::Sum(of)
            | Self::Mean(of)
            | Self::Least(of)
            | Self::Greatest(of) => Some(of),
        }
    }
}

/// Groups all rows, or those `within`, in the order of their keys. Without keys there is one group,
/// even if there is no row. At most `most` groups per thread.
///
/// # Errors
/// [`Ungrouped`].
pub fn group(
    columns: &dyn Columns,
    within: Option<&RoaringBitmap>,
    keys: &[Operand],
    folds: &[Fold],
    most: usize,
) -> Result<Vec<Group>, Ungrouped> {
    if folds.iter().any(|fold| matches!(fold, Fold::Distinct(_))) {
        return with_distinct(columns, within, keys, folds, most);
    }
    let mut operands: Vec<&Operand> = Vec::new();
    for operand in folds.iter().filter_map(Fold::operand) {
        if !operands.contains(&operand) {
            operands.push(operand);
        }
    }
    let seed = Seed(RandomState::new().hash_one(0_u8));
    let new = || State::new(columns, within, keys, &operands, seed, most);
    let states = fold_chunks(columns.rows(), new, |state: &mut State<'_>, chunk| {
        let rows = state.rows_of(chunk);
        let mut from = 0;
        for block in blocks(chunk, columns.rows()) {
            let selected = rows.as_ref().map(|rows| {
                let end = (block.start + block.length) as u32;
                let to = from + rows[from..].partition_point(|row| *row < end);
                let selected = &rows[from..to];
                from = to;
                selected
            });
            state.add(block, selected)?;
        }
        Ok(())
    })?;
    let mut states = states.into_iter();
    let mut all = states.next().unwrap_or_else(new);
    states.for_each(|state| all.merge(&state));
    if all.is_full {
        return Err(Ungrouped::TooMany(most));
    }
    if keys.is_empty() {
        all.grow(1);
    }
    all.finish(folds, &operands)
}

/// The same with numbers of different values: a value is one more key, and its groups are counted.
fn with_distinct(
    columns: &dyn Columns,
    within: Option<&RoaringBitmap>,
    keys: &[Operand],
    folds: &[Fold],
    most: usize,
) -> Result<Vec<Group>, Ungrouped> {
    let others: Vec<Fold> =
        folds.iter().filter(|fold| !matches!(fold, Fold::Distinct(_))).cloned().collect();
    let mut groups = group(columns, within, keys, &others, most)?;
    for (at, fold) in folds.iter().enumerate() {
        let Fold::Distinct(of) = fold else { continue };
        let keys = [keys, std::slice::from_ref(of)].concat();
        // Both are in the order of the keys.
        let mut values = group(columns, within, &keys, &[], most)?.into_iter().peekable();
        for (key, folded) in &mut groups {
            let mut count = 0;
            while let Some((value, _)) = values.next_if(|(value, _)| value.starts_with(key)) {
                count += i64::from(!value[key.len()].is_null());
            }
            folded.insert(at, Val::Int(count));
        }
    }
    Ok(groups)
}

/// Numbers pairs of numbers in the order in which they first appear.
type Pairs = (HashMap<(u32, u32), u32, Seed>, Vec<(u32, u32)>);

/// The groups of one thread.
struct State<'a> {
    keys: Vec<KeyColumn<'a>>,
    /// For the second key column and later: numbers pairs of the group so far and the next value.
    pairs: Vec<Pairs>,
    rows: Vec<u64>,
    operands: Vec<(Packed<'a>, Option<Part>, Sums<'a>)>,
    most: usize,
    is_full: bool,
    /// The rows that take part, from this thread's position on: seeking in a bitmap is slow, and
    /// chunks ascend.
    within: Option<Iter<'a>>,
    /// A row that was taken from the iterator too early.
    ahead: Option<u32>,
    /// For the current block: rows, and their groups.
    selected: Vec<u32>,
    groups: Vec<u32>,
    beside: Vec<u32>,
}

impl<'a> State<'a> {
    fn new(
        columns: &'a dyn Columns,
        within: Option<&'a RoaringBitmap>,
        keys: &[Operand],
        operands: &[&Operand],
        seed: Seed,
        most: usize,
    ) -> Self {
        let key = |key: &Operand| KeyColumn::new(columns.packed(&key.column), key.part, seed);
        let operand = |operand: &&Operand| {
            let packed = columns.packed(&operand.column);
            let sums = match &packed {
                Packed::Texts(..) | Packed::Words(..) => Sums::Texts(Vec::new()),
                Packed::Floats(..) => Sums::Reals(Vec::new()),
                _ => Sums::Ints(Vec::new()),
            };
            (packed, operand.part, sums)
        };
        Self {
            keys: keys.iter().map(key).collect(),
            pairs: keys.iter().skip(1).map(|_| (HashMap::with_hasher(seed), Vec::new())).collect(),
            rows: Vec::new(),
            operands: operands.iter().map(operand).collect(),
            most,
            is_full: false,
            within: within.map(RoaringBitmap::iter),
            ahead: None,
            selected: Vec::new(),
            groups: Vec::new(),
            beside: Vec::new(),
        }
    }

    /// The number of groups.
    fn count(&self) -> usize {
        match (self.pairs.last(), self.keys.first()) {
            (Some((_, pairs)), _) => pairs.len(),
            (None, Some(key)) => key.numbers.values.len(),
            (None, None) => self.rows.len().max(1),
        }
    }

    fn grow(&mut self, count: usize) {
        self.rows.resize(count, 0);
        for (.., sums) in &mut self.operands {
            match sums {
                Sums::Ints(sums) => sums.resize(count, NO_INT),
                Sums::Reals(sums) => sums.resize(count, NO_REAL),
                Sums::Texts(sums) => sums.resize(count, TextSum::default()),
            }
        }
    }

    /// The rows of a chunk that take part; `None` for all.
    fn rows_of(&mut self, chunk: usize) -> Option<Vec<u32>> {
        let within = self.within.as_mut()?;
        let start = (chunk * super::CHUNK) as u32;
        let end = start.saturating_add(super::CHUNK as u32);
        if self.ahead.is_none_or(|row| row < start) {
            within.advance_to(start);
            self.ahead = within.next();
        }
        let mut rows = Vec::new();
        while let Some(row) = self.ahead.filter(|row| *row < end) {
            rows.push(row);
            self.ahead = within.next();
        }
        Some(rows)
    }

    /// Adds the rows of a block, or the selected ones.
    fn add(&mut self, block: Block, selected: Option<&[u32]>) -> Result<(), Fault> {
        self.selected.clear();
        match selected {
            None => self.selected.extend(0..block.length as u32),
            Some(rows) => self.selected.extend(rows.iter().map(|row| row - block.start as u32)),
        }
        if self.selected.is_empty() || self.is_full {
            return Ok(());
        }
        self.groups.clear();
        self.groups.resize(self.selected.len(), 0);
        if let Some(key) = self.keys.first_mut() {
            key.number(block, &self.selected, &mut self.groups)?;
        }
        for (key, (known, pairs)) in self.keys.iter_mut().skip(1).zip(&mut self.pairs) {
            self.beside.clear();
            self.beside.resize(self.selected.len(), 0);
            key.number(block, &self.selected, &mut self.beside)?;
            for (group, value) in self.groups.iter_mut().zip(&self.beside) {
                let pair = (*group, *value);
                let next = pairs.len() as u32;
                let number = *known.entry(pair).or_insert(next);
                if number == next {
                    pairs.push(pair);
                }
                *group = number;
            }
        }
        let count = self.count();
        if count > self.most {
            self.is_full = true;
            return Ok(());
        }
        if count > self.rows.len() {
            self.grow(count);
        }
        self.groups.iter().for_each(|group| self.rows[*group as usize] += 1);
        for (packed, part, sums) in &mut self.operands {
            add_up(packed, *part, sums, block, &self.selected, &self.groups)?;
        }
        Ok(())
    }

    /// The key values of a group.
    fn values(&self, group: usize) -> Vec<Value<'a>> {
        let mut found = vec![Value::Null; self.keys.len()];
        let mut group = group as u32;
        for (at, key) in self.keys.iter().enumerate().skip(1).rev() {
            let (before, value) = self.pairs[at - 1].1[group as usize];
            found[at] = key.numbers.values[value as usize];
            group = before;
        }
        if let Some(key) = self.keys.first() {
            found[0] = key.numbers.values[group as usize];
        }
        found
    }

    /// The group with these key values.
    fn group_of(&mut self, values: &[Value<'a>]) -> usize {
        let mut group = 0;
        for (at, (key, value)) in self.keys.iter_mut().zip(values).enumerate() {
            let number = key.numbers.of(*value);
            group = match at {
                0 => number,
                _ => {
                    let (known, pairs) = &mut self.pairs[at - 1];
                    let next = pairs.len() as u32;
                    let found = *known.entry((group, number)).or_insert(next);
                    if found == next {
                        pairs.push((group, number));
                    }
                    found
                }
            };
        }
        group as usize
    }

    /// Merges the groups of another thread.
    fn merge(&mut self, other: &State<'a>) {
        self.is_full |= other.is_full;
        if self.is_full {
            return;
        }
        for group in 0..other.rows.len() {
            let own = self.group_of(&other.values(group));
            let count = self.count();
            if count > self.rows.len() {
                self.grow(count);
            }
            self.rows[own] += other.rows[group];
            for ((.., into), (.., from)) in self.operands.iter_mut().zip(&other.operands) {
                match (into, from) {
                    (Sums::Ints(into), Sums::Ints(from)) => {
                        let (into, from) = (&mut into[own], from[group]);
                        into.sum += from.sum;
                        into.count += from.count;
                        into.least = into.least.min(from.least);
                        into.greatest = into.greatest.max(from.greatest);
                    }
                    (Sums::Reals(into), Sums::Reals(from)) => {
                        let (into, from) = (&mut into[own], from[group]);
                        into.sum.merge(from.sum);
                        into.count += from.count;
                        into.least = into.least.min(from.least);
                        into.greatest = into.greatest.max(from.greatest);
                    }
                    (Sums::Texts(into), Sums::Texts(from)) => {
                        let (into, from) = (&mut into[own], from[group]);
                        let count = into.count + from.count;
                        from.least.into_iter().chain(from.greatest).for_each(|text| into.add(text));
                        into.count = count;
                    }
                    _ => {}
                }
            }
        }
    }

    fn finish(&self, folds: &[Fold], operands: &[&Operand]) -> Result<Vec<Group>, Ungrouped> {
        let mut order: Vec<(Vec<Value<'a>>, usize)> =
            (0..self.rows.len()).map(|group| (self.values(group), group)).collect();
        order.sort_unstable();
        let group = |(values, group): (Vec<Value<'a>>, usize)| {
            let keys = values.into_iter().map(Value::val).collect();
            let folded: Result<Vec<Val<'static>>, Ungrouped> = folds
                .iter()
                .map(|fold| match fold.operand() {
                    None => Ok(Val::Int(self.rows[group] as i64)),
                    Some(of) => {
                        let at = operands.iter().position(|own| *own == of).unwrap_or_default();
                        folded(fold, &self.operands[at].2, group)
                    }
                })
                .collect();
            Ok((keys, folded?))
        };
        order.into_iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::keys::{ordered, unordered};
    use super::*;
    use crate::expr::packed::{Texts, Valid};
    use crate::expr::typed::{Form, Target};
    use crate::schema::ValueType;

    struct Table {
        rows: usize,
        labels: Vec<[u8; 2]>,
        widths: Vec<[u8; 4]>,
        scores: Vec<[u8; 8]>,
        offsets: Vec<[u8; 8]>,
        valid: Vec<[u8; 8]>,
    }

    fn column(name: &str) -> Arc<Column> {
        let (name, value) = (name.to_owned(), ValueType::Int);
        Arc::new(Column { column: name.clone(), name, value, form: Form::Int })
    }

    fn operand(name: &str) -> Operand {
        Operand { column: column(name), part: None }
    }

    impl Columns for Table {
        fn rows(&self) -> usize {
            self.rows
        }

        fn packed(&self, column: &Arc<Column>) -> Packed<'_> {
            let valid = Valid(Some(&self.valid));
            match column.name.as_str() {
                "label" => Packed::Words(
                    &self.labels,
                    Texts { offsets: &self.offsets, bytes: b"abcc" },
                    Valid::ALL,
                ),
                "width" => Packed::Narrow(&self.widths, valid),
                "score" => Packed::Floats(&self.scores, valid),
                _ => Packed::Sequence(0),
            }
        }

        fn target(&self, _: &Column, _: &Target) -> Option<Vec<f64>> {
            None
        }
    }

    fn table(rows: usize) -> Table {
        let valid: Vec<bool> = (0..rows).map(|row| row % 7 != 3).collect();
        let words = valid.chunks(64).map(|chunk| {
            let word =
                chunk.iter().enumerate().fold(0_u64, |word, (at, is)| word | u64::from(*is) << at);
            word.to_le_bytes()
        });
        Table {
            rows,
            labels: (0..rows).map(|row| ((row * 31 % 3) as u16).to_le_bytes()).collect(),
            widths: (0..rows).map(|row| (row as i32 % 100 - 50).to_le_bytes()).collect(),
            scores: (0..rows).map(|row| (row as f64 / 10.0).to_le_bytes()).collect(),
            offsets: [0, 1, 2, 4_u64].map(u64::to_le_bytes).to_vec(),
            valid: words.collect(),
        }
    }

    /// By label and width: rows, widths, their sum, the greatest score.
    type Wanted = std::collections::BTreeMap<(usize, Option<i64>), (i64, i64, i64, f64)>;

    #[test]
    fn groups_are_those_of_a_simple_loop() {
        let rows = 200_000;
        let table = table(rows);
        let within: RoaringBitmap = (0..rows as u32).filter(|row| row % 5 != 0).collect();
        let width = || operand("width");
        let folds = [
            Fold::Rows,
            Fold::Count(width()),
            Fold::Sum(width()),
            Fold::Mean(width()),
            Fold::Least(width()),
            Fold::Greatest(operand("score")),
            Fold::Distinct(width()),
            Fold::Distinct(operand("label")),
        ];
        for set in [None, Some(&within)] {
            let found = group(&table, set, &[operand("label"), operand("width")], &folds, 1 << 20)
                .expect("sound");
            let mut want: Wanted = Default::default();
            for row in (0..rows).filter(|row| set.is_none_or(|set| set.contains(*row as u32))) {
                let width = (row % 7 != 3).then_some(row as i64 % 100 - 50);
                let sums = want.entry((row * 31 % 3, width)).or_insert((0, 0, 0, f64::MIN));
                sums.0 += 1;
                sums.1 += i64::from(width.is_some());
                sums.2 += width.unwrap_or(0);
                if width.is_some() {
                    sums.3 = sums.3.max(row as f64 / 10.0);
                }
            }
            assert_eq!(found.len(), want.len());
            for ((keys, values), ((label, width), sums)) in found.iter().zip(&want) {
                assert_eq!(keys[0], Val::Text([&b"a"[..], b"b", b"cc"][*label].to_vec().into()));
                assert_eq!(keys[1], width.map_or(Val::Null, Val::Int));
                assert_eq!(values[..2], [Val::Int(sums.0), Val::Int(sums.1)]);
                let is_there = width.is_some();
                assert_eq!(values[2], if is_there { Val::Int(sums.2) } else { Val::Null });
                assert_eq!(values[5], if is_there { Val::Real(sums.3) } else { Val::Null });
                assert_eq!(values[6..], [Val::Int(is_there.into()), Val::Int(1)]);
            }
        }
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let folds = [Fold::Distinct(operand("label")), Fold::Rows, Fold::Sum(operand("width"))];
        let found = group(&table(10), Some(&RoaringBitmap::new()), &[], &folds, 10).expect("sound");
        assert_eq!(found, [(vec![], vec![Val::Int(0), Val::Int(0), Val::Null])]);
        let folds = [Fold::Distinct(operand("label")), Fold::Distinct(operand("width"))];
        let found = group(&table(10), None, &[], &folds, 10).expect("sound");
        assert_eq!(found, [(vec![], vec![Val::Int(3), Val::Int(9)])]);
        assert_eq!(group(&table(0), None, &[operand("label")], &folds, 10), Ok(vec![]));
        assert_eq!(
            group(&table(100), None, &[operand("row")], &folds, 10),
            Err(Ungrouped::TooMany(10))
        );
    }

    #[test]
    fn floats_order_by_their_bits() {
        let values = [f64::NEG_INFINITY, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY];
        let bits = values.map(ordered);
        assert!(bits.is_sorted());
        assert_eq!(bits.map(unordered), values);
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
