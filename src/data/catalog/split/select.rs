//! Rows of a table in ClickHouse, as they arrive: with the types of their columns, in the order of their ids.

use std::fmt;

use super::error::ServerError;
use super::http::{self, Ask, ClickHouse};
use super::table::Table;
use super::types::{Kind, Reader, RowBuffer, Short};
use crate::catalog::Digest;
use crate::catalog::digest::{self, Hashed};
use crate::catalog::error::Error;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::schema::Layout;

/// The longest row, in bytes.
const LONGEST: usize = 256 << 20;

/// Queries rows in the order of their ids, and passes each to `each`: its id, and the cells
/// after it. `false` ends it. `only` is the condition; `last` is appended after the order.
pub fn select(
    server: &ClickHouse,
    of: &dyn fmt::Display,
    table: &Table,
    columns: &[(String, bool)],
    (only, last): (&str, &str),
    each: &mut dyn FnMut(i64, &RowBuffer) -> Result<bool, Error>,
) -> Result<(), Error> {
    let list: String = columns.iter().map(|(sql, _)| format!(", {sql}")).collect();
    let sql = format!(
        "SELECT sys__id{list} FROM {} {only} ORDER BY sys__id {last} FORMAT RowBinaryWithNamesAndTypes",
        table.name
    );
    let mut stream = server.stream(&Ask { sql: &sql, parameters: &[] });
    let mut bytes: Vec<u8> = Vec::new();
    let (mut kinds, mut before) = (None, None);
    let mut row = RowBuffer::default();
    row.blobs = std::iter::once(false).chain(columns.iter().map(|(_, is_blob)| *is_blob)).collect();
    loop {
        let chunk = stream.next().map_err(|error| gone(error, of, table))?;
        let is_end = chunk.is_none();
        bytes.extend_from_slice(chunk.as_deref().unwrap_or_default());
        let mut done = 0;
        if kinds.is_none() {
            match header(&bytes, columns.len() + 1) {
                Ok((found, taken)) => (kinds, done) = (Some(found), taken),
                Err(Short::More) if !is_end && bytes.len() <= LONGEST => continue,
                Err(_) => return Err(senseless(server, stream, "no types of columns")),
            }
        }
        let known = kinds.as_deref().unwrap_or_default();
        while done < bytes.len() {
            match row.read(known, &bytes[done..]) {
                Ok(taken) => done += taken,
                Err(Short::More) if !is_end => break,
                Err(_) => return Err(senseless(server, stream, "rows that cannot be read")),
            }
            let Cell::Integer(id) = row.cell(0) else {
                let why = "an id is larger than 63 bits";
                return Err(Error::BadTable { of: of.to_string(), why });
            };
            if before.is_some_and(|before| id <= before) {
                // Or the text of an error was parsed as rows.
                if let Some(error) = stream.error_at_end() {
                    return Err(error.into());
                }
                let why = "two of them have the same `sys__id`";
                return Err(Error::BadTable { of: of.to_string(), why });
            }
            before = Some(id);
            if !each(id, &row)? {
                return Ok(());
            }
        }
        bytes.drain(..done);
        if is_end {
            return Ok(());
        }
        if bytes.len() > LONGEST {
            return Err(server.odd("a row without end").into());
        }
    }
}

/// The error for bytes that make no sense: the server's own error, if one follows.
fn senseless(server: &ClickHouse, stream: http::Stream, why: &str) -> Error {
    stream.error_at_end().unwrap_or_else(|| server.odd(why)).into()
}

/// The number of rows of a table that is of no version yet, and their digest; see [`digest::of`].
pub fn digest(
    server: &ClickHouse,
    table: &Table,
    layout: &Layout,
    each: &dyn Fn(u64),
) -> Result<(u64, Digest), Error> {
    let is_blob = |name: &String| table.column(name).is_some_and(|known| known.is_blob);
    let names = digest::columns(layout);
    let columns: Vec<(String, bool)> =
        names.iter().map(|name| (table.readable(name), is_blob(name))).collect();
    let mut hashed = Hashed::new(layout);
    select(server, &table.plain, table, &columns, ("", ""), &mut |id, row| {
        hashed.add(id, &After(row), each)?;
        Ok(true)
    })?;
    Ok(hashed.end())
}

/// Passes on the rows of a short result in `RowBinaryWithNamesAndTypes`; `blobs` marks the cells that are bytes.
pub fn few(
    server: &ClickHouse,
    bytes: &[u8],
    blobs: Vec<bool>,
    each: &mut dyn FnMut(&dyn Cells),
) -> Result<(), ServerError> {
    let odd = |_: Short| server.odd("rows that cannot be read");
    let (kinds, mut done) = header(bytes, blobs.len()).map_err(odd)?;
    let mut row = RowBuffer::default();
    row.blobs = blobs;
    while done < bytes.len() {
        done += row.read(&kinds, &bytes[done..]).map_err(odd)?;
        each(&row);
    }
    Ok(())
}

/// The cells after the id.
pub struct After<'r>(pub &'r RowBuffer);

impl Cells for After<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        self.0.cell(index + 1)
    }
}

/// A table that vanished between two queries means that the version was removed.
pub fn gone(error: ServerError, of: &dyn fmt::Display, table: &Table) -> Error {
    match http::is_unknown_table(&error) {
        true => Error::NoTable { of: of.to_string(), table: table.plain.clone() },
        false => error.into(),
    }
}

/// Parses the names and types at the beginning of a result: the types, and the length in bytes.
fn header(bytes: &[u8], columns: usize) -> Result<(Vec<Kind>, usize), Short> {
    let mut reader = Reader(bytes);
    if reader.length()? != columns {
        return Err(Short::Never);
    }
    for _ in 0..columns {
        reader.text()?;
    }
    let mut kinds = Vec::with_capacity(columns);
    for _ in 0..columns {
        let text = std::str::from_utf8(reader.text()?).map_err(|_| Short::Never)?;
        kinds.push(match text {
            // The type of a column that does not exist.
            "Nullable(Nothing)" => Kind::Nullable(Kind::Bool.into()),
            text => Kind::parse(text).ok_or(Short::Never)?,
        });
    }
    Ok((kinds, bytes.len() - reader.0.len()))
}
