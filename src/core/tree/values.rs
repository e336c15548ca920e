//! The distinct values of a column as directory names: the contents of `_views/by/<column>/`.
//!
//! 1. A value is named by its text: text as it is, `7`, `0.5`, `true`, `2024-01-02 03:04:05`;
//!    escaped like any name ([`escape`]), so an empty text is `%`. NULL is `.null`: it is not a
//!    class, so it is found by name only, and loaders that list hidden directories do not see it
//!    either.
//! 2. If two values want one name (the text `.null`, say), the one whose first row comes first
//!    keeps it; NULL always does. The others are marked with the `sys__id` of their first row.
//! 3. A value is identified by the ordinal of its first row, which never changes and needs no
//!    table.
//!
//! Decided over the whole version, so that a set of rows never renames a value.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::settle::free_name;
use crate::cell::Cell;
use crate::name::escape;
use crate::schema::ValueType;

/// The name of NULL.
pub const NULL: &[u8] = b".null";

/// The most distinct values; columns with more are not listed.
pub const MOST: usize = 10_000;

/// The most bytes of text in all values: texts may be whole documents.
const MOST_BYTES: usize = 16 << 20;

/// One distinct value of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The name: legal, and unique among the values of its column.
    pub name: Vec<u8>,
    /// The ordinal of its first row, which identifies it.
    pub first: u32,
    /// The ordinals of all its rows.
    pub rows: RoaringBitmap,
    /// Whether it is NULL, whose folder is not listed.
    pub is_null: bool,
}

/// The values of a column, ascending: NULL, numbers, text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    sorted: Vec<Value>,
    by_name: HashMap<Vec<u8>, usize>,
    by_first: HashMap<u32, usize>,
}

/// The name that `cell` wants in a column of `value`s.
pub fn wanted_name<'a>(cell: Cell<'a>, value: &ValueType) -> Cow<'a, [u8]> {
    match cell {
        Cell::Null => Cow::Borrowed(NULL),
        Cell::Integer(n) if *value == ValueType::Bool && (n == 0 || n == 1) => {
            Cow::Borrowed(if n == 1 { b"true" } else { b"false" })
        }
        Cell::Integer(n) => Cow::Owned(n.to_string().into_bytes()),
        Cell::Real(x) => Cow::Owned(real(x).into_bytes()),
        Cell::Text(text) | Cell::Blob(text) => escape::segment(text),
    }
}

/// A float as Python prints it: `0.5`, `1.0`, `1e+16`, `1e-07`, `inf`.
fn real(x: f64) -> String {
    let plain = format!("{x:?}");
    let Some((digits, exponent)) = plain.split_once('e') else { return plain };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// A cell that can be stored and compared; equality is that of SQLite's `IS` among values of one
/// type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Null,
    Integer(i64),
    /// The bits of the float, in its order. -0.0 is 0.0.
    Real(u64),
    Text(Box<[u8]>),
    Blob(Box<[u8]>),
}

impl From<Cell<'_>> for Key {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(n) => Self::Integer(n),
            Cell::Real(x) => Self::Real(rising_bits(x + 0.0)),
            Cell::Text(text) => Self::Text(text.into()),
            Cell::Blob(bytes) => Self::Blob(bytes.into()),
        }
    }
}

impl Key {
    /// Whether the cell has this value.
    pub fn is(&self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Self::Text(text), Cell::Text(other)) | (Self::Blob(text), Cell::Blob(other)) => {
                **text == *other
            }
            (Self::Text(_) | Self::Blob(_), _) | (_, Cell::Text(_) | Cell::Blob(_)) => false,
            _ => *self == Self::from(cell),
        }
    }
}

