//! Hashes of cells, equal if their meaning is.

use std::borrow::Cow;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

use dcfs_core::cell::{Cell, Cells};
use dcfs_core::json;
use dcfs_core::render::rows::json::fixed_time;

/// How the cells of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By type and bytes; numbers by value.
    Plain,
    /// As times, if they are.
    Time,
    /// As JSON, if they are.
    Json,
    /// As the tag of an optional model: 0 is present, anything else absent.
    Tag,
}

/// The database columns of one version, in the order of the query.
#[derive(Clone, Debug)]
pub struct Columns {
    pub names: Vec<String>,
    kinds: Vec<Kind>,
    /// The number of key columns, which come first.
    keys: usize,
}

impl Columns {
    pub fn new(
        keys: impl Iterator<Item = (String, Kind)>,
        compared: impl Iterator<Item = (String, Kind)>,
    ) -> Self {
        let (mut names, mut kinds): (Vec<_>, Vec<_>) = keys.unzip();
        let keys = names.len();
        let (more, more_kinds): (Vec<_>, Vec<_>) = compared.unzip();
        names.extend(more);
        kinds.extend(more_kinds);
        Self { names, kinds, keys }
    }
}

/// The random hash keys of one comparison.
#[derive(Debug, Default)]
pub struct Keys {
    high: RandomState,
    low: RandomState,
    values: RandomState,
}

impl Keys {
    /// The key of a row, and a hash of its values: equal if all texts are equal, and practically
    /// never otherwise.
    pub fn row(&self, columns: &Columns, cells: &dyn Cells) -> (u128, u64) {
        let (mut high, mut low) = (self.high.build_hasher(), self.low.build_hasher());
        let mut values = self.values.build_hasher();
        for (at, kind) in columns.kinds.iter().enumerate() {
            let cell = cells.cell(at);
            if at < columns.keys {
                let said = Said::of(cell, *kind);
                said.hash(&mut high);
                said.hash(&mut low);
            } else {
                // Equal texts mean the same; different ones are read again.
                Said::of(cell, if *kind == Kind::Tag { Kind::Tag } else { Kind::Plain })
                    .hash(&mut values);
            }
        }
        (u128::from(high.finish()) << 64 | u128::from(low.finish()), values.finish())
    }

    /// A hash of the meaning of one cell.
    pub fn cell(&self, cell: Cell<'_>, kind: Kind) -> u64 {
        let mut hasher = self.values.build_hasher();
        Said::of(cell, kind).hash(&mut hasher);
        hasher.finish()
    }
}

/// The meaning of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, [u8]>),
    Blob(&'a [u8]),
}

impl<'a> Said<'a> {
    /// The meaning of a cell in a column.
    pub fn of(cell: Cell<'a>, kind: Kind) -> Self {
        match (cell, kind) {
            (cell, Kind::Tag) => Self::Integer((cell == Cell::Integer(0)).into()),
            (Cell::Null, _) => Self::Null,
            (Cell::Integer(n), _) => Self::Integer(n),
            (Cell::Real(x), _) => whole(x).map_or(Self::Real(x), Self::Integer),
            (Cell::Blob(bytes), _) => Self::Blob(bytes),
            (Cell::Text(text), Kind::Time) => Self::Text(fixed_time(text).unwrap_or(text.into())),
            (Cell::Text(text), Kind::Json) if json::is_valid(text) => {
                let mut out = Vec::with_capacity(text.len());
                canonical(text.trim_ascii(), &mut out);
                Self::Text(out.into())
            }
            (Cell::Text(text), _) => Self::Text(text.into()),
        }
    }

    /// The tag and the length delimit each cell, so that cells cannot run into each other.
    fn hash(&self, into: &mut DefaultHasher) {
        let mut bytes = |tag: u8, bytes: &[u8]| {
            into.write_u8(tag);
            into.write_u64(bytes.len() as u64);
            into.write(bytes);
        };
        match self {
            Self::Null => into.write_u8(0),
            Self::Integer(n) => {
                into.write_u8(1);
                into.write_i64(*n);
            }
            Self::Real(x) => {
                into.write_u8(2);
                into.write_u64(x.to_bits());
            }
            Self::Text(text) => bytes(3, text),
            Self::Blob(blob) => bytes(4, blob),
        }
    }
}

/// The integer equal to a float.
fn whole(x: f64) -> Option<i64> {
    // 2^63 itself does not fit 64 bits.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x);
    (fits && x.fract() == 0.0).then_some(x as i64)
}

