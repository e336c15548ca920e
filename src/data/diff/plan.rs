//! Chooses the columns that match the rows of two versions, and those that are compared.
//!
//! Columns correspond by their dotted names. The key is the first that applies: the requested
//! columns; source and path of the first File column that both have; those of the first File column
//! of each; all columns that both have.

use super::row::{Columns, Kind};
use crate::catalog::VersionInfo;
use dcfs_core::error::{Error, Result};
use dcfs_core::schema::{Field, FileColumn, Schema, Shape, ValueType};

/// A column that both versions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Dotted.
    pub name: String,
    /// The database columns.
    pub left: String,
    pub right: String,
    /// The types of its cells, on each side.
    pub values: (ValueType, ValueType),
    /// The types as DataChain writes them.
    pub types: (String, String),
    pub kind: Kind,
}

/// How two versions are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The columns in which matched rows are equal.
    pub key: Vec<Pair>,
    /// All other columns that both versions have.
    pub compared: Vec<Pair>,
    /// Dotted names that only one version has: reported, not compared.
    pub only_left: Vec<String>,
    pub only_right: Vec<String>,
    /// Whether [`Plan::key`] is the source and path of a File.
    pub is_by_file: bool,
}

/// A database column by its dotted name; an optional model's tag goes by the name of the model.
struct Known {
    name: String,
    column: String,
    value: ValueType,
    type_text: String,
    is_tag: bool,
}

impl Plan {
    /// For two versions and their schemas; `on` names the columns of the key, and a model's name
    /// takes all below it.
    ///
    /// # Errors
    /// A name in `on` that one of them lacks, with the nearest ones.
    pub fn new(
        (left, right): (&VersionInfo, &VersionInfo),
        (one, other): (&Schema, &Schema),
        on: &[String],
    ) -> Result<Self> {
        let (lefts, rights) = (known(one), known(other));
        let files = if on.is_empty() { files(one, other) } else { None };
        let key = match files {
            Some((one, other)) => by_file(one, other),
            None if on.is_empty() => {
                common(&lefts, &rights).filter(|pair| !pair.is_tag()).collect()
            }
            None => asked((left, right), (one, other), on)?,
        };
        let is_key = |name: &str| key.iter().any(|pair| pair.name == name);
        let compared = common(&lefts, &rights).filter(|pair| !is_key(&pair.name)).collect();
        let used = |pairs: &[Pair], column: &str, of: fn(&Pair) -> &str| {
            pairs.iter().any(|pair| of(pair) == column)
        };
        let compared: Vec<Pair> = compared;
        let rest = |all: &[Known], of: fn(&Pair) -> &str| -> Vec<String> {
            let rest = all.iter().filter(|known| !known.is_tag);
            let rest = rest.filter(|known| {
                !used(&key, &known.column, of) && !used(&compared, &known.column, of)
            });
            rest.map(|known| known.name.clone()).collect()
        };
        let only_left = rest(&lefts, |pair| &pair.left);
        let only_right = rest(&rights, |pair| &pair.right);
        Ok(Self { is_by_file: files.is_some(), only_left, only_right, key, compared })
    }

    /// The database columns of the earlier version, keys first.
    pub(super) fn left(&self) -> Columns {
        Columns::new(self.key.iter().map(Pair::of_left), self.compared.iter().map(Pair::of_left))
    }

    /// The database columns of the later version, keys first.
    pub(super) fn right(&self) -> Columns {
        Columns::new(self.key.iter().map(Pair::of_right), self.compared.iter().map(Pair::of_right))
    }

    /// The names of the key.
    pub fn on(&self) -> Vec<String> {
        self.key.iter().map(|pair| pair.name.clone()).collect()
    }
}

impl Pair {
    fn of(left: &Known, right: &Known) -> Self {
        Self {
            name: left.name.clone(),
            left: left.column.clone(),
            right: right.column.clone(),
            kind: kind(left, right),
            values: (left.value.clone(), right.value.clone()),
            types: (left.type_text.clone(), right.type_text.clone()),
        }
    }

    pub(super) fn of_left(&self) -> (String, Kind) {
        (self.left.clone(), self.kind)
    }

    pub(super) fn of_right(&self) -> (String, Kind) {
        (self.right.clone(), self.kind)
    }

    /// Whether its type differs between the sides, ignoring whether it may be NULL.
    pub fn is_retyped(&self) -> bool {
        self.values.0 != self.values.1 && !self.is_tag()
    }

    /// Whether it is the tag of an optional model.
    pub fn is_tag(&self) -> bool {
        self.kind == Kind::Tag
    }
}

/// How cells are compared: as JSON or as times only if both sides have that type.
fn kind(left: &Known, right: &Known) -> Kind {
    let is_json = |value: &ValueType| {
        matches!(value, ValueType::List(_) | ValueType::Model(_) | ValueType::Json)
    };
    match (&left.value, &right.value) {
        _ if left.is_tag => Kind::Tag,
        (ValueType::Time, ValueType::Time) => Kind::Time,
        (one, other) if is_json(one) && is_json(other) => Kind::Json,
        _ => Kind::Plain,
    }
}

/// Every column of a schema, once by name.
fn known(schema: &Schema) -> Vec<Known> {
    let mut found = Vec::new();
    schema.signals.iter().for_each(|signal| collect(signal, "", &mut found));
    found
}