/// The bits of a float, sorted like the float.
fn rising_bits(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Gathers the cells of a column, row by row.
#[derive(Debug, Default)]
pub struct Collector {
    rows: HashMap<Key, RoaringBitmap>,
    /// Bytes of text in the keys.
    bytes: usize,
}

impl Collector {
    /// Adds the cell of a row; ordinals must ascend. `false` once there are more than [`MOST`]
    /// values, or too long ones: then no more cells are needed.
    pub fn push(&mut self, ordinal: u32, cell: Cell<'_>) -> bool {
        let rows = self.rows.entry(cell.into()).or_default();
        if rows.is_empty()
            && let Cell::Text(text) | Cell::Blob(text) = cell
        {
            self.bytes += text.len();
        }
        rows.insert(ordinal);
        self.rows.len() <= MOST && self.bytes <= MOST_BYTES
    }

    /// The values with their names. `id` gives the `sys__id` of an ordinal.
    pub fn finish(self, value: &ValueType, id: impl Fn(u32) -> i64) -> Values {
        let mut found: Vec<(Key, RoaringBitmap)> = self.rows.into_iter().collect();
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let found: Vec<_> = found
            .into_iter()
            .map(|(key, rows)| (key == Key::Null, wanted(&key, value), rows))
            .filter_map(|(is_null, name, rows)| Some((is_null, (name, rows.min()?, rows))))
            .collect();
        let (nulls, found): (Vec<bool>, Vec<_>) = found.into_iter().unzip();
        let named = names(&found, id).into_iter().zip(found).zip(nulls);
        let value = |((name, (_, first, rows)), is_null)| Value { name, first, rows, is_null };
        Values::of(named.map(value).collect())
    }
}

fn wanted(key: &Key, value: &ValueType) -> Vec<u8> {
    let cell = match key {
        Key::Null => Cell::Null,
        Key::Integer(n) => Cell::Integer(*n),
        Key::Real(bits) => {
            let bits = if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits };
            Cell::Real(f64::from_bits(bits))
        }
        Key::Text(text) => Cell::Text(text),
        Key::Blob(bytes) => Cell::Blob(bytes),
    };
    wanted_name(cell, value).into_owned()
}

/// Rule 2, for values in ascending order. A real name goes before an equal marked one.
fn names(found: &[(Vec<u8>, u32, RoaringBitmap)], id: impl Fn(u32) -> i64) -> Vec<Vec<u8>> {
    let mut keepers: HashMap<&[u8], usize> = HashMap::with_capacity(found.len());
    for (index, (name, first, _)) in found.iter().enumerate() {
        let keeper = keepers.entry(name).or_insert(index);
        // NULL comes first, and keeps its name whatever its first row is.
        let is_null = *keeper == 0 && name == NULL;
        if *first < found[*keeper].1 && !is_null {
            *keeper = index;
        }
    }
    let mut taken: HashSet<Vec<u8>> = keepers.keys().map(|name| name.to_vec()).collect();
    let name = |(index, (name, first, _)): (usize, &(Vec<u8>, u32, RoaringBitmap))| {
        if keepers.get(&name[..]) == Some(&index) {
            return name.clone();
        }
        let free = free_name(b"", name, id(*first), |name| taken.contains(name));
        taken.insert(free.clone());
        free
    };
    found.iter().enumerate().map(name).collect()
}

impl Values {
    fn of(sorted: Vec<Value>) -> Self {
        let by_name = sorted.iter().enumerate().map(|(at, value)| (value.name.clone(), at));
        let by_first = sorted.iter().enumerate().map(|(at, value)| (value.first, at));
        Self { by_name: by_name.collect(), by_first: by_first.collect(), sorted }
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.sorted.iter()
    }

    /// The value called `name`.
    pub fn named(&self, name: &[u8]) -> Option<&Value> {
        self.by_name.get(name).map(|at| &self.sorted[*at])
    }