/// JSON in canonical form: no spaces, names sorted, strings with minimal escapes, `1.0` as `1`.
/// `text` is valid.
fn canonical(text: &[u8], out: &mut Vec<u8>) {
    match text.first() {
        Some(b'{') => {
            let mut fields = json::fields(text).unwrap_or_default();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            for (name, value) in fields {
                out.push(b'{');
                string(&name, out);
                canonical(value, out);
            }
            out.push(b'}');
        }
        Some(b'[') => {
            for item in json::items(text).unwrap_or_default() {
                out.push(b'[');
                canonical(item, out);
            }
            out.push(b']');
        }
        Some(b'"') => match json::text(text) {
            Some(said) => string(&said, out),
            None => out.extend_from_slice(text),
        },
        _ => number(text, out),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A number or a literal. Integers of any length keep their digits; decimals are compared at the
/// precision of a float.
fn number(text: &[u8], out: &mut Vec<u8>) {
    let as_text = std::str::from_utf8(text).unwrap_or_default();
    let is_float = text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    let float = || as_text.parse::<f64>().ok().filter(|x| x.is_finite());
    let said = match is_float {
        true => float().map(|x| whole(x).map_or_else(|| format!("{x:?}"), |n| n.to_string())),
        false => as_text.parse::<i64>().ok().map(|n| n.to_string()),
    };
    match said {
        Some(said) => out.extend_from_slice(said.as_bytes()),
        None => out.extend_from_slice(text),
    }
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: Cell<'_>, other: Cell<'_>, kind: Kind) -> bool {
        let keys = Keys::default();
        let same = keys.cell(one, kind) == keys.cell(other, kind);
        assert_eq!(same, Said::of(one, kind) == Said::of(other, kind));
        same
    }

    #[test]
    fn cells_are_equal_by_what_they_say() {
        use Cell::{Blob, Integer, Null, Real, Text};
        let cases = [
            (Null, Null, true),
            (Null, Text(b""), false),
            (Null, Integer(0), false),
            (Integer(1), Real(1.0), true),
            (Real(-0.0), Real(0.0), true),
            (Real(0.1), Real(0.1), true),
            (Real(f64::INFINITY), Real(f64::NEG_INFINITY), false),
            (Integer(i64::MAX), Real(9_223_372_036_854_775_808.0), false),
            (Text(b"1"), Integer(1), false),
            (Text(b"a"), Blob(b"a"), false),
            (Text(b"a\0"), Text(b"a"), false),
            (Text(b"[1]"), Text(b"[1.0]"), false),
        ];
        for (one, other, want) in cases {
            assert_eq!(same(one, other, Kind::Plain), want, "{one:?} {other:?}");
        }
    }

    #[test]
    fn json_is_equal_however_it_is_written() {
        let cases: [(&str, &str, bool); 16] = [
            ("[1, 2]", "[1,2]", true),
            ("[1.0]", "[1]", true),
            ("[1e2]", "[100.0]", true),
            (r#"{"a": 1, "b": [2]}"#, r#"{"b":[2],"a":1}"#, true),
            (r#""s3:\/\/b""#, r#""s3://b""#, true),
            (r#"["\u00e9"]"#, "[\"\u{e9}\"]", true),
            ("[]", "{}", false),
            ("[[]]", "[]", false),
            ("[[],[]]", "[[[]]]", false),
            ("[1,2]", "[12]", false),
            (r#"["a","b"]"#, r#"["ab"]"#, false),
            (r#"["1"]"#, "[1]", false),
            ("[null]", "[]", false),
            ("[18446744073709551616]", "[18446744073709551617]", false),
            ("[0.1]", "[0.10000000000000002]", false),
            ("[1", "[1 ", false),
        ];
        for (one, other, want) in cases {
            let cells = (Cell::Text(one.as_bytes()), Cell::Text(other.as_bytes()));
            assert_eq!(same(cells.0, cells.1, Kind::Json), want, "{one} {other}");
        }
        let [short, long] = ["2024-01-02 03:04:05", "2024-01-02 03:04:05.000000"];
        assert!(same(Cell::Text(short.as_bytes()), Cell::Text(long.as_bytes()), Kind::Time));
        assert!(same(Cell::Null, Cell::Integer(7), Kind::Tag));
        assert!(!same(Cell::Null, Cell::Integer(0), Kind::Tag));
    }

    #[test]
    fn cells_do_not_run_into_each_other() {
        let columns = |keys: usize| {
            let named = |n: usize| (0..n).map(|at| (at.to_string(), Kind::Plain));
            Columns::new(named(keys), named(2 - keys))
        };
        let keys = Keys::default();
        let one: &[Cell<'_>] = &[Cell::Text(b"a"), Cell::Text(b"bc")];
        let other: &[Cell<'_>] = &[Cell::Text(b"ab"), Cell::Text(b"c")];
        assert_ne!(keys.row(&columns(2), &one).0, keys.row(&columns(2), &other).0);
        assert_ne!(keys.row(&columns(0), &one).1, keys.row(&columns(0), &other).1);
        assert_eq!(keys.row(&columns(1), &one), keys.row(&columns(1), &one));
    }
}
