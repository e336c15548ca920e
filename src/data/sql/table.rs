//! A version as a virtual table of SQLite: scans its packed columns.
//!
//! Comparisons of a column with a constant are evaluated by `expr` for all rows at once, as a
//! bitmap; an equality whose other side changes from row to row, as in a join, uses a hash index of
//! the column. SQLite checks every row it gets itself, so the rows returned here only have to
//! include all that pass.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use roaring::RoaringBitmap;
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexConstraintOp as Op, IndexInfo, VTab, VTabConnection,
    VTabCursor, VTabKind,
};
use rusqlite::{Error as SqlError, Result as SqlResult, ffi};

use super::index::{Index, hash_number, hash_of, hash_text};
use crate::pack::columns::Held;
use dcfs_core::error::Result;
use dcfs_core::expr::packed::Packed;
use dcfs_core::expr::{
    self, Column, Columns, Comparison, Expr, Form, Match, Operand, Part, Target, Value,
};
use dcfs_core::id::RowId;
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{SqlColumn, quoted};

/// Reads the bytes of a database column in a row.
type ReadBytes = dyn Fn(RowId, &str) -> Result<Option<Vec<u8>>> + Send + Sync;

/// Reads the bytes in a row of a database column from the catalog.
pub struct BytesOf(pub Box<ReadBytes>);

impl std::fmt::Debug for BytesOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BytesOf")
    }
}

/// The type that a column is declared with: SQLite converts what it is compared with by it.
pub const fn declared(value: &ValueType) -> &'static str {
    match value {
        ValueType::Bool | ValueType::Int => "INTEGER",
        ValueType::Float => "REAL",
        ValueType::Bytes => "BLOB",
        _ => "TEXT",
    }
}

/// The columns of a version that a statement reads.
#[derive(Debug)]
pub struct TableColumns {
    columns: Vec<SqlColumn>,
    /// The packed form of each.
    forms: Vec<Arc<Column>>,
    held: Held,
    indexes: Vec<OnceLock<Index>>,
    /// Reads columns of bytes, which are not packed.
    bytes: BytesOf,
    /// The rows of the last conditions: an inner table of a join gets the same conditions
    /// repeatedly.
    last: Mutex<Option<(String, Arc<RoaringBitmap>)>>,
}

impl TableColumns {
    /// The packed form of a column for SQL: lists, JSON and datetimes are texts, as stored.
    pub fn form(column: &SqlColumn) -> Arc<Column> {
        let (form, value) = match column.value {
            ValueType::Bool => (Form::Bool, ValueType::Bool),
            ValueType::Int => (Form::Int, ValueType::Int),
            ValueType::Float => (Form::Float, ValueType::Float),
            ValueType::Bytes => (Form::Presence, ValueType::Bytes),
            _ => (Form::Text, ValueType::Text),
        };
        Arc::new(Column { name: column.name.clone(), column: column.column.clone(), value, form })
    }

    /// `held` are the columns in order, in the forms of [`TableColumns::form`].
    pub fn new(columns: Vec<SqlColumn>, held: Held, bytes: BytesOf) -> Self {
        let forms = columns.iter().map(Self::form).collect();
        let indexes = columns.iter().map(|_| OnceLock::new()).collect();
        Self { columns, forms, held, indexes, bytes, last: Mutex::default() }
    }

    /// A column as an operand for grouping or aggregating.
    pub fn operand(column: &SqlColumn) -> Operand {
        Operand { column: Self::form(column), part: column.part }
    }

    /// A column, and the path component of it that is meant.
    pub fn packed_part(&self, column: usize) -> (Packed<'_>, Option<Part>) {
        (self.held.get(column), self.columns.get(column).and_then(|column| column.part))
    }

