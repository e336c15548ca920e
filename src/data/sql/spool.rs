//! Buffers rows in an unnamed file on disk until all their types are known.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use dcfs_core::cell::{Cell, OwnedCell};

/// Rows being written.
#[derive(Debug)]
pub struct Spool {
    file: BufWriter<File>,
    rows: u64,
}

impl Spool {
    pub fn new(file: File) -> Self {
        Self { file: BufWriter::with_capacity(1 << 20, file), rows: 0 }
    }

    pub fn push(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.rows += 1;
        for cell in cells {
            match cell {
                Cell::Null => self.file.write_all(&[0])?,
                Cell::Integer(n) => self.number(1, n.to_le_bytes())?,
                Cell::Real(x) => self.number(2, x.to_le_bytes())?,
                Cell::Text(text) => self.bytes(3, text)?,
                Cell::Blob(bytes) => self.bytes(4, bytes)?,
            }
        }
        Ok(())
    }

    fn number(&mut self, tag: u8, bytes: [u8; 8]) -> io::Result<()> {
        self.file.write_all(&[tag])?;
        self.file.write_all(&bytes)
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) -> io::Result<()> {
        self.number(tag, (bytes.len() as u64).to_le_bytes())?;
        self.file.write_all(bytes)
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads the rows back, with `columns` cells each.
    pub fn read(
        self,
        columns: usize,
    ) -> io::Result<impl Iterator<Item = io::Result<Vec<OwnedCell>>>> {
        let rows = self.rows;
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        Ok((0..rows).map(move |_| (0..columns).map(|_| cell(&mut file)).collect()))
    }
}

fn cell(file: &mut impl Read) -> io::Result<OwnedCell> {
    let mut tag = [0];
    file.read_exact(&mut tag)?;
    let mut eight = [0; 8];
    if tag[0] != 0 {
        file.read_exact(&mut eight)?;
    }
    let bytes = |file: &mut dyn Read| {
        let mut bytes =
            vec![0; usize::try_from(u64::from_le_bytes(eight)).map_err(io::Error::other)?];
        file.read_exact(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    Ok(match tag[0] {
        1 => OwnedCell::Integer(i64::from_le_bytes(eight)),
        2 => OwnedCell::Real(f64::from_le_bytes(eight)),
        3 => OwnedCell::Text(bytes(file)?),
        4 => OwnedCell::Blob(bytes(file)?),
        _ => OwnedCell::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let rows = [
            [Cell::Null, Cell::Integer(-1)],
            [Cell::Real(0.5), Cell::Text(b"a\0")],
            [Cell::Blob(b""), Cell::Null],
        ];
        let mut spool = Spool::new(tempfile::tempfile().expect("a file"));
        rows.iter().for_each(|row| spool.push(row).expect("written"));
        let found: Vec<Vec<OwnedCell>> =
            spool.read(2).expect("read").map(|row| row.expect("whole")).collect();
        let found: Vec<Vec<Cell<'_>>> =
            found.iter().map(|row| row.iter().map(OwnedCell::cell).collect()).collect();
        assert_eq!(found, rows);
    }
}
