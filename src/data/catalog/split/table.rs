//! The table of one version in ClickHouse: its columns and their types, as the server describes
//! them.

use serde_json::Value;

use super::http::{Ask, ClickHouse};
use super::types::{self, Kind, Reader};
use crate::catalog::error::Error;

/// The table of one version.
#[derive(Debug)]
pub struct Table {
    /// The name, quoted for SQL.
    pub name: String,
    /// The name, for messages.
    pub plain: String,
    pub columns: Vec<Known>,
}

/// A column, as the server describes it.
#[derive(Debug)]
pub struct Known {
    pub name: String,
    /// The name, quoted for SQL.
    pub quoted: String,
    /// The name of its type.
    pub kind: String,
    /// Whether DataChain stores bytes in it.
    pub is_blob: bool,
    /// Whether DataChain stores JSON in it, as text: an empty text means none.
    pub is_json: bool,
    /// Whether DataChain stores lists in it, as text: an empty text means none.
    pub is_list: bool,
    /// The size of its values, in bytes.
    pub bytes: u64,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Known> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// SQL for the values of a column; NULL if it does not exist.
    pub fn readable(&self, name: &str) -> String {
        let Some(known) = self.column(name) else { return "NULL".into() };
        let text = types::readable(&known.quoted, &known.kind);
        match (known.is_json || known.is_list) && known.is_text() {
            true => format!("nullIf({text}, '')"),
            false => text,
        }
    }
}

impl Known {
    fn is_text(&self) -> bool {
        Kind::parse(&self.kind).is_some_and(|kind| *kind.inner() == Kind::String)
    }

    /// The type that SQLite's table would declare.
    pub fn declared(&self) -> &'static str {
        match (self.is_text(), self.is_json, self.is_list, self.is_blob) {
            (true, true, ..) => "JSON",
            (true, _, true, _) => "ARRAY",
            (true, _, _, true) => "BINARY",
            _ => types::declared(&self.kind),
        }
    }
}

/// A stranger's name as an identifier of ClickHouse.
pub fn identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('`');
    for c in name.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '`' => quoted.push_str("\\`"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('`');
    quoted
}

/// The columns of a table and their types; empty if there is no such table.
pub fn describe(server: &ClickHouse, table: &str, schema: &str) -> Result<Vec<Known>, Error> {
    let sql = "SELECT name, type, data_uncompressed_bytes FROM system.columns WHERE database = {p0:String} AND table = {p1:String} \
               AND default_kind != 'EPHEMERAL' ORDER BY position FORMAT RowBinary";
    let parameters = [server.database.clone(), table.to_owned()];
    let answer = server.whole(&Ask { sql, parameters: &parameters })?;
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let is_of = |name: &str, kind| schema[name]["type"].as_str() == Some(kind);
    let mut reader = Reader(&answer);
    let mut columns = Vec::new();
    while !reader.0.is_empty() {
        let (Ok(name), Ok(kind), Ok(bytes)) = (reader.text(), reader.text(), reader.number())
        else {
            return Err(server.odd("columns that cannot be read").into());
        };
        // A name that is not UTF-8 cannot be used in SQL.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        columns.push(Known {
            name: name.to_owned(),
            quoted: identifier(name),
            kind: String::from_utf8_lossy(kind).into_owned(),
            is_blob: is_of(name, "Binary"),
            is_json: is_of(name, "JSON"),
            is_list: is_of(name, "Array"),
            bytes: u64::from_le_bytes(bytes),
        });
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(identifier("a`; DROP TABLE b \\"), "`a\\`; DROP TABLE b \\\\`");
    }
}
