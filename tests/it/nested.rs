//! Filters over lists, JSON, models that may be absent and vectors.

use crate::filters::{Fixture, opened};
use crate::support::catalog::{CatalogBuilder, file, row};

/// Rows with vectors, lists, JSON and an Optional model, and what filters over them select.
fn nested() -> Fixture {
    let home = tempfile::tempdir().expect("a folder");
    let writer = CatalogBuilder::new(home.path());
    let cells = [
        ("pets/a.jpg", "[1.0,0.0]", r#"["x","y"]"#, r#"{"k":1,"o":{"a":[true,null]}}"#, Some(7)),
        ("pets/b.jpg", "[0.0,2.0]", "[]", r#"{"k":"1","odd key":2.5}"#, None),
        ("pets/c.jpg", "[0.6,0.8]", r#"["y","a/b"]"#, r#"{"k":null}"#, Some(0)),
        ("other/c.jpg", "[-1.0,0.0]", "[null]", "[1,2]", None),
        ("other/d.jpg", "[0.0,0.0]", "not a list", "7", Some(-1)),
        ("other/e.jpg", "[1.0,2.0,3.0]", r#"["x"]"#, "not json", None),
    ];
    let rows = cells.into_iter().map(|(path, emb, tags, meta, x)| {
        let tag = i64::from(x.is_none());
        let cells = row().file(file("s3://b", path)).cell(emb).cell(tags).cell(meta);
        cells.cell(tag).cell(x)
    });
    let features = r#"{"file": "File@v1", "emb": "list[float]", "tags": "list[str]", "meta": "dict", "m": "Optional[M]",
        "_custom_types": {"M": {"schema_version": 2, "fields": {"x": "int"}},
        "File@v1": {"source": "str", "path": "str", "size": "int", "version": "str", "etag": "str",
        "is_latest": "bool", "last_modified": "datetime", "location": "dict"}}}"#;
    let version = writer.dataset("a").version("1.0.0").file_column("file");
    let key = version
        .column("emb", "ARRAY", "list[float]")
        .column("tags", "ARRAY", "list[str]")
        .column("meta", "JSON", "dict")
        .bare_column("m___type_tag", "INTEGER")
        .bare_column("m__x", "INTEGER")
        .schema_texts(features, "{}")
        .rows(rows)
        .save();
    opened(home, &writer, key)
}

#[test]
fn lists_json_and_models_are_looked_into() {
    let fixture = nested();
    let cases: [(&str, &[i64]); 27] = [
        ("tags[0] = x", &[1, 6]),
        ("tags[-1] = y", &[1]),
        ("tags[7] is null", &[1, 2, 3, 4, 5, 6]),
        ("length(tags) = 0", &[2]),
        ("length(tags) > 0", &[1, 3, 4, 6]),
        ("contains(tags, \"y\")", &[1, 3]),
        ("not contains(tags, \"y\")", &[2, 4, 6]),
        ("contains(tags, \"a\u{2215}b\")", &[3]),
        ("meta.k = 1", &[1]),
        ("meta.k = \"1\"", &[2]),
        ("meta.k != 1", &[2]),
        ("meta.k is null", &[3, 4, 5, 6]),
        ("meta[\"odd key\"] > 2", &[2]),
        ("meta.o.a[0] = true", &[1]),
        ("meta[1] = 2", &[4]),
        ("m is null", &[2, 4, 6]),
        ("m is not null", &[1, 3, 5]),
        ("m.x > 0", &[1]),
        ("split(file.path, \"/\")[0] = pets", &[1, 2, 3]),
        ("contains(split(file.path, \"/\"), \"c.jpg\")", &[3, 4]),
        ("file.parent = other and file.stem != d", &[4, 6]),
        ("cosine_distance(emb, [1, 0]) < 0.5", &[1, 3]),
        ("cosine_distance(emb, [1, 0]) >= 1", &[2, 4]),
        ("cosine_distance(emb, row(1)) = 0", &[1]),
        ("cosine_distance(emb, \"pets/c.jpg\") < 0.001", &[3]),
        ("euclidean_distance(emb, \"b.jpg\") = 0", &[2]),
        ("euclidean_distance(emb, [0, 0]) is null", &[6]),
    ];
    for (filter, want) in cases {
        assert_eq!(fixture.ours(filter), want, "{filter}");
    }
    let ranked = fixture.select("order by cosine_distance(emb, row(3)) limit 4").ranking;
    let rows: Vec<u32> = ranked.expect("an order").rows.iter().map(|ranked| ranked.row).collect();
    assert_eq!(rows, [2, 1, 0, 3], "the nearest first, and a vector of zeros last");
}

#[test]
fn what_a_distance_is_to_must_be_there() {
    let fixture = nested();
    let cases = [
        ("row(99)", "row 99 is not in this version, or its vector is missing or of another length"),
        ("row(6)", "row 6 is not in this version, or its vector is missing or of another length"),
        ("[1, 2, 3]", "vectors of `emb` have 2 numbers, and this one 3"),
        (
            "\"z.jpg\"",
            "no file of this version has the path or the name `z.jpg`, or it has no vector",
        ),
        ("\"c.jpg\"", "several files are called `c.jpg`; write a path, or `row(<sys__id>)`"),
    ];
    for (target, message) in cases {
        let query = fixture.check(&format!("cosine_distance(emb, {target}) < 1"));
        let error = fixture.try_select(&query).expect_err(target);
        assert_eq!(error.to_string(), message);
    }
}
