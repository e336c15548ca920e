//! The paths of a row's files, relative to the directory of the table.
//!
//! Nearly always a file is at its recorded path, so the row's own cells give it; for other rows the
//! pack's index is read, at some ten times the cost.

use super::source::{At, Rows, Source};
use crate::pack::{Column, Pack};
use crate::query::Ranking;
use dcfs_core::cell::{Cell, Cells};
use dcfs_core::error::Result;
use dcfs_core::object::Object;
use dcfs_core::tree::{key, place};

/// Finds the paths of one row after another.
#[derive(Debug)]
pub struct Paths<'p> {
    pack: &'p Pack,
    /// The ranking, if names begin with a rank.
    ranking: Option<&'p Ranking>,
    /// The column of the table's directory, and the path prefix to strip from names.
    root: Option<(usize, Vec<u8>)>,
    columns: Vec<Finder<'p>>,
    found: Vec<Option<Vec<u8>>>,
    object: Object,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Finder<'p> {
    column: &'p Column,
    /// The indices of the cells of source and path, if these give the path.
    cells: Option<(usize, usize)>,
}

impl<'p> Paths<'p> {
    /// For the rows of a table. Adds the database columns whose cells are needed to `columns`.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn new(source: &'p Source, columns: &mut Vec<String>) -> Result<Self> {
        let pack = &*source.pack;
        let mut number = |name: &String| {
            columns.iter().position(|there| there == name).unwrap_or_else(|| {
                columns.push(name.clone());
                columns.len() - 1
            })
        };
        let finders = pack.columns().iter().map(|column| {
            let parts = column.file.source.as_ref().zip(column.file.path.as_ref());
            let parts = parts.filter(|_| column.is_plain);
            Finder { column, cells: parts.map(|(source, path)| (number(source), number(path))) }
        });
        let columns: Vec<_> = finders.collect();
        let found = vec![None; columns.len()];
        let ranking = match &source.rows {
            Rows::Ranked(ranking) if source.is_ranked => Some(&**ranking),
            _ => None,
        };
        let root = match source.root {
            Some(dir) => {
                let mut above = pack.dir_path(dir)?;
                above.extend((!above.is_empty()).then_some(b'/'));
                Some((usize::from(dir.column), above))
            }
            None => None,
        };
        Ok(Self { pack, ranking, root, columns, found, object: Object::default(), key: Vec::new() })
    }

    /// The path in each listed File column, `None` if the row names no file; prefixed with the
    /// column's directory if there are several columns.
    ///
    /// # Errors
    /// A damaged pack.
    pub fn of(&mut self, at: At, cells: &dyn Cells) -> Result<&[Option<Vec<u8>>]> {
        for (number, finder) in self.columns.iter().enumerate() {
            let recorded = finder.cells.and_then(|(source, path)| {
                Some((text(cells.cell(source))?, text(cells.cell(path))?))
            });
            let path = match recorded {
                Some((b"", b"")) => None,
                Some((source, path)) => {
                    self.object.path.clear();
                    self.object.path.extend_from_slice(path);
                    if finder.column.many_sources {
                        self.object.source = String::from_utf8_lossy(source).into_owned();
                    }
                    place::write_key(&self.object, finder.column.many_sources, &mut self.key);
                    Some(key::to_path(&self.key))
                }
                None => match self.pack.entry_of(number as u16, at.ordinal)? {
                    Some(entry) => Some(self.pack.path(entry)?),
                    None => None,
                },
            };
            let path = path.map(|path| match self.ranking {
                Some(ranking) => ranking.name(at.position, &path),
                None => path,
            });
            self.found[number] = path.and_then(|path| match &self.root {
                Some((column, _)) if *column != number => None,
                Some(_) if self.ranking.is_some() => Some(path),
                Some((_, above)) => path.strip_prefix(&above[..]).map(<[u8]>::to_vec),
                None if self.columns.len() == 1 => Some(path),
                None => Some([&finder.column.directory, &path[..]].join(&b'/')),
            });
        }
        Ok(&self.found)
    }
}

/// A text cell. Numbers, which only a foreign catalog holds, are left to the index.
fn text(cell: Cell<'_>) -> Option<&[u8]> {
    match cell {
        Cell::Null => Some(b""),
        Cell::Text(text) | Cell::Blob(text) => Some(text),
        Cell::Integer(_) | Cell::Real(_) => None,
    }
}
