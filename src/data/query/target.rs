//! The target of a distance: a literal vector, that of a row, or that of a file's row.

use std::sync::Arc;

use super::{Error, Version};
use crate::pack::columns::Open;
use crate::pack::{Node, Pack};
use dcfs_core::error::Result;
use dcfs_core::expr::packed::Packed;
use dcfs_core::expr::{Column, Expr, Form, Target};
use dcfs_core::id::RowId;

/// Vectors by column and target.
#[derive(Default)]
pub struct Targets(Vec<(Arc<Column>, Target, Vec<f64>)>);

impl Targets {
    /// The vector of a target.
    pub fn get(&self, column: &Column, target: &Target) -> Option<Vec<f64>> {
        let is_it = |(known, to, _): &&(Arc<Column>, Target, _)| **known == *column && to == target;
        self.0.iter().find(is_it).map(|(.., vector)| vector.clone())
    }
}

/// Finds the vector of every distance in `exprs`.
///
/// # Errors
/// [`Error`]: the row or file does not exist, or there are several.
pub fn find(version: Version<'_>, open: &Open<'_>, exprs: &[&Expr]) -> Result<Targets> {
    let mut targets = Targets::default();
    let mut left: Vec<&Expr> = exprs.to_vec();
    while let Some(expr) = left.pop() {
        if let Expr::Distance(_, column, target) = expr {
            let vector = vector(version, open, column, target)?;
            targets.0.push((column.clone(), target.clone(), vector));
        }
        left.extend(expr.children());
    }
    Ok(targets)
}

fn vector(
    version: Version<'_>,
    open: &Open<'_>,
    column: &Arc<Column>,
    target: &Target,
) -> Result<Vec<f64>> {
    match target {
        Target::Vector(vector) => match width(open, column) {
            Some(width) if width != vector.len() => {
                let (column, given) = (column.name.clone(), vector.len());
                Err(Error::Width { column, width, given }.into())
            }
            _ => Ok(vector.clone()),
        },
        Target::Row(id) => {
            let row = version.pack.ordinal(RowId::new(*id))?;
            let vector = row.and_then(|row| read(open, column, row));
            Ok(vector.ok_or(Error::NoRow(*id))?)
        }
        Target::File(name) => {
            let row = of_file(version, name)?;
            let vector = row.and_then(|row| read(open, column, row));
            Ok(vector.ok_or_else(|| Error::NoFile(name.clone()))?)
        }
    }
}

/// The row of a file: by its path, or by its name if only one file has it.
///
/// # Errors
/// Several files have the name; errors of the pack.
pub fn of_file(version: Version<'_>, name: &str) -> Result<Option<u32>> {
    match by_path(version.pack, name.as_bytes())? {
        Some(row) => Ok(Some(row)),
        None => by_name(version, name),
    }
}

/// The length of the vectors of a column; `None` if it has none.
fn width(open: &Open<'_>, column: &Arc<Column>) -> Option<usize> {
    match open.get(column) {
        Packed::Vectors(vectors, _) if vectors.width > 0 => Some(vectors.width),
        _ => None,
    }
}

fn read(open: &Open<'_>, column: &Arc<Column>, row: u32) -> Option<Vec<f64>> {
    match open.get(column) {
        Packed::Vectors(vectors, valid) if valid.get(row as usize) => vectors.get(row as usize),
        _ => None,
    }
}

/// The first row whose file has this path in any File column.
fn by_path(pack: &Pack, path: &[u8]) -> Result<Option<u32>> {
    for number in 0..pack.columns().len() {
        let Some(mut dir) = u16::try_from(number).ok().and_then(|column| pack.root(column)) else {
            continue;
        };
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            match (pack.lookup(dir, name, None)?, names.peek()) {
                (Some(Node::Dir(below)), Some(_)) => dir = below,
                (Some(Node::File(entry)), None) => return pack.ordinal(pack.first_row(entry)?),
                _ => break,
            }
        }
    }
    Ok(None)
}

/// The row of the only file with this name; several rows may name one file.
fn by_name(version: Version<'_>, name: &str) -> Result<Option<u32>> {
    let mut found = None;
    for (number, column) in (0..).zip(version.pack.columns()) {
        let Some(path) = &column.file.path else { continue };
        let paths = Arc::new(Column {
            name: format!("{}.path", column.file.name),
            column: path.clone(),
            value: dcfs_core::schema::ValueType::Text,
            form: Form::Text,
        });
        let rows = super::find::rows(version, &Expr::is_named(&column.file.name, paths, name))?;
        let mut file = None;
        for row in &rows {
            let entry = version.pack.entry_of(number, row)?;
            if *file.get_or_insert(entry) != entry || found.is_some() {
                return Err(Error::ManyFiles(name.to_owned()).into());
            }
        }
        found = found.or(rows.min());
    }
    Ok(found)
}
