//! The columns whose values are folders in `_views/by/`: those of the schema that hold one value
//! each, and the path components of every File column, by the names that filters use
//! (`file.parent`, `file.ext`).
//!
//! A column is identified by its number, which is part of inode numbers: the index of its leaf and,
//! after the leaves, four for each File column. Among columns of one name the first wins: a
//! recorded column goes before a path component.

use std::collections::HashSet;

use crate::cell::Cell;
use crate::expr::Part;
use crate::name::escape;
use crate::schema::{Schema, ValueType};

/// One such column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class<'s> {
    pub number: u16,
    /// Dotted: `info.width`, `file.parent`.
    pub name: String,
    /// The database column that its values come from.
    pub column: &'s str,
    pub value: &'s ValueType,
    /// The path component that is the value, if it is not the whole cell.
    pub part: Option<Part>,
    /// Whether it is found by name but not listed.
    pub is_hidden: bool,
}

impl Class<'_> {
    /// The name of its folder.
    pub fn folder(&self) -> Vec<u8> {
        escape::segment(self.name.as_bytes()).into_owned()
    }

    /// The value of a cell of its database column.
    pub fn of<'c>(&self, cell: Cell<'c>) -> Cell<'c> {
        match (self.part, cell) {
            (None, cell) => cell,
            (Some(part), Cell::Text(path) | Cell::Blob(path)) => Cell::Text(part.of(path)),
            (Some(_), _) => Cell::Null,
        }
    }
}

/// The columns that have a folder, at most `most`; every number is below `most`.
pub fn classes(schema: &Schema, most: usize) -> Vec<Class<'_>> {
    let leaves = schema.leaves();
    let parts_begin = leaves.len();
    let recorded = leaves.into_iter().enumerate().filter(|(_, leaf)| leaf.value.is_scalar());
    let recorded = recorded.map(|(at, leaf)| {
        let (name, is_hidden) = (leaf.name, leaf.hidden);
        (
            at,
            Class {
                number: 0,
                name,
                column: leaf.column,
                value: leaf.value,
                part: None,
                is_hidden,
            },
        )
    });
    let parts = schema.files.iter().enumerate().flat_map(|(file, of)| {
        let path = of.path.as_deref();
        Part::ALL.into_iter().enumerate().filter_map(move |(number, part)| {
            let class = Class {
                number: 0,
                name: format!("{}.{}", of.name, part.word()),
                column: path?,
                value: &ValueType::Text,
                part: Some(part),
                // File names are mostly unique.
                is_hidden: matches!(part, Part::Name | Part::Stem),
            };
            Some((parts_begin + file * Part::ALL.len() + number, class))
        })
    });
    let mut taken = HashSet::new();
    let numbered = recorded.chain(parts).filter(|(number, _)| *number < most);
    let numbered = numbered.filter_map(|(number, class)| {
        let number = u16::try_from(number).ok()?;
        taken.insert(class.folder()).then_some(Class { number, ..class })
    });
    numbered.collect()
}

/// The column with a number.
pub fn class(schema: &Schema, number: u16, most: usize) -> Option<Class<'_>> {
    classes(schema, most).into_iter().find(|class| class.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(features: &str, table: &[&str]) -> Schema {
        let table: Vec<_> = table.iter().map(|name| ((*name).into(), String::new())).collect();
        Schema::parse(features, "", &table).expect("a schema")
    }

    const FILE: [&str; 3] = ["file__source", "file__path", "file__size"];

    #[test]
    fn parts_of_paths_stand_behind_the_columns() {
        let schema = schema(
            r#"{"file":"File@v1","tags":"list[str]","label":"str"}"#,
            &[&FILE[..], &["tags", "label"]].concat(),
        );
        let shown = classes(&schema, 1024);
        let named: Vec<_> = shown
            .iter()
            .map(|class| (class.name.as_str(), class.number, class.is_hidden))
            .collect();
        let want = [
            ("file.source", 0, true),
            ("file.path", 1, false),
            ("file.size", 2, false),
            ("label", 4, false),
            ("file.name", 5, true),
            ("file.stem", 6, true),
            ("file.ext", 7, false),
            ("file.parent", 8, false),
        ];
        assert_eq!(named, want);
        assert!(shown.iter().all(|one| class(&schema, one.number, 1024).as_ref() == Some(one)));
        assert!(classes(&schema, 6).iter().all(|class| class.number < 6));
    }

    #[test]
    fn a_part_is_what_filters_say() {
        let schema = schema(r#"{"file":"File@v1"}"#, &FILE);
        let of = |name: &str, path: &'static [u8]| {
            let all = classes(&schema, 1024);
            all.iter().find(|class| class.name == name).expect(name).of(Cell::Text(path))
        };
        assert_eq!(of("file.parent", b"a/b/c.tar.gz"), Cell::Text(b"a/b"));
        assert_eq!(of("file.ext", b"a/b/c.tar.gz"), Cell::Text(b"gz"));
        assert_eq!(of("file.stem", b"a/b/c.tar.gz"), Cell::Text(b"c.tar"));
        assert_eq!(of("file.parent", b"c"), Cell::Text(b""));
        let parent = classes(&schema, 1024).pop().expect("parts");
        assert_eq!(parent.of(Cell::Null), Cell::Null);
    }
}
