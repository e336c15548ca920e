//! Some rows of one column, packed in memory: a thread of a pass sends these.

use dcfs_core::cell::Cell;
use dcfs_core::expr::Form;
use dcfs_core::json;
use dcfs_core::time::Timestamp;

/// The values of consecutive rows. A row without a value has a zero, or an empty text or list.
#[derive(Debug)]
pub struct Piece {
    form: Form,
    /// Whether there is a value, per row.
    pub valid: Vec<bool>,
    /// For [`Form::Int`], [`Form::Time`], and the bits of [`Form::Float`].
    pub numbers: Vec<u64>,
    /// For [`Form::Bool`].
    pub bools: Vec<bool>,
    /// For [`Form::Text`]: the texts concatenated, and the end of each.
    pub bytes: Vec<u8>,
    pub ends: Vec<usize>,
    /// For [`Form::Vector`]: the lists of numbers concatenated; `ends` holds the end of each.
    pub vectors: Vec<f64>,
    /// The number of cells whose type differs from the column's, which are NULL here.
    pub odd: u64,
}

impl Piece {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            valid: Vec::new(),
            numbers: Vec::new(),
            bools: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            vectors: Vec::new(),
            odd: 0,
        }
    }

    /// The bytes of memory that grow with the contents of cells.
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.vectors.len() * 8
    }

    /// Adds the next row.
    pub fn push(&mut self, cell: Cell<'_>) {
        let is_valid = match self.form {
            Form::Presence => cell != Cell::Null,
            Form::Bool => self.bool(cell),
            Form::Int => self.number(int(cell)),
            Form::Float => self.number(float(cell)),
            Form::Time => self.number(time(cell)),
            Form::Text => self.text(cell),
            Form::Vector => self.vector(cell),
        };
        self.valid.push(is_valid);
        self.odd += u64::from(!is_valid && cell != Cell::Null);
    }

    fn bool(&mut self, cell: Cell<'_>) -> bool {
        self.bools.push(cell == Cell::Integer(1));
        matches!(cell, Cell::Integer(0 | 1))
    }

    fn number(&mut self, number: Option<u64>) -> bool {
        self.numbers.push(number.unwrap_or_default());
        number.is_some()
    }

    fn text(&mut self, cell: Cell<'_>) -> bool {
        match cell {
            Cell::Text(text) => self.bytes.extend_from_slice(text),
            // A number is valid JSON.
            Cell::Integer(n) => self.bytes.extend_from_slice(n.to_string().as_bytes()),
            Cell::Real(x) => self.bytes.extend_from_slice(format!("{x:?}").as_bytes()),
            Cell::Null | Cell::Blob(_) => {}
        }
        self.ends.push(self.bytes.len());
        !matches!(cell, Cell::Null | Cell::Blob(_))
    }

    fn vector(&mut self, cell: Cell<'_>) -> bool {
        let start = self.vectors.len();
        let is_whole = match cell {
            Cell::Text(text) => numbers(text, &mut self.vectors).is_some(),
            _ => false,
        };
        if !is_whole {
            self.vectors.truncate(start);
        }
        self.ends.push(self.vectors.len());
        is_whole
    }
}

fn int(cell: Cell<'_>) -> Option<u64> {
    match cell {
        Cell::Integer(n) => Some(n as u64),
        _ => None,
    }
}

fn float(cell: Cell<'_>) -> Option<u64> {
    match cell {
        Cell::Real(x) => Some(x.to_bits()),
        // SQLite stores whole floats of a float column as floats; another writer may not.
        Cell::Integer(n) if (n as f64) as i128 == i128::from(n) => Some((n as f64).to_bits()),
        _ => None,
    }
}

fn time(cell: Cell<'_>) -> Option<u64> {
    let Cell::Text(text) = cell else { return None };
    let time = Timestamp::parse(std::str::from_utf8(text).ok()?)?;
    Some(time.micros() as u64)
}

/// Adds the numbers of a JSON list, in a fast path if it is as DataChain writes it.
fn numbers(text: &[u8], out: &mut Vec<f64>) -> Option<()> {
    let inside = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    if inside.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let plain = |item: &[u8]| std::str::from_utf8(item.trim_ascii()).ok()?.parse().ok();
    let start = out.len();
    for item in inside.split(|byte| *byte == b',') {
        // Some texts are numbers to Rust but not in JSON: rejected.
        let number = plain(item).filter(|_| json::is_valid(item)).filter(|x: &f64| !x.is_nan());
        let Some(number) = number else {
            out.truncate(start);
            return None;
        };
        out.push(number);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(form: Form, cells: &[Cell<'_>]) -> Piece {
        let mut piece = Piece::new(form);
        cells.iter().for_each(|cell| piece.push(*cell));
        piece
    }

    #[test]
    fn cells_of_another_type_are_null() {
        use Cell::{Blob, Integer, Null, Real, Text};
        let cells =
            [Null, Integer(1), Integer(7), Real(1.5), Text(b"x"), Text(b"[1,2.5]"), Blob(b"x")];
        let cases = [
            (Form::Presence, [false, true, true, true, true, true, true], 0),
            (Form::Bool, [false, true, false, false, false, false, false], 5),
            (Form::Int, [false, true, true, false, false, false, false], 4),
            (Form::Float, [false, true, true, true, false, false, false], 3),
            (Form::Text, [false, true, true, true, true, true, false], 1),
            (Form::Time, [false; 7], 6),
            (Form::Vector, [false, false, false, false, false, true, false], 5),
        ];
        for (form, valid, odd) in cases {
            let piece = packed(form, &cells);
            assert_eq!((piece.valid, piece.odd), (valid.to_vec(), odd), "{form:?}");
        }
    }

    #[test]
    fn numbers_are_exact() {
        let cells = [Cell::Integer((1 << 53) + 1), Cell::Integer(1 << 53), Cell::Integer(i64::MAX)];
        assert_eq!(packed(Form::Float, &cells).valid, [false, true, false]);
        let piece = packed(Form::Time, &[Cell::Text(b"1969-12-31 23:59:59.5")]);
        assert_eq!(piece.numbers, [-500_000_i64 as u64]);
    }

    #[test]
    fn lists_are_read_as_json() {
        let cases: [(&[u8], Option<&[f64]>); 9] = [
            (b"[1, -2.5e1 ,0.1]", Some(&[1.0, -25.0, 0.1])),
            (b"[Infinity]", Some(&[f64::INFINITY])),
            (b"[NaN]", None),
            (b"[inf]", None),
            (b"[+1]", None),
            (b"[1,]", None),
            (b"[]", None),
            (b"[[1]]", None),
            (b"1", None),
        ];
        for (text, want) in cases {
            let piece = packed(Form::Vector, &[Cell::Text(text)]);
            assert_eq!(piece.valid, [want.is_some()], "{}", String::from_utf8_lossy(text));
            assert_eq!(piece.vectors, want.unwrap_or_default());
        }
    }
}