fn collect(field: &Field, above: &str, found: &mut Vec<Known>) {
    let name = match above {
        "" => field.name.clone(),
        above => format!("{above}.{}", field.name),
    };
    let mut add = |name: &str, column: &str, value: ValueType, is_tag: bool| {
        if !found.iter().any(|known: &Known| known.name == name && known.is_tag == is_tag) {
            let (name, column) = (name.to_owned(), column.to_owned());
            found.push(Known { name, column, value, type_text: field.type_text.clone(), is_tag });
        }
    };
    match &field.shape {
        Shape::Column { column, value } => add(&name, column, value.clone(), false),
        Shape::Model { fields, tag, .. } => {
            if let Some(tag) = tag {
                add(&name, tag, ValueType::Int, true);
            }
            fields.iter().for_each(|below| collect(below, &name, found));
        }
    }
}

/// The columns of both, in the order of the right side.
fn common<'k>(lefts: &'k [Known], rights: &'k [Known]) -> impl Iterator<Item = Pair> + 'k {
    rights.iter().filter_map(|right| {
        let mut same = lefts.iter().filter(|l| l.name == right.name && l.is_tag == right.is_tag);
        same.next().map(|left| Pair::of(left, right))
    })
}

/// The File columns that identify rows: with the same name, else the first of each side.
fn files<'s>(left: &'s Schema, right: &'s Schema) -> Option<(&'s FileColumn, &'s FileColumn)> {
    fn named(schema: &Schema) -> impl Iterator<Item = &FileColumn> {
        schema.files.iter().filter(|file| file.source.is_some() && file.path.is_some())
    }
    let same = named(left).find_map(|one| Some((one, named(right).find(|o| o.name == one.name)?)));
    same.or_else(|| named(left).next().zip(named(right).next()))
}

fn by_file(left: &FileColumn, right: &FileColumn) -> Vec<Pair> {
    let pair = |part: &str, one: &Option<String>, other: &Option<String>| {
        Some(Pair {
            name: format!("{}.{part}", left.name),
            left: one.clone()?,
            right: other.clone()?,
            values: (ValueType::Text, ValueType::Text),
            types: ("str".to_owned(), "str".to_owned()),
            kind: Kind::Plain,
        })
    };
    let source = pair("source", &left.source, &right.source);
    source.into_iter().chain(pair("path", &left.path, &right.path)).collect()
}

/// Resolves the requested columns.
fn asked(
    (left, right): (&VersionInfo, &VersionInfo),
    (one, other): (&Schema, &Schema),
    on: &[String],
) -> Result<Vec<Pair>> {
    let chosen = |of: &VersionInfo, schema: &Schema, names: &[String]| -> Result<Vec<Known>> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let chosen = schema.select(&names, &[]);
        let chosen = chosen.map_err(|unknown| {
            Error::new(dcfs_core::error::Kind::Invalid, format!("`{of}`: {unknown}"))
        })?;
        Ok(known(&chosen).into_iter().filter(|known| !known.is_tag).collect())
    };
    let lefts = chosen(left, one, on)?;
    let names: Vec<String> = lefts.iter().map(|known| known.name.clone()).collect();
    let rights = chosen(right, other, &names)?;
    let pair = |left: &Known| {
        let right = rights.iter().find(|right| right.name == left.name)?;
        Some(Pair::of(left, right))
    };
    Ok(lefts.iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 3] = ["source", "path", "etag"];

    fn schema(columns: &[&str]) -> Schema {
        let table: Vec<_> =
            columns.iter().map(|name| ((*name).to_owned(), "INTEGER".to_owned())).collect();
        Schema::parse("{}", "{}", &table).expect("a schema")
    }

    fn with_file(name: &str, columns: &[&str]) -> Schema {
        let parts = FILES.map(|part| format!("{name}__{part}"));
        let all: Vec<&str> =
            parts.iter().map(String::as_str).chain(columns.iter().copied()).collect();
        schema(&all)
    }

    fn plan(left: &Schema, right: &Schema, on: &[&str]) -> Result<Plan> {
        let of = VersionInfo::default();
        let on: Vec<String> = on.iter().map(|name| (*name).to_owned()).collect();
        Plan::new((&of, &of), (left, right), &on)
    }

    fn names(pairs: &[Pair]) -> Vec<&str> {
        pairs.iter().map(|pair| pair.name.as_str()).collect()
    }

    #[test]
    fn the_key_is_the_object_else_what_is_asked_else_everything() {
        let (a, b) = (with_file("file", &["x", "y"]), with_file("file", &["y", "z"]));
        let by_file = plan(&a, &b, &[]).expect("a plan");
        assert_eq!(names(&by_file.key), ["file.source", "file.path"]);
        assert_eq!((names(&by_file.compared).last(), by_file.is_by_file), (Some(&"y"), true));
        assert_eq!(
            (&by_file.only_left[..], &by_file.only_right[..]),
            (&["x".into()][..], &["z".into()][..])
        );
        let by_y = plan(&a, &b, &["y"]).expect("a plan");
        assert_eq!((names(&by_y.key), by_y.is_by_file), (vec!["y"], false));
        let flat = plan(&schema(&["x", "y"]), &schema(&["y", "x"]), &[]).expect("a plan");
        assert_eq!((names(&flat.key), names(&flat.compared)), (vec!["y", "x"], vec![]));
        let other = plan(&a, &with_file("image", &["y"]), &[]).expect("a plan");
        assert_eq!((&*other.key[1].left, &*other.key[1].right), ("file__path", "image__path"));
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_what_is_near() {
        let (a, b) = (schema(&["width", "y"]), schema(&["y"]));
        let error = |on: &str| plan(&a, &b, &[on]).expect_err(on).to_string();
        assert!(error("widt").contains("did you mean `width`?"), "{}", error("widt"));
        assert!(error("width").contains("no column `width`"), "{}", error("width"));
    }
}