    fn declaration(&self) -> String {
        let mut text = String::from("CREATE TABLE x(");
        for (number, column) in self.columns.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{} {}", quoted(&column.name), declared(&column.value));
        }
        // A table needs at least one column, even if a statement only counts rows.
        if self.columns.is_empty() {
            text += "\"no column\" INTEGER";
        }
        text + ")"
    }

    fn rows(&self) -> u32 {
        self.held.rows() as u32
    }

    fn index(&self, column: usize) -> &Index {
        self.indexes[column].get_or_init(|| {
            let packed = self.held.get(column);
            let part = self.columns[column].part;
            Index::new(self.held.rows(), |row| match part {
                None => hash_of(&packed, row),
                Some(part) => text_of(&packed, row).map(|path| hash_text(part.of(path))),
            })
        })
    }

    /// The hash of rows equal to `value`; `None` if unknown.
    fn hash(&self, column: usize, value: ValueRef<'_>) -> Option<u64> {
        let is_number = matches!(self.forms[column].form, Form::Bool | Form::Int | Form::Float);
        match value {
            ValueRef::Integer(n) if is_number => Some(hash_number(n as f64)),
            ValueRef::Real(x) if is_number => Some(hash_number(x)),
            ValueRef::Text(text) if !is_number => Some(hash_text(text)),
            _ => None,
        }
    }

    /// The rows that pass a comparison with a constant; `None` if unknown.
    fn passing(&self, column: usize, sign: char, value: ValueRef<'_>) -> Option<RoaringBitmap> {
        let of = &self.columns[column];
        if of.part.is_some() {
            return None;
        }
        let own = Box::new(Expr::Column(self.forms[column].clone()));
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).ok();
        let is_text = self.forms[column].form == Form::Text;
        let value = match (value, self.forms[column].form) {
            (ValueRef::Integer(n), Form::Int | Form::Float) => Value::Int(n),
            (ValueRef::Real(x), Form::Int | Form::Float) => Value::Real(x),
            (ValueRef::Text(bytes), Form::Text) => Value::Text(text(bytes)?),
            _ => return None,
        };
        let comparison = match sign {
            '=' => Comparison::Equal,
            '<' => Comparison::Less,
            'l' => Comparison::AtMost,
            '>' => Comparison::Greater,
            'g' => Comparison::AtLeast,
            'L' | 'M' | 'G' => {
                let kind = match sign {
                    'L' => Match::Like,
                    'M' => Match::Ilike,
                    _ => Match::Glob,
                };
                let Value::Text(pattern) = value else { return None };
                let filter = Expr::Match(kind, own, Some(pattern));
                return is_text.then(|| expr::rows(&filter, self, None).ok()).flatten();
            }
            _ => return None,
        };
        expr::rows(&Expr::Compare(comparison, own, Box::new(value_expr(value))), self, None).ok()
    }

    /// The rows that pass all conditions of a plan.
    fn set(&self, plan: &str, arguments: &[SqlValue]) -> Option<Arc<RoaringBitmap>> {
        let key = format!("{plan} {arguments:?}");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, rows)) = &*last
            && *known == key
        {
            return Some(rows.clone());
        }
        let mut all: Option<RoaringBitmap> = None;
        for ((column, sign), value) in conditions(plan).zip(arguments) {
            if let Some(rows) = self.passing(column, sign, value.into()) {
                all = Some(all.map_or_else(|| rows.clone(), |all| all & &rows));
            }
        }
        let rows = Arc::new(all?);
        *last = Some((key, rows.clone()));
        Some(rows)
    }
}

fn value_expr(value: Value) -> Expr {
    Expr::Value(value)
}

impl Columns for TableColumns {
    fn rows(&self) -> usize {
        self.held.rows()
    }

    fn packed(&self, column: &Arc<Column>) -> Packed<'_> {
        let index = self.forms.iter().position(|own| own == column);
        index.map_or(Packed::Null, |index| self.held.get(index))
    }

    fn target(&self, _: &Column, _: &Target) -> Option<Vec<f64>> {
        None
    }
}

/// The columns and operators of a plan: `3=,0L`.
fn conditions(plan: &str) -> impl Iterator<Item = (usize, char)> {
    plan.split(',').filter_map(|part| {
        let sign = part.chars().last()?;
        Some((part[..part.len() - sign.len_utf8()].parse().ok()?, sign))
    })
}

/// A row's text in a column of texts.
pub fn text_of<'p>(packed: &Packed<'p>, row: usize) -> Option<&'p [u8]> {
    match packed {
        Packed::Texts(texts, valid) if valid.get(row) => texts.get(row),
        Packed::Words(codes, texts, valid) if valid.get(row) => {
            texts.get(usize::from(u16::from_le_bytes(*codes.get(row)?)))
        }
        _ => None,
    }
}

