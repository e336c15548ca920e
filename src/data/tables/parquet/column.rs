//! One leaf column of a row group being gathered: its values, and the levels that mark a NULL, an
//! absent model or an empty list.

use bytes::Bytes;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::Result;

/// A column gathered from some rows.
#[derive(Debug)]
pub struct Column {
    values: Values,
    defined: Vec<i16>,
    repeated: Vec<i16>,
    /// The definition level of a value that is present.
    full: i16,
    is_repeated: bool,
}

#[derive(Debug)]
pub enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    /// All texts concatenated, and the end of each.
    Bytes(Vec<u8>, Vec<usize>),
}

/// The physical type of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Physical {
    Bool,
    Int,
    Float,
    Bytes,
}

/// A value to be added to a column of its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(&'a [u8]),
}

impl Column {
    /// `full` is the level of a value that is present; `is_repeated` says whether it is inside a
    /// list.
    pub fn new(physical: Physical, full: i16, is_repeated: bool) -> Self {
        let values = match physical {
            Physical::Bool => Values::Bool(Vec::new()),
            Physical::Int => Values::Int(Vec::new()),
            Physical::Float => Values::Float(Vec::new()),
            Physical::Bytes => Values::Bytes(Vec::new(), Vec::new()),
        };
        Self { values, defined: Vec::new(), repeated: Vec::new(), full, is_repeated }
    }

    /// An empty column of the same type.
    pub fn again(&self) -> Self {
        let physical = match &self.values {
            Values::Bool(_) => Physical::Bool,
            Values::Int(_) => Physical::Int,
            Values::Float(_) => Physical::Float,
            Values::Bytes(..) => Physical::Bytes,
        };
        Self::new(physical, self.full, self.is_repeated)
    }

    /// Adds an absent value: `level` is the depth down to which the path is present.
    pub fn push_none(&mut self, level: i16, repeated: i16) {
        self.defined.push(level);
        if self.is_repeated {
            self.repeated.push(repeated);
        }
    }

    /// Adds a value; one of a different type is NULL at the level above, and gives `false`.
    pub fn push(&mut self, value: Scalar<'_>, repeated: i16) -> bool {
        match (&mut self.values, value) {
            (Values::Bool(all), Scalar::Bool(value)) => all.push(value),
            (Values::Int(all), Scalar::Int(value)) => all.push(value),
            (Values::Float(all), Scalar::Float(value)) => all.push(value),
            (Values::Bytes(all, ends), Scalar::Bytes(value)) => {
                all.extend_from_slice(value);
                ends.push(all.len());
            }
            _ => {
                self.push_none(self.full - 1, repeated);
                return false;
            }
        }
        self.push_none(self.full, repeated);
        true
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let values = match &self.values {
            Values::Bool(all) => all.len(),
            Values::Int(all) => all.len() * 8,
            Values::Float(all) => all.len() * 8,
            Values::Bytes(all, ends) => all.len() + ends.len() * 8,
        };
        values + 2 * (self.defined.len() + self.repeated.len())
    }

    /// How deep something is there in each entry, and where lists go on: empty outside of lists.
    pub fn levels(&self) -> (&[i16], &[i16]) {
        (&self.defined, &self.repeated)
    }

    /// The values that are there.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Writes it as a column chunk of a row group.
    pub fn write(self, out: &mut ColumnWriter<'_>) -> Result<()> {
        let defined = Some(&self.defined[..]);
        let repeated = self.is_repeated.then_some(&self.repeated[..]);
        match (self.values, out) {
            (Values::Bool(all), ColumnWriter::BoolColumnWriter(out)) => {
                out.write_batch(&all, defined, repeated)?;
            }
            (Values::Int(all), ColumnWriter::Int64ColumnWriter(out)) => {
                out.write_batch(&all, defined, repeated)?;
            }
            (Values::Float(all), ColumnWriter::DoubleColumnWriter(out)) => {
                out.write_batch(&all, defined, repeated)?;
            }
            (Values::Bytes(all, ends), ColumnWriter::ByteArrayColumnWriter(out)) => {
                out.write_batch(&slices(all, &ends), defined, repeated)?;
            }
            _ => return Err(parquet::errors::ParquetError::General("columns out of step".into())),
        }
        Ok(())
    }
}

/// Slices of one buffer, without copying.
fn slices(all: Vec<u8>, ends: &[usize]) -> Vec<ByteArray> {
    let all = Bytes::from(all);
    let mut start = 0;
    let slice = |end: &usize| {
        let value = all.slice(start..*end);
        start = *end;
        ByteArray::from(value)
    };
    ends.iter().map(slice).collect()
}
