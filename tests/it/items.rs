//! `any(list, condition)`: conditions on the items of lists of models, against SQL's EXISTS over `json_each`.

use crate::filters::{Fixture, opened};
use crate::support::catalog::{CatalogBuilder, Cell, file, row};
use dcfs_core::expr;

/// Lists of boxes: two in five lists have several, some hold none, one row in eleven has no list at all.
fn fixture(count: usize) -> Fixture {
    let home = tempfile::tempdir().expect("a folder");
    let writer = CatalogBuilder::new(home.path());
    let labels = ["dog", "cat", "d\u{e9}j\u{e0}", "a'b"];
    let rows = (0..count).map(|n| {
        let item = |k: usize| {
            let score = [0.25, 0.5, 0.75][(n + k) % 3];
            let x = if (n + k).is_multiple_of(7) { "null".to_owned() } else { (n % 9 + k).to_string() };
            let label = labels[(n / 3 + k) % 4];
            format!(r#"{{"label":"{label}","score":{score},"at":{{"x":{x}}},"tags":["t{k}"],"inner":[{{"v":{k}}}]}}"#)
        };
        let items: Vec<String> = (0..n % 5).map(item).collect();
        let list = match n % 11 {
            0 => Cell::Null,
            _ => Cell::from(format!("[{}]", items.join(","))),
        };
        row().file(file("s3://b", format!("{n}.jpg"))).cell(list.clone()).cell(list).cell((n % 9) as i64)
    });
    let features = r#"{"file": "File@v1", "boxes": "list[Box]", "meta": "dict", "n": "int",
        "_custom_types": {"Box": {"schema_version": 2, "fields": {"label": "str", "score": "float", "at": "At", "tags": "list[str]", "inner": "list[Inner]"}},
        "At": {"schema_version": 2, "fields": {"x": "Optional[int]"}}, "Inner": {"schema_version": 2, "fields": {"v": "int"}},
        "File@v1": {"source": "str", "path": "str", "size": "int", "version": "str", "etag": "str",
        "is_latest": "bool", "last_modified": "datetime", "location": "dict"}}}"#;
    let version = writer.dataset("a").version("1.0.0").file_column("file");
    let key = version
        .column("boxes", "ARRAY", "list[Box]")
        .column("meta", "JSON", "dict")
        .column("n", "INTEGER", "int")
        .schema_texts(features, "{}")
        .rows(rows)
        .save();
    opened(home, &writer, key)
}

/// EXISTS over the items, NULL where there is no list.
fn exists(condition: &str) -> String {
    format!(
        "(CASE WHEN boxes IS NULL THEN NULL ELSE EXISTS (SELECT 1 FROM json_each(boxes) b WHERE {condition}) END)"
    )
}

#[test]
fn any_selects_what_exists_selects() {
    // More items than a block holds rows.
    let fixture = fixture(6000);
    let label = "b.value ->> 'label'";
    let cases = [
        ("any(boxes, label = dog)", exists(&format!("{label} = 'dog'"))),
        (
            "any(boxes, label = 'dog' and score > 0.5)",
            exists(&format!("{label} = 'dog' and b.value ->> 'score' > 0.5")),
        ),
        ("not any(boxes, label = dog)", format!("NOT {}", exists(&format!("{label} = 'dog'")))),
        ("any(boxes, at.x is null)", exists("b.value -> '$.at' ->> 'x' IS NULL")),
        ("any(boxes, at.x > n)", exists("b.value -> '$.at' ->> 'x' > n")),
        (
            "any(boxes, n > 6 and not label like 'd%')",
            exists(&format!("n > 6 and not {label} like 'd%'")),
        ),
        (
            "any(boxes, label in (cat, 'a''b') or n = 1)",
            exists(&format!("{label} in ('cat', 'a''b') or n = 1")),
        ),
        (
            "any(boxes, label = cat) and n < 5 or any(boxes, score = 0.75)",
            format!(
                "{} and n < 5 or {}",
                exists(&format!("{label} = 'cat'")),
                exists("b.value ->> 'score' = 0.75")
            ),
        ),
        (
            "any(boxes, any(inner, v > 1 and v < n and score > 0.3))",
            exists(
                "EXISTS (SELECT 1 FROM json_each(b.value -> 'inner') c WHERE c.value ->> 'v' > 1 and c.value ->> 'v' < n and b.value ->> 'score' > 0.3)",
            ),
        ),
        ("any(boxes, contains(tags, 't3'))", exists("b.value -> 'tags' ->> 0 = 't3'")),
        (
            "any(meta, label = 'cat' and at.x = 3)",
            exists(&format!("{label} = 'cat' and b.value -> '$.at' ->> 'x' = 3")),
        ),
        ("any(boxes, file.stem = '17')", exists("file__path = '17.jpg'")),
        ("any(boxes, true)", "json_array_length(boxes) > 0".to_owned()),
        ("any(boxes, null)", exists("NULL")),
    ];
    for (ours, sql) in cases {
        fixture.agrees_with(ours, &sql);
        let printed = fixture.check(ours).to_string();
        assert_eq!(fixture.check(&printed), fixture.check(ours), "{printed}");
    }
}

#[test]
fn any_is_refused_where_there_are_no_models() {
    let fixture = fixture(3);
    let schema = fixture.schema();
    for (text, message) in [
        ("any(boxes, labl = dog)", "no column `labl`; did you mean `label`?"),
        ("any(boxes, x > 3)", "did you mean `at.x`?"),
        ("any(boxes, nothing > 3)", "an item has "),
        (
            "any(boxes, any(tags, x > 3))",
            "`tags` is a list of plain values, which have no fields; write `contains(tags, ...)`",
        ),
        ("any(n, x > 3)", "`n` is an int, not a list of models"),
        ("any(bxes, x > 3)", "did you mean `boxes`?"),
        (
            "any(boxes, any(inner, any(boxes, v > 1)))",
            "`boxes` is a list of the row, not of the item around it",
        ),
        ("any(boxes)", "call it as `any(list, condition)`"),
        ("any(boxes, score)", "`score` is a float, not a condition"),
        ("any(boxes, label > 3) > 2", "a boolean"),
        ("label = dog", "no column `label`"),
        ("anny(boxes, label = dog)", "no function `anny`; did you mean `any`"),
    ] {
        let error = expr::check(text, schema).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(matches!(expr::directory("any(boxes, label = dog)", schema), Some(Ok(_))));
    assert!(matches!(expr::directory("any(boxes, labl = dog)", schema), Some(Err(_))));
}
