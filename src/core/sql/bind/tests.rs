//! Names, models, stars and joins as they are written for SQLite, and what is wrong with a statement.

use super::super::Statement;
use super::*;
use crate::schema::Schema;

fn known() -> Known {
    let features = r#"{"file": "File@v1", "info": "Optional[Image@v1]", "label": "str", "tags": "list[str]", "meta": "dict", "rows": "int"}"#;
    let table = [
        "file__source",
        "file__path",
        "info___type_tag",
        "info__width",
        "label",
        "tags",
        "meta",
        "rows",
    ];
    let table: Vec<_> = table.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    Known::of(&Schema::parse(features, "{}", &table).expect("a schema"))
}

fn bound(text: &str) -> Result<Bound, Error> {
    let statement = Statement::read(text)?;
    let known = vec![known(); statement.tables().len()];
    statement.bind(&known)
}

#[test]
fn columns_have_their_tables() {
    let cases = [
        (
            "select info.width from pets",
            r#"select "pets"."info.width" AS "info.width" from "dcfs table 0" AS "pets""#,
        ),
        (
            "select p.label l, count(*) from pets@1.0.0 as p group by p.label order by l",
            r#"select "p"."label" l , count ( * ) AS "count(*)" from "dcfs table 0" AS "p" group by "p"."label" order by "l""#,
        ),
        (
            "select label, count(*) n from pets group by all",
            r#"select "pets"."label" AS "label" , count ( * ) n from "dcfs table 0" AS "pets" group by "pets"."label""#,
        ),
        (
            "select info from pets",
            r#"select "pets"."info.___type_tag" AS "info.___type_tag", "pets"."info.width" AS "info.width" from "dcfs table 0" AS "pets""#,
        ),
        (
            "select p.info as i from pets p",
            r#"select "p"."info.___type_tag" AS "i.___type_tag", "p"."info.width" AS "i.width" from "dcfs table 0" AS "p""#,
        ),
        (
            "select tags[-1], meta.a.b from pets where label ilike 'p%'",
            r#"select item("pets"."tags", -1) AS "tags[-1]" , item("pets"."meta", 'a', 'b') AS "meta.a.b" from "dcfs table 0" AS "pets" where "pets"."label" MATCH 'p%'"#,
        ),
        (
            "select rows from pets where info.width / 2 > 1",
            r#"select "pets"."rows" AS "rows" from "dcfs table 0" AS "pets" where "pets"."info.width" * 1.0 / 2 > 1"#,
        ),
        (
            "select x.n from (select label, count(*) n from pets group by label) x",
            r#"select "x"."n" AS "n" from ( select "pets"."label" AS "label" , count ( * ) n from "dcfs table 0" AS "pets" group by "pets"."label" ) x"#,
        ),
        (
            "select cast(label as int) from pets",
            r#"select cast ( "pets"."label" as int ) AS "cast(label as int)" from "dcfs table 0" AS "pets""#,
        ),
    ];
    for (text, want) in cases {
        assert_eq!(bound(text).unwrap_or_else(|e| panic!("{text}: {e}")).sql, want, "{text}");
    }
}

