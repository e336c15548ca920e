//! Decides which directory names are filters.
//!
//! A name is a filter if all of it parses and its root is a predicate (a comparison, `in`,
//! `between`, `like` and its variants, `is null`, `and`, `or`, `not`, a boolean column or
//! function), or if it has an `order by`, `limit` or `offset`. Any other name does not exist,
//! decided without reading a row: `.git`, `a-b.jpg`, `2024-01-01`, `node_modules`.

use super::check::checked;
use super::error::Result;
use super::function::Function;
use super::lex;
use super::names::{Meaning, Names};
use super::parse::parse;
use super::syntax::{self, Comparison, Kind, Node};
use super::typed::Query;
use crate::schema::Schema;

/// Parses `name` as a filter; `None` if it is not one, an error if it is a wrong one.
pub fn directory(name: &str, schema: &Schema) -> Option<Result<Query>> {
    let parsed = parse(name).ok()?;
    if parsed.is_predicate() {
        let checked = checked(&parsed, name, schema);
        return (checked.is_ok() || !is_assignment(&parsed, name, schema)).then_some(checked);
    }
    match &parsed.filter.as_ref()?.kind {
        Kind::Name(_) | Kind::Quoted(_) | Kind::Member(..) | Kind::Index(..) => {
            let query = checked(&parsed, name, schema).ok()?;
            Some(Ok(query))
        }
        Kind::Call(function, _) if ["any", "contains"].contains(&function.as_str()) => {
            Some(checked(&parsed, name, schema))
        }
        // `coalesce(a, b)` may be one, `photo(1)` is not.
        Kind::Call(function, _) if Function::named(function).is_some() => {
            let query = checked(&parsed, name, schema).ok()?;
            Some(Ok(query))
        }
        _ => None,
    }
}

/// `word=word` without spaces whose left side is not a column: many programs look up such names.
fn is_assignment(parsed: &syntax::Query, name: &str, schema: &Schema) -> bool {
    let is_word = |text: &str| text.chars().all(|c| lex::continues_word(c) || ".-".contains(c));
    let Some((left, right)) = name.split_once('=') else { return false };
    if !is_word(left) || !is_word(right) {
        return false;
    }
    match parsed.filter.as_ref().map(|node| &node.kind) {
        Some(Kind::Compare(Comparison::Equal, left, _)) => !is_column(left, schema),
        _ => true,
    }
}

fn is_column(node: &Node, schema: &Schema) -> bool {
    match &node.kind {
        Kind::Name(name) => !matches!(Names::of(schema).find(name), Meaning::Unknown),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Type;

    fn schema() -> Schema {
        let features = r#"{"file": "File@v1", "info": "Info", "label": "str", "good": "bool", "tags": "list[str]",
            "_custom_types": {"File@v1": {"source": "str", "path": "str", "size": "int"}, "Info": {"width": "int"}}}"#;
        let table =
            ["file__source", "file__path", "file__size", "info__width", "label", "good", "tags"];
        let table: Vec<_> = table.iter().map(|name| ((*name).into(), String::new())).collect();
        Schema::parse(features, "{}", &table).expect("a schema")
    }

    #[test]
    fn most_names_are_none() {
        let schema = schema();
        let names = [
            ".git",
            "a-b.jpg",
            "2024-01-01",
            "node_modules",
            "label",
            "info",
            "info.width",
            "a=b",
            "year=2024",
            "=b",
            "a=",
            "photo(1)",
            "photo (1).jpg",
            "x.tar.gz",
            "lower(label)",
            "info.width >",
            "a + b",
            "",
            " ",
            "__pycache__",
            "rand",
            "length(tags)",
            "1",
            "\"a\"",
            "'x",
            "a b",
            "Makefile",
            "*.jpg",
        ];
        for name in names {
            assert!(directory(name, &schema).is_none(), "{name}");
        }
    }

    #[test]
    fn predicates_are_filters() {
        let schema = schema();
        let names = [
            "good",
            "not good",
            "label=pug",
            "label=golden-retriever",
            "info.width>400",
            "info.width > 400 and good",
            "label in (a, b)",
            "label is null",
            "limit 5",
            "order by label",
            "contains(tags, \"a\")",
            "true = true",
            "coalesce(good, false)",
            "offset 3",
            "rand < 0.1",
            "file.ext = jpg",
            "file.path glob \"*\u{2215}a\"",
        ];
        for name in names {
            assert!(
                matches!(directory(name, &schema), Some(Ok(_))),
                "{name}: {:?}",
                directory(name, &schema)
            );
        }
    }

    #[test]
    fn wrong_ones_are_told() {
        let schema = schema();
        let names = [
            "info.widht > 400",
            "label = 1 + 1",
            "info.width = x",
            "a = b",
            "label > 3 and x",
            "order by nothing",
            "not label",
            "contains(label, \"a\")",
            "contains(tags)",
            "good = 1",
        ];
        for name in names {
            assert!(matches!(directory(name, &schema), Some(Err(_))), "{name}");
        }
    }

    #[test]
    fn the_root_must_be_a_condition() {
        let query = directory("good", &schema()).expect("a filter").expect("a right one");
        assert_eq!(query.filter.map(|filter| filter.kind() == Type::Bool), Some(true));
    }
}