/// A row's value, for SQLite. `None` if damaged.
pub fn value_of<'p>(packed: &Packed<'p>, row: usize) -> Option<ValueRef<'p>> {
    let valid = match packed {
        Packed::Null | Packed::Vectors(..) | Packed::Presence(_) => false,
        Packed::Sequence(_) => true,
        Packed::Ints(_, valid)
        | Packed::Narrow(_, valid)
        | Packed::Floats(_, valid)
        | Packed::Bools(_, valid)
        | Packed::Texts(_, valid)
        | Packed::Words(_, _, valid) => valid.get(row),
    };
    if !valid {
        return Some(ValueRef::Null);
    }
    Some(match packed {
        Packed::Sequence(first) => ValueRef::Integer(first.checked_add(row as i64)?),
        Packed::Ints(values, _) => ValueRef::Integer(i64::from_le_bytes(*values.get(row)?)),
        Packed::Narrow(values, _) => {
            ValueRef::Integer(i32::from_le_bytes(*values.get(row)?).into())
        }
        Packed::Floats(values, _) => ValueRef::Real(f64::from_le_bytes(*values.get(row)?)),
        Packed::Bools(words, _) => {
            let word = u64::from_le_bytes(*words.get(row / 64)?);
            ValueRef::Integer((word >> (row % 64) & 1) as i64)
        }
        _ => ValueRef::Text(text_of(packed, row)?),
    })
}

/// The table of the module: all tables of a statement by index.
#[repr(C)]
pub struct Table {
    base: ffi::sqlite3_vtab,
    of: Arc<TableColumns>,
}

// SAFETY: the first field is the base class, and the layout is C's.
unsafe impl<'vtab> VTab<'vtab> for Table {
    type Aux = Vec<Option<Arc<TableColumns>>>;
    type Cursor = Cursor;

