//! Which statements the kernels run, and what is left of them.

use super::super::{Known, Statement};
use super::*;
use crate::schema::Schema;

fn schema() -> Schema {
    let table =
        ["file__source", "file__path", "info__width", "label", "day", "tags", "group", "over"];
    let features = r#"{"file": "File@v1", "info": "Image@v1", "label": "str", "day": "datetime", "tags": "list[str]", "group": "bool", "over": "int"}"#;
    let table: Vec<_> = table.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    Schema::parse(features, "{}", &table).expect("a schema")
}

fn of(text: &str) -> Result<Grouped, String> {
    let known = Known::of(&schema());
    let statement = Statement::read(text).map_err(|error| error.to_string())?;
    let known = vec![known; statement.tables().len()];
    let bound = statement.bind(&known).map_err(|error| error.to_string())?;
    bound.grouped.map(|grouped| *grouped).map_err(str::to_owned)
}

#[test]
fn recognises_groups() {
    let cases = [
        (
            "select label, count(*) n, avg(info.width) from pets where info.width > 4 and label like 'p%' group by label order by n desc limit 3",
            r#"select "dcfs groups".k0 AS "label", "dcfs groups".a0 AS "n", "dcfs groups".a1 AS "avg(info.width)" from "dcfs groups" order by "n" desc limit 3"#,
            Some("`info.width` > 4 and `label` like 'p%'"),
        ),
        (
            "select p.file.parent as f, round(sum(info.width) / count(*), 2) r from pets p group by 1 having count(*) > 1",
            r#"select "dcfs groups".k0 AS "f", round ( "dcfs groups".a0 * 1.0 / "dcfs groups".a1 , 2 ) AS "r" from "dcfs groups" where "dcfs groups".a1 > 1 "#,
            None,
        ),
        (
            "select max(day) from pets",
            r#"select "dcfs groups".a0 AS "max(day)" from "dcfs groups" "#,
            None,
        ),
        (
            "select a.label, max(a.over) n from pets a where not a.group group by a.label",
            r#"select "dcfs groups".k0 AS "label", "dcfs groups".a0 AS "n" from "dcfs groups" "#,
            Some("not `group`"),
        ),
    ];
    for (text, sql, filter) in cases {
        let found = of(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(
            (found.bound.sql.as_str(), found.filters[0].as_deref()),
            (sql, filter),
            "{text}"
        );
        // A condition that filters cannot parse is silently left to SQLite.
        if let Some(filter) = filter {
            crate::expr::check(filter, &schema())
                .unwrap_or_else(|error| panic!("{filter}: {error}"));
        }
    }
}

#[test]
fn recognises_distinct() {
    let cases = [
        (
            "select distinct label, file.ext e from pets order by label limit 2",
            r#"select "dcfs groups".k0 AS "label", "dcfs groups".k1 AS "e" from "dcfs groups" order by "dcfs groups".k0 limit 2"#,
        ),
        (
            "select distinct label, label as again from pets",
            r#"select "dcfs groups".k0 AS "label", "dcfs groups".k0 AS "again" from "dcfs groups" "#,
        ),
        (
            "select count(distinct label), count_distinct(label) + count(label) as n from pets",
            r#"select "dcfs groups".a0 AS "count(distinct label)", "dcfs groups".a0 + "dcfs groups".a1 AS "n" from "dcfs groups" "#,
        ),
        (
            "select distinct count(*) from pets group by label",
            r#"select distinct "dcfs groups".a0 AS "count(*)" from "dcfs groups" "#,
        ),
    ];
    for (text, sql) in cases {
        let found = of(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(found.bound.sql, sql, "{text}");
    }
    let found = of("select count(distinct label), count(label) from pets").expect("groups");
    let kinds: Vec<FoldKind> = found.folds.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [FoldKind::Distinct, FoldKind::Count]);
}

#[test]
fn recognises_joins() {
    let text = "select a.label, avg(b.info.width) from pets a join pets b on a.file.stem = b.file.stem and b.label = a.label \
                where a.info.width between 1 and 5 and b.label = 'x' and not a.label = 'y' group by a.label";
    let found = of(text).expect("a join");
    let on: Vec<(&str, &str)> =
        found.on.iter().map(|(a, b)| (a.name.as_str(), b.name.as_str())).collect();
    assert_eq!(on, [("file.stem", "file.stem"), ("label", "label")]);
    let filters: Vec<Option<&str>> = found.filters.iter().map(Option::as_deref).collect();
    assert_eq!(
        filters,
        [Some("(`info.width` between 1 and 5) and (not `label` = 'y')"), Some("(`label` = 'x')"),]
    );
}

#[test]
fn recognises_outer_joins_and_tests() {
    let cases = [
        ("left join", "a.info.width > 1", Join::Left, [Some("(`info.width` > 1)"), None]),
        ("right outer join", "b.info.width > 1", Join::Right, [None, Some("(`info.width` > 1)")]),
        ("full outer join", "1 = 1", Join::Full, [None, None]),
        ("semi join", "a.info.width > 1", Join::Semi, [Some("(`info.width` > 1)"), None]),
        ("anti join", "a.info.width > 1", Join::Anti, [Some("(`info.width` > 1)"), None]),
        ("left semi join", "a.info.width > 1", Join::Semi, [Some("(`info.width` > 1)"), None]),
        ("LEFT ANTI JOIN", "a.info.width > 1", Join::Anti, [Some("(`info.width` > 1)"), None]),
    ];
    for (word, condition, join, filters) in cases {
        let condition =
            if join == Join::Full { String::new() } else { format!("where {condition}") };
        let text = format!(
            "select a.label, count(*) from pets a {word} pets b on a.label = b.label {condition} group by a.label"
        );
        let found = of(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(found.join, join, "{text}");
        let own: Vec<Option<&str>> = found.filters.iter().map(Option::as_deref).collect();
        assert_eq!(own, filters, "{text}");
    }
    let text =
        "select count(*) from pets a semi join pets b on a.label = b.label and b.info.width > 3";
    assert_eq!(of(text).expect("a join").filters[1].as_deref(), Some("(`info.width` > 3)"));
}

#[test]
fn leaves_the_rest_to_sqlite() {
    for text in [
        "select label from pets",
        "select label, info.width, count(*) from pets group by label",
        "select sum(distinct info.width) from pets",
        "select distinct lower(label) from pets",
        "select distinct label from pets order by info.width",
        "select distinct label from pets having label > 'a'",
        "select distinct label, count(*) from pets",
        "select distinct * from pets",
        "select count(*) from pets where label is not distinct from 'a'",
        "select label, count(*) over () from pets group by label",
        "select count(*) from pets where day > '2024-01-01'",
        "select count(*) from pets where lower(label) = 'a'",
        "select lower(label), count(*) from pets group by lower(label)",
        "select median(info.width) from pets",
        "select sum(label) from pets",
        "select count(*) from pets a left join pets b on a.label = b.label where b.info.width > 3",
        "select count(*) from pets a full join pets b on a.label = b.label where a.info.width > 3",
        "select count(*) from pets a left join pets b on a.label = b.label and a.info.width > 3",
        "select count(*) from pets a cross join pets b on a.label = b.label",
        "select count(*) from pets a join pets b on a.label = b.info.width",
        "select count(*) from pets a join pets b on a.label = b.label where a.info.width > b.info.width",
        "select count(*) from (select * from pets)",
        "select tags, count(*) from pets group by tags",
    ] {
        assert!(of(text).is_err(), "{text}");
    }
}