#[test]
fn nearest_rows_are_joined_by_a_table_of_pairs() {
    let features = r#"{"label": "str", "emb": "list[float]"}"#;
    let table: Vec<_> =
        ["label", "emb"].iter().map(|name| ((*name).to_owned(), String::new())).collect();
    let known = Known::of(&Schema::parse(features, "{}", &table).expect("a schema"));
    let bound = |text: &str| {
        let statement = Statement::read(text)?;
        statement.bind(&vec![known.clone(); statement.tables().len()])
    };
    let text = "select q.label, p.label from pets q join dogs p on nearest(p.emb, q.emb, 5, 'euclidean') and p.label <> q.label";
    let found = bound(text).expect("sound");
    let want = r#"from "dcfs table 0" AS "q" join "dcfs nearest 0" ON "dcfs nearest 0"."of" = "q"."sys__id" JOIN "dcfs table 1" AS "p" on "p"."sys__id" = "dcfs nearest 0"."id" and "p"."label" <> "q"."label""#;
    assert!(found.sql.ends_with(want), "{}", found.sql);
    let [pairs] = &found.nearest[..] else { panic!("{:?}", found.nearest) };
    assert_eq!((pairs.to.0, pairs.of.0, pairs.k), (0, 1, 5));
    assert!(found.columns.iter().flatten().all(|column| column.name != "emb"));
    for (text, message) in [
        ("select 1 from pets q join pets p on nearest(q.emb, p.emb)", "from 1 to 1000"),
        ("select 1 from pets q join pets p on nearest(q.emb, p.emb, 0)", "from 1 to 1000"),
        ("select 1 from pets q join pets p on nearest(q.emb, q.emb, 5)", "the other of one before"),
        ("select 1 from pets q join pets p on nearest(q.label, p.emb, 5)", "lists of numbers"),
        ("select 1 from pets q left join pets p on nearest(q.emb, p.emb, 5)", "behind the ON"),
        ("select nearest(q.emb, q.emb, 5) from pets q", "behind the ON"),
        (
            "select 1 from pets q join pets p on nearest(q.emb, p.emb, 5) or q.label = 'a'",
            "behind the ON",
        ),
        ("select 1 from pets q join pets p on not nearest(q.emb, p.emb, 5)", "behind the ON"),
        (
            "select 1 from pets q join pets p on case when 1 and nearest(q.emb, p.emb, 5) and 1 then 1 end",
            "behind the ON",
        ),
        (
            "select 1 from pets q join pets p on q.label = p.label where nearest(q.emb, p.emb, 5)",
            "behind the ON",
        ),
        (
            "select 1 from pets q join pets p on 1 order by nearest(q.emb, p.emb, 5)",
            "behind the ON",
        ),
        (
            "select 1 from pets q join pets p on nearest(q.emb, p.emb, 5, 'x')",
            "'cosine' or 'euclidean'",
        ),
        ("select 1 from pets q join pets p on nearest(q.mb, p.emb, 5)", "did you mean `emb`"),
    ] {
        let error = bound(text).map(|b| b.sql).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn tests_of_rows_become_conditions() {
    let exists = r#"EXISTS (SELECT 1 FROM "dcfs table 1" AS "b" WHERE "a"."label" = "b"."label")"#;
    let from = r#"select count ( * ) AS "count(*)" from "dcfs table 0" AS "a""#;
    let join = "select count(*) from pets a semi join pets b on a.label = b.label";
    let cases = [
        (join.to_owned(), format!("{from} WHERE {exists}")),
        (join.replace("semi", "anti"), format!("{from} WHERE NOT {exists}")),
        (join.replace("semi", "left semi"), format!("{from} WHERE {exists}")),
        (join.replace("semi", "LEFT ANTI"), format!("{from} WHERE NOT {exists}")),
        (
            format!("{join}, dogs c where c.rows > 1"),
            format!(r#"{from} , "dcfs table 2" AS "c" WHERE {exists} AND ( "c"."rows" > 1 )"#),
        ),
        (
            format!("{join} where rows > 1 or rows < 0 group by a.label"),
            format!(
                r#"{from} WHERE {exists} AND ( "a"."rows" > 1 or "a"."rows" < 0 ) group by "a"."label""#
            ),
        ),
        (format!("{join} limit 1"), format!("{from} WHERE {exists} limit 1")),
        (
            format!("{join} and b.meta.left = a.label where a.rows > 1"),
            format!(
                r#"{from} WHERE {} AND ( "a"."rows" > 1 )"#,
                exists.replace(')', r#" and item("b"."meta", 'left') = "a"."label")"#)
            ),
        ),
        (
            format!("select 1 from ({join}) x"),
            format!(r#"select 1 AS "1" from ( {from} WHERE {exists} ) x"#),
        ),
    ];
    for (text, want) in cases {
        let sql = bound(&text).unwrap_or_else(|e| panic!("{text}: {e}")).sql;
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(plain(&sql), plain(&want), "{text}");
    }
    let found = bound(
        "select * exclude (file, tags, info, meta) from pets a anti join pets b on a.label = b.label",
    );
    let results = found.expect("sound").results.expect("known");
    assert_eq!(results.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["label", "rows"]);
    let two = bound(
        "select label from pets a semi join pets b on a.label = b.label anti join pets c on c.rows = a.rows",
    );
    assert!(two.expect("sound").sql.matches("EXISTS").count() == 2);
}

#[test]
fn a_star_is_all_but_what_is_derived() {
    let found = bound("select * exclude (file, tags, info, meta) from pets").expect("sound");
    let names: Vec<&str> =
        found.results.as_ref().expect("known").iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["label", "rows"]);
    let found = bound(
        "select * exclude (file, tags, info, meta) from pets a join pets b on a.label = b.label",
    )
    .expect("sound");
    let names: Vec<&str> =
        found.results.as_ref().expect("known").iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["label", "rows", "right_label", "right_rows"]);
}

#[test]
fn points_at_what_is_wrong() {
    for (text, message) in [
        ("select info.widht from pets", "no column `info.widht`; did you mean `info.width`?"),
        ("select width from pets", "did you mean `info.width`"),
        ("select p.nothing from pets p", "no column `nothing`"),
        ("select label from pets where label = \"pug\"", "a string needs single quotes"),
        ("select label from pets a, pets b", "write `a.label` or `b.label`"),
        ("select count(info) from pets", "is a model; name one of its columns, e.g. `info.width`"),
        ("select q.* from pets", "no table is called `q`"),
        ("select q.label from pets p semi join pets q on p.label = q.label", "no column `q.label`"),
        ("select count(*) from pets p semi join pets q using (label)", "expected ON"),
        (
            "select 1 from pets p right semi join pets q on p.label = q.label",
            "write `semi join` or `anti join`",
        ),
        (
            "select 1 from pets p full anti join pets q on p.label = q.label",
            "write `semi join` or `anti join`",
        ),
        (
            "select 1 from pets p natural semi join pets q on p.label = q.label",
            "write `semi join` or `anti join`",
        ),
        (
            "select 1 from pets p left outer anti join pets q on p.label = q.label",
            "write `semi join` or `anti join`",
        ),
        ("select * from listing(5)", "write the address in single quotes"),
    ] {
        let error = bound(text).map(|b| b.sql).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn an_end_too_soon_is_no_panic() {
    for text in
        ["select x from pets p, with y as", "select * exclude (label.", "select * exclude label."]
    {
        let _ = bound(text);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(words in proptest::collection::vec("select|from pets p|semi join pets q on|anti join|left anti join pets q on|nearest\\(|listing\\('s3://b'\\)|\\(|\\)|,|label|p\\.info|info\\.width|\\.|\\*|as|join pets q on|where|group by all|order by|exclude|meta\\.a|tags\\[0\\]|count\\(\\*\\)|x|=|'x'|union|with y as|using", 0..25)) {
        let _ = bound(&format!("select {}", words.join(" ")));
    }
}

#[test]
fn names_without_a_select_are_of_no_table() {
    for text in [
        "values (label)",
        "values (p.label) group by all",
        "label right join pets",
        "values tags[-1]",
    ] {
        if let Err(error) = bound(text) {
            assert!(error.span.end <= text.len() && !error.to_string().is_empty(), "{text}");
        }
    }
}