    fn connect(
        _: &mut VTabConnection,
        aux: Option<&Self::Aux>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        arguments: &[&[u8]],
    ) -> SqlResult<(Cow<'static, CStr>, Self)> {
        let number = arguments
            .iter()
            .find_map(|argument| std::str::from_utf8(argument).ok()?.trim().parse().ok());
        let of = number.and_then(|number: usize| aux?.get(number)?.clone());
        let of = of.ok_or_else(|| SqlError::ModuleError("no such table".into()))?;
        let declaration = CString::new(of.declaration())
            .map_err(|_| SqlError::ModuleError("a column's name holds a NUL".into()))?;
        Ok((declaration.into(), Self { base: ffi::sqlite3_vtab::default(), of }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> SqlResult<bool> {
        let rows = f64::from(self.of.rows());
        let mut equal = None;
        let mut plan = String::new();
        let mut taken = Vec::new();
        let usable: Vec<(usize, usize, Op)> = info
            .constraints()
            .enumerate()
            .filter(|(_, constraint)| constraint.is_usable() && constraint.column() >= 0)
            .map(|(at, constraint)| (at, constraint.column() as usize, constraint.operator()))
            .filter(|(_, column, _)| *column < self.of.columns.len())
            .collect();
        for (at, column, operator) in usable {
            let is_constant = matches!(info.rhs_value(at), Ok(Some(_)));
            let sign = match operator {
                Op::SQLITE_INDEX_CONSTRAINT_EQ if !is_constant => {
                    equal = equal.or(Some((at, column)));
                    continue;
                }
                Op::SQLITE_INDEX_CONSTRAINT_EQ => '=',
                Op::SQLITE_INDEX_CONSTRAINT_LT => '<',
                Op::SQLITE_INDEX_CONSTRAINT_LE => 'l',
                Op::SQLITE_INDEX_CONSTRAINT_GT => '>',
                Op::SQLITE_INDEX_CONSTRAINT_GE => 'g',
                Op::SQLITE_INDEX_CONSTRAINT_LIKE => 'L',
                Op::SQLITE_INDEX_CONSTRAINT_MATCH => 'M',
                Op::SQLITE_INDEX_CONSTRAINT_GLOB => 'G',
                _ => continue,
            };
            if is_constant {
                let _ = write!(plan, "{column}{sign},");
                taken.push(at);
            }
        }
        if let Some((at, column)) = equal {
            info.constraint_usage(at).set_argv_index(1);
            info.set_idx_num(1);
            info.set_idx_str(&format!("{column}E"));
            info.set_estimated_cost(20.0);
            info.set_estimated_rows(4);
            return Ok(true);
        }
        for (number, at) in taken.iter().enumerate() {
            info.constraint_usage(*at).set_argv_index(number as c_int + 1);
        }
        info.set_idx_num(if taken.is_empty() { 0 } else { 2 });
        info.set_idx_str(&plan);
        let share = 0.25_f64.powi(taken.len().min(6) as i32);
        info.set_estimated_cost(rows * share + 10.0);
        info.set_estimated_rows((rows * share) as i64 + 1);
        Ok(true)
    }

    fn open(&'vtab mut self) -> SqlResult<Cursor> {
        Ok(Cursor {
            base: ffi::sqlite3_vtab_cursor::default(),
            of: self.of.clone(),
            rows: Rows::All(0..0),
            at: None,
        })
    }
}

impl CreateVTab<'_> for Table {
    const KIND: VTabKind = VTabKind::Default;
}

/// The rows that a cursor visits.
enum Rows {
    All(Range<u32>),
    Set(Box<roaring::bitmap::IntoIter>),
    /// A chain of this column's hash index, after this row.
    Chain(usize, Option<u32>),
}

/// An iteration over the rows.
#[repr(C)]
pub struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    of: Arc<TableColumns>,
    rows: Rows,
    at: Option<u32>,
}

impl Cursor {
    fn step(&mut self) {
        self.at = match &mut self.rows {
            Rows::All(range) => range.next(),
            Rows::Set(rows) => rows.next(),
            Rows::Chain(column, next) => {
                let row = *next;
                *next = row.and_then(|row| self.of.index(*column).after(row));
                row
            }
        };
    }
}

// SAFETY: the first field is the base class, and the layout is C's.
unsafe impl VTabCursor for Cursor {
    fn filter(
        &mut self,
        number: c_int,
        plan: Option<&str>,
        arguments: &Filters<'_>,
    ) -> SqlResult<()> {
        let plan = plan.unwrap_or_default();
        self.rows = Rows::All(0..self.of.rows());
        if number == 1
            && let Some((column, _)) = conditions(plan).next()
        {
            match arguments.get::<SqlValue>(0)? {
                SqlValue::Null => self.rows = Rows::All(0..0),
                value => {
                    if let Some(hash) = self.of.hash(column, (&value).into()) {
                        self.rows = Rows::Chain(column, self.of.index(column).first(hash));
                    }
                }
            }
        } else if number == 2 {
            let values: Vec<SqlValue> =
                (0..arguments.len()).map(|at| arguments.get(at)).collect::<SqlResult<_>>()?;
            if let Some(rows) = self.of.set(plan, &values) {
                self.rows = Rows::Set(Box::new((*rows).clone().into_iter()));
            }
        }
        self.step();
        Ok(())
    }

    fn next(&mut self) -> SqlResult<()> {
        self.step();
        Ok(())
    }

    fn eof(&self) -> bool {
        self.at.is_none()
    }

    fn column(&self, context: &mut Context, number: c_int) -> SqlResult<()> {
        let (Some(row), Ok(number)) = (self.at, usize::try_from(number)) else { return Ok(()) };
        let (row, packed) = (row as usize, self.of.held.get(number));
        let part = self.of.columns.get(number).and_then(|column| column.part);
        if let Packed::Presence(valid) = packed {
            let told = |error: dcfs_core::error::Error| SqlError::ModuleError(error.to_string());
            let id = self.of.held.pack().row_id(row as u32).map_err(told)?;
            let Some(id) = id.filter(|_| valid.get(row)) else { return Ok(()) };
            let found = (self.of.bytes.0)(id, &self.of.columns[number].column);
            return context.set_result(found.map_err(told)?);
        }
        let value = match part {
            Some(part) => Some(
                text_of(&packed, row).map_or(ValueRef::Null, |path| ValueRef::Text(part.of(path))),
            ),
            None => value_of(&packed, row),
        };
        let Some(value) = value else {
            self.of.held.distrust();
            return Err(SqlError::ModuleError("a packed column is damaged; run it again".into()));
        };
        context.set_result(ToSqlOutput::Borrowed(value))
    }

    fn rowid(&self) -> SqlResult<i64> {
        Ok(self.at.map_or(0, i64::from))
    }
}