    /// The value whose first row is `first`.
    pub fn numbered(&self, first: u32) -> Option<&Value> {
        self.by_first.get(&first).map(|at| &self.sorted[*at])
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let each = |value: &Value| 2 * value.name.len() + value.rows.serialized_size() + 200;
        self.sorted.iter().map(each).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(cells: &[Cell<'_>], value: &ValueType) -> Values {
        let mut collector = Collector::default();
        for (ordinal, cell) in (0..).zip(cells) {
            assert!(collector.push(ordinal, *cell));
        }
        collector.finish(value, |ordinal| i64::from(ordinal) + 1)
    }

    fn listed(cells: &[Cell<'_>], value: &ValueType) -> Vec<(String, Vec<u32>)> {
        let values = values(cells, value);
        let listed = values.iter().map(|value| {
            let name = String::from_utf8_lossy(&value.name).into_owned();
            assert_eq!(values.named(&value.name), Some(value));
            assert_eq!(values.numbered(value.first), Some(value));
            (name, value.rows.iter().collect())
        });
        listed.collect()
    }

    #[test]
    fn values_are_named_as_they_read() {
        use Cell::{Integer, Null, Real, Text};
        let cases: [(Cell<'_>, ValueType, &str); 19] = [
            (Null, ValueType::Text, ".null"),
            (Integer(1), ValueType::Bool, "true"),
            (Integer(0), ValueType::Bool, "false"),
            (Integer(2), ValueType::Bool, "2"),
            (Integer(1), ValueType::Int, "1"),
            (Integer(i64::MIN), ValueType::Int, "-9223372036854775808"),
            (Real(0.5), ValueType::Float, "0.5"),
            (Real(1.0), ValueType::Float, "1.0"),
            (Real(1e16), ValueType::Float, "1e+16"),
            (Real(1e-7), ValueType::Float, "1e-07"),
            (Real(f64::NEG_INFINITY), ValueType::Float, "-inf"),
            (Text(b"pug"), ValueType::Text, "pug"),
            (Text(b""), ValueType::Text, "%"),
            (Text(b".."), ValueType::Text, "%2E."),
            (Text(b"a/b\0"), ValueType::Text, "a%2Fb%00"),
            (Text(b"a b\nc"), ValueType::Text, "a b\nc"),
            (Text(b"2024-01-02 03:04:05"), ValueType::Time, "2024-01-02 03:04:05"),
            (Text(b"_rows.csv"), ValueType::Text, "_rows.csv"),
            (Cell::Blob(b"x"), ValueType::Bytes, "x"),
        ];
        for (cell, value, want) in cases {
            assert_eq!(wanted_name(cell, &value), want.as_bytes(), "{cell:?}");
        }
        let long = "l".repeat(1000);
        assert_eq!(wanted_name(Cell::Text(long.as_bytes()), &ValueType::Text).len(), 217);
    }

    #[test]
    fn one_name_is_for_the_first_and_null_keeps_its_own() {
        let text = |text: &'static str| Cell::Text(text.as_bytes());
        let got = listed(
            &[text(".null"), text("%2E"), text("."), Cell::Null, text(".null"), text("")],
            &ValueType::Text,
        );
        let want: Vec<(String, Vec<u32>)> = vec![
            (".null".into(), vec![3]),
            ("%".into(), vec![5]),
            ("%2E".into(), vec![1]),
            ("%2E~3".into(), vec![2]),
            (".null~1".into(), vec![0, 4]),
        ];
        let mut sorted = got.clone();
        sorted.sort();
        let mut wanted = want;
        wanted.sort();
        assert_eq!(sorted, wanted);
        let mixed = listed(&[text("1"), Cell::Integer(1), text("1~2")], &ValueType::Int);
        let names: Vec<&str> = mixed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["1~2~2", "1", "1~2"], "a real name goes before a mark");
    }

    #[test]
    fn numbers_rise_and_zeros_are_one() {
        let cells = [1.0, -0.0, f64::INFINITY, 0.0, -1.5, 2.0, f64::NEG_INFINITY].map(Cell::Real);
        let names: Vec<String> =
            listed(&cells, &ValueType::Float).into_iter().map(|v| v.0).collect();
        assert_eq!(names, ["-inf", "-1.5", "0.0", "1.0", "2.0", "inf"]);
    }

    #[test]
    fn a_key_knows_its_cells() {
        let cells = [
            Cell::Null,
            Cell::Integer(1),
            Cell::Real(1.0),
            Cell::Real(0.0),
            Cell::Text(b"1"),
            Cell::Blob(b"1"),
        ];
        for (a, cell) in cells.iter().enumerate() {
            for (b, other) in cells.iter().enumerate() {
                assert_eq!(Key::from(*cell).is(*other), a == b, "{cell:?} {other:?}");
            }
        }
        assert!(Key::from(Cell::Real(0.0)).is(Cell::Real(-0.0)));
    }

    #[test]
    fn values_too_long_to_list_are_noticed() {
        let mut collector = Collector::default();
        let long = vec![b'x'; MOST_BYTES];
        assert!(collector.push(0, Cell::Text(&long)));
        assert!(collector.push(1, Cell::Text(&long)), "no new one");
        assert!(!collector.push(2, Cell::Text(b"y")));
    }

    #[test]
    fn too_many_values_are_noticed() {
        let mut collector = Collector::default();
        for ordinal in 0..MOST as u32 {
            assert!(collector.push(ordinal, Cell::Integer(ordinal.into())));
        }
        assert!(collector.push(0, Cell::Integer(7)), "no new one");
        assert!(!collector.push(0, Cell::Null));
    }
}
