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
        Ok(Self { reader })
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
