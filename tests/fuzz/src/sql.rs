//! Any text as a statement of SQL: split, bound to the columns of tables, written anew. What must hold of every one: no
//! panic, errors with a place in the text, and a statement for SQLite that names no table but ours.
//!
//! `tests/fuzz/run SECONDS` builds and runs it over `corpus-sql/`.
#![no_main]
use std::sync::LazyLock;

use dcfs_core::expr;
use dcfs_core::schema::Schema;
use dcfs_core::sql::{Known, Statement};
use libfuzzer_sys::fuzz_target;

const FEATURES: &str = r#"{
    "file": "File@v1", "info": "Optional[Image@v1]", "label": "str", "tags": "list[str]", "boxes": "list[Box]", "meta": "dict",
    "rows": "int", "x": "Optional[float]", "w": "datetime", "order": "bool",
    "_custom_types": {"File@v1": {"source": "str", "path": "str", "size": "int"}, "Image@v1": {"width": "int", "height": "int"},
    "Box": {"x": "int", "y": "str"}}}"#;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let columns = [
        "file__source", "file__path", "file__size", "info___type_tag", "info__width", "info__height", "label", "tags", "boxes",
        "meta", "rows", "x", "w", "order",
    ];
    let table: Vec<_> = columns.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    Schema::parse(FEATURES, "{}", &table).expect("a schema")
});

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known::of(&SCHEMA));

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let statement = match Statement::read(text) {
        Ok(statement) => statement,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let known = vec![KNOWN.clone(); statement.tables().len()];
    let bound = match statement.bind(&known) {
        Ok(bound) => bound,
        Err(error) => {
            assert!(error.span.end <= text.len() && !error.to_string().is_empty(), "{text:?}");
            return;
        }
    };
    assert_eq!(bound.columns.len(), known.len());
    // Any place that SQLite names lies in the text.
    for offset in [0, bound.sql.len() / 2, bound.sql.len(), usize::MAX] {
        assert!(bound.error("here", Some(offset)).span.end <= text.len(), "{text:?}");
    }
    if let Ok(grouped) = &bound.grouped {
        assert_eq!(grouped.filters.len(), known.len(), "{text:?}");
        for filter in grouped.filters.iter().flatten() {
            let _ = expr::check(filter, &SCHEMA);
        }
    }
});
