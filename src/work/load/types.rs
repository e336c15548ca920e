//! Infers types that hold all values, and converts records to rows of these types.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::column::{Column, Odd, Place, see_fields};
use super::kinds::{Texts, Value, kind_of, of_text, word};
use super::lake::Declared;
use super::records::Record;
use dcfs_core::name::nearest;
use dcfs_core::schema::{Scalar, Signal, SignalKind, signature};

/// The columns of files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Columns {
    columns: Vec<Column>,
    rows: u64,
    /// The header seen last.
    #[serde(skip)]
    header: Header,
}

/// The columns of a file's header, looked up once and not for each of its records.
#[derive(Clone, Debug, Default)]
struct Header {
    names: Vec<String>,
    /// The column of each name.
    places: Vec<Option<usize>>,
}

impl Header {
    fn new(names: &[String], columns: &[Column]) -> Self {
        Self { names: names.to_vec(), places: places(names, columns) }
    }

    fn is_of(&self, names: &[String]) -> bool {
        self.names[..] == *names
    }
}

/// Converts records to the cells of rows.
pub struct Converter<'c> {
    columns: &'c Columns,
    /// The header of the record before.
    header: Header,
}

impl Columns {
    /// Records the kinds of a record's values.
    pub fn see(&mut self, record: &Record<'_>) {
        let place = Place::of_record;
        match record {
            Record::Json(fields) => see_fields(&mut self.columns, fields, place(Texts::Typed)),
            Record::Untyped(fields) => see_fields(&mut self.columns, fields, place(Texts::Untyped)),
            Record::Texts(names, texts) => self.see_texts(names, texts),
        }
        self.rows += 1;
    }

    fn see_texts(&mut self, names: &[String], texts: &csv::StringRecord) {
        if !self.header.is_of(names) {
            self.add_missing(names);
            self.header = Header::new(names, &self.columns);
        }
        for (place, text) in self.header.places.iter().zip(texts) {
            let Some(column) = place.and_then(|at| self.columns.get_mut(at)) else { continue };
            column.seen += 1;
            column.kinds.add(kind_of(text));
            // In a column of texts, nothing between two commas is an empty text.
            column.kinds.null &= !column.kinds.text;
        }
    }

    /// Adds a column for each name of a header that has none yet.
    fn add_missing(&mut self, names: &[String]) {
        let mut taken: HashSet<String> =
            self.columns.iter().map(|column| column.name.to_lowercase()).collect();
        for (place, name) in places(names, &self.columns).into_iter().zip(names) {
            if place.is_none() {
                self.columns.push(Column::new(name, &mut taken));
            }
        }
    }

    /// Adds the columns of a table, with their types.
    pub fn declare(&mut self, columns: &[Declared]) {
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        self.add_missing(&names);
        for (place, (_, scalar)) in places(&names, &self.columns).into_iter().zip(columns) {
            let Some(column) = place.and_then(|at| self.columns.get_mut(at)) else { continue };
            column.wanted = *scalar;
        }
    }

    /// Replaces inferred types by those that the user requests.
    ///
    /// # Errors
    /// A column that does not exist, with the nearest names.
    pub fn want(&mut self, types: &[(String, Scalar)]) -> Result<(), String> {
        for (name, scalar) in types {
            let known: Vec<String> = self.columns.iter().map(|column| column.key.clone()).collect();
            let column =
                self.columns.iter_mut().find(|column| column.key == *name || column.name == *name);
            match column {
                Some(column) => {
                    column.kinds.null |= column.kinds == Default::default();
                    column.wanted = Some(*scalar);
                }
                None => {
                    let near = nearest::to(name, known.iter().map(String::as_str));
                    let all = format!("there are {}", known.join(", "));
                    return Err(format!("it has no column `{name}`{}", nearest::hint(&near, &all)));
                }
            }
        }
        Ok(())
    }

    pub fn signals(&self) -> Vec<Signal> {
        self.columns.iter().map(|column| column.signal(self.rows)).collect()
    }

    /// Names and types, for people.
    pub fn told(&self) -> Vec<String> {
        self.signals().iter().map(|signal| format!("{}: {}", signal.name, told(signal))).collect()
    }

    /// The first column whose type is another in `later`, which has all of these: what it is here, and there, `score: int`.
    pub fn differs(&self, later: &Self) -> Option<[String; 2]> {
        let (own, others) = (self.signals(), later.signals());
        let pairs = others.iter().enumerate().map(|(at, signal)| (own.get(at), signal));
        let (was, is) = pairs.into_iter().find(|(was, is)| *was != Some(is))?;
        let named = |signal: &Signal| format!("{}: {}", signal.name, told(signal));
        Some([was.map_or_else(|| format!("no {}", is.name), named), named(is)])
    }

    /// Converts records to rows of these columns.
    pub fn converter(&self) -> Converter<'_> {
        Converter { columns: self, header: Header::default() }
    }
}

impl Converter<'_> {
    /// Converts a record to the cells of a row.
    ///
    /// # Errors
    /// A value that is not of the requested type.
    pub fn row(&mut self, record: &Record<'_>) -> Result<Vec<Value>, Odd> {
        let Columns { columns, rows, .. } = self.columns;
        let mut row = Vec::with_capacity(columns.len());
        match record {
            Record::Json(fields) | Record::Untyped(fields) => {
                for column in columns {
                    column.put(fields.get(&column.key), *rows, &mut row)?;
                }
            }
            Record::Texts(names, texts) => {
                if !self.header.is_of(names) {
                    self.header = Header::new(names, columns);
                }
                row.resize(columns.len(), Value::Null);
                for (place, text) in self.header.places.iter().zip(texts.iter()) {
                    if let Some((at, column)) = place.and_then(|at| Some((at, columns.get(at)?))) {
                        row[at] = cell(column, text)?;
                    }
                }
            }
        }
        Ok(row)
    }
}

/// The columns of the names in a header, each of which has one of its own.
fn places(names: &[String], columns: &[Column]) -> Vec<Option<usize>> {
    let mut free: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, column) in columns.iter().enumerate() {
        free.entry(&column.key).or_default().push_back(at);
    }
    names.iter().map(|name| free.get_mut(name.as_str())?.pop_front()).collect()
}

/// The cell of a text.
fn cell(column: &Column, text: &str) -> Result<Value, Odd> {
    let SignalKind::Scalar(scalar) = column.kind() else { return Ok(Value::Null) };
    Ok(match (text, scalar) {
        ("", Scalar::Int | Scalar::Float | Scalar::Bool | Scalar::Time) => Value::Null,
        ("", _) if column.kinds.null => Value::Null,
        _ => of_text(text, scalar).ok_or_else(|| Odd {
            column: column.key.clone(),
            value: text.to_owned(),
            wanted: word(scalar),
        })?,
    })
}

fn told(signal: &Signal) -> String {
    let text = signature::kind(&signal.kind);
    if signal.optional { format!("Optional[{text}]") } else { text }
}

#[cfg(test)]
mod tests;
