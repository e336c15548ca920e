//! Parquet files of strangers, row by row.
//!
//! The crate `parquet` trusts a file: it builds groups by recursion, makes room for whatever a footer claims, and panics on
//! some damage. So the footer is read here first, within bounds, and the crate's panics become errors.

mod footer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row;
use parquet::schema::types::Type;

/// The longest footer, in bytes.
const LONGEST_FOOTER: u32 = 256 << 20;

/// Values of lists in one group of rows that may take no bytes: many equal ones are stored as one, with their number.
const FREE_VALUES: u64 = 16 << 20;

/// How many times as long as the file its pages may be, to count as bytes of values.
const MOST_COMPRESSED: u64 = 64;

/// Why a file, or a row of it, cannot be read.
#[derive(Debug)]
pub enum Fault {
    /// The system's error.
    Unread(io::Error),
    /// It is not Parquet, or damaged: a description, without the name of the file.
    Wrong(String),
}

/// An open file whose footer makes sense.
pub struct Rows {
    reader: SerializedFileReader<File>,
    /// Of the file, in bytes.
    size: u64,
}

impl Rows {
    /// Checks the footer of a file.
    ///
    /// # Errors
    /// A file that is not Parquet, or damaged.
    pub fn open(opened: File) -> Result<Self, Fault> {
        let damaged = || Fault::Wrong("it is damaged".into());
        if let Some(found) = footer_of(&opened).map_err(Fault::Unread)? {
            footer::read(&found).map_err(|what| Fault::Wrong(format!("its footer: {what}")))?;
        }
        let size = opened.metadata().map_err(Fault::Unread)?.len();
        let opened = catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(opened)));
        let reader = opened.map_err(|_| damaged())?.map_err(|error| Fault::Wrong(told(&error)))?;
        // The crate returns as many rows as a group claims, filled with nothing if there are no more.
        let is_true = |group: &RowGroupMetaData| {
            let is_flat =
                |column: &&ColumnChunkMetaData| column.column_descr().max_rep_level() == 0;
            group.num_rows() >= 0
                && group
                    .columns()
                    .iter()
                    .filter(is_flat)
                    .all(|c| c.num_values() == group.num_rows())
        };
        if !reader.metadata().row_groups().iter().all(is_true) {
            let what = "it is damaged: its columns are not as long as it says";
            return Err(Fault::Wrong(what.into()));
        }
        Ok(Self { reader, size })
    }

    /// The columns.
    pub fn columns(&self) -> impl Iterator<Item = &Type> {
        self.schema().get_fields().iter().map(AsRef::as_ref)
    }

    /// The columns, below one group.
    pub fn schema(&self) -> &Type {
        self.reader.metadata().file_metadata().schema()
    }

    /// The number of rows that its groups claim, which is that of their columns.
    pub fn count(&self) -> u64 {
        let groups = self.reader.metadata().row_groups().iter();
        groups.fold(0, |sum, group| sum.saturating_add(group.num_rows().unsigned_abs()))
    }

    /// Whether its lists hold no more values than its bytes explain, in each group of rows: a row is built with all of its
    /// values, so a few bytes that claim many of them would fill the memory. Refuses honest files too, where long lists
    /// hold the same value everywhere.
    pub fn has_bounded_lists(&self) -> bool {
        self.reader.metadata().row_groups().iter().all(|group| {
            group.columns().iter().all(|column| {
                let pages = column.uncompressed_size().unsigned_abs();
                let bytes = pages.min(self.size.saturating_mul(MOST_COMPRESSED));
                is_bounded(column.num_values(), group.num_rows(), bytes)
            })
        })
    }

    /// Passes on every row in order, with its number, counted from 1.
    ///
    /// # Errors
    /// A damaged file; errors of `each`.
    pub fn each<E: From<Fault>>(
        &self,
        each: &mut dyn FnMut(u64, Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let wrong = |what: String| E::from(Fault::Wrong(what));
        let rows = catch_unwind(AssertUnwindSafe(|| self.reader.get_row_iter(None)));
        let rows = rows.map_err(|_| wrong("it is damaged".into()))?;
        let mut rows = rows.map_err(|error| wrong(told(&error)))?;
        for number in 1.. {
            // The crate panics on some damaged files.
            let next = catch_unwind(AssertUnwindSafe(|| rows.next()));
            let next = next.map_err(|_| wrong(format!("it is damaged, at row {number}")))?;
            let Some(row) = next else { break };
            each(number, row.map_err(|error| wrong(format!("row {number}: {}", told(&error))))?)?;
        }
        Ok(())
    }
}

/// The number of rows and the names of the columns of a file, by its footer alone; `None` of what is none.
pub fn heading(footer: &[u8]) -> Option<(u64, Vec<String>)> {
    let found = footer::read(footer).ok()?;
    Some((found.rows, found.columns))
}

/// Whether so many bytes, of eight values each at least, explain the values of a column of so many rows.
fn is_bounded(values: i64, rows: i64, bytes: u64) -> bool {
    let (Ok(values), Ok(rows)) = (u64::try_from(values), u64::try_from(rows)) else { return false };
    values <= bytes.saturating_mul(8).saturating_add(rows).saturating_add(FREE_VALUES)
}

/// The footer of a file; `None` if the file does not end like Parquet, which the crate tells better.
fn footer_of(file: &File) -> io::Result<Option<Vec<u8>>> {
    let size = file.metadata()?.len();
    let Some(end) = size.checked_sub(8) else { return Ok(None) };
    let mut tail = [0; 8];
    file.read_exact_at(&mut tail, end)?;
    let [a, b, c, d, mark @ ..] = tail;
    let length = u32::from_le_bytes([a, b, c, d]);
    let Some(start) = end.checked_sub(length.into()) else { return Ok(None) };
    if mark != *b"PAR1" {
        return Ok(None);
    }
    if length > LONGEST_FOOTER {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "its footer is too long"));
    }
    let mut footer = vec![0; length as usize];
    file.read_exact_at(&mut footer, start)?;
    Ok(Some(footer))
}

/// The error of the crate, with a remedy.
fn told(error: &ParquetError) -> String {
    let said = error.to_string();
    match said.contains("feature") || said.contains("codec") {
        true => format!(
            "{said}; only files without compression, or with Snappy, LZ4, Zstandard or gzip, are read"
        ),
        false => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_need_bytes() {
        let free = FREE_VALUES.cast_signed();
        for (values, rows, bytes, want) in [
            (0, 0, 0, true),
            (free + 10, 10, 0, true),
            (free + 11, 10, 0, false),
            (free + 90, 10, 10, true),
            (free + 91, 10, 10, false),
            (i64::MAX, 10, 1 << 20, false),
            (i64::MAX, i64::MAX, u64::MAX, true),
            (-1, 10, 10, false),
            (10, -1, 10, false),
        ] {
            assert_eq!(is_bounded(values, rows, bytes), want, "{values} of {rows} in {bytes}");
        }
    }
}
