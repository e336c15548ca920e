//! Filters against the equivalent SQL: random ones over awkward values, evaluated by dcfs over packed columns
//! and by SQLite itself.

use std::sync::Arc;

use dcfs_core::expr::{self, Query};
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::{Limits, Pack, Packs};
use dcfs_data::query::{Queries, Selected, Version};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::catalog::{CatalogBuilder, Cell, file, row};

const INTS: [i64; 12] =
    [0, 1, -1, 2, 7, 400, -400, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN, i64::MIN + 1];
const REALS: [f64; 12] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    -2.5,
    400.0,
    9007199254740992.0,
    9.3e18,
    1e300,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.1,
];
const TEXTS: [&str; 14] = [
    "",
    "a",
    "A",
    "ab",
    "aB",
    "Pug",
    "pug",
    "\u{e9}t\u{e9}",
    "\u{c9}T\u{c9}",
    "a%b",
    "a_b",
    "x\0y",
    "[a]",
    "two words",
];
const TIMES: [&str; 5] = [
    "2024-01-02 03:04:05.123456",
    "2024-01-02 03:04:05.000000",
    "1969-12-31 23:59:59.500000",
    "2024-01-02 00:00:00.000000",
    "9999-12-31 23:59:59.999999",
];

/// A packed version, its catalog, and the same rows for SQLite.
pub struct Fixture {
    _home: TempDir,
    catalog: Arc<Catalog>,
    of: VersionInfo,
    schema: Schema,
    pack: Arc<Pack>,
    queries: Queries,
    db: Connection,
    table: String,
}

/// Cells for every row from pools whose sizes are coprime, so that all pairs occur.
fn cells(n: usize, unique: bool) -> Vec<Cell> {
    let text = TEXTS[n % 13 % TEXTS.len()];
    let other = if unique { format!("{text}{n}") } else { TEXTS[n / 7 % 14].to_owned() };
    let null = |every: usize, cell: Cell| if n.is_multiple_of(every) { Cell::Null } else { cell };
    vec![
        Cell::from(INTS[n % 12]),
        null(3, Cell::from(INTS[n / 5 % 12])),
        Cell::from(REALS[n / 11 % 12]),
        null(4, Cell::from(REALS[n % 11])),
        Cell::from(text),
        null(5, Cell::from(other)),
        Cell::from((n % 2) as i64),
        null(7, Cell::from((n / 3 % 2) as i64)),
        null(6, Cell::from(TIMES[n / 2 % 5])),
    ]
}

fn fixture(count: usize, unique: bool) -> Fixture {
    let home = tempfile::tempdir().expect("a folder");
    let writer = CatalogBuilder::new(home.path());
    let key = awkward(&writer, "a", count, unique);
    opened(home, &writer, key)
}

/// Saves a version of so many rows of awkward values.
pub fn awkward(writer: &CatalogBuilder, name: &str, count: usize, unique: bool) -> i64 {
    let rows = (0..count).map(|n| {
        let folder = ["a", "ab", "a/b", ".a", "A", "a%b"][n % 6];
        let path = format!("{folder}/{}{n}.tar.gz", if n % 2 == 0 { "." } else { "" });
        cells(n, unique)
            .into_iter()
            .fold(row().file(file("s3://b", path)), |row, cell| row.cell(cell))
    });
    let version = writer.dataset(name).version("1.0.0").file_column("file");
    version
        .column("n", "INTEGER", "int")
        .column("m", "INTEGER", "Optional[int]")
        .column("x", "FLOAT", "float")
        .column("y", "FLOAT", "Optional[float]")
        .column("s", "VARCHAR", "str")
        .column("t", "VARCHAR", "Optional[str]")
        .column("b", "BOOLEAN", "bool")
        .column("c", "BOOLEAN", "Optional[bool]")
        .column("w", "DATETIME", "Optional[datetime]")
        .rows(rows)
        .save()
}

/// The one version of a catalog, packed.
pub fn opened(home: TempDir, writer: &CatalogBuilder, key: i64) -> Fixture {
    let table = writer.table(key);
    let catalog = Arc::new(Catalog::open(writer.path()).expect("a catalog"));
    let of = catalog.versions().expect("versions").remove(0);
    let packs = Packs::new(catalog.clone(), home.path().join("cache"), Limits::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let pack = runtime.block_on(packs.get(&of)).expect("a pack");
    let schema = catalog.schema(&of).expect("a schema");
    let db = Connection::open(writer.path()).expect("the database");
    db.pragma_update(None, "case_sensitive_like", true).expect("a pragma");
    let queries = Queries::default();
    Fixture { _home: home, catalog, of, schema, pack, queries, db, table }
}

impl Fixture {
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub fn check(&self, text: &str) -> Query {
        expr::check(text, &self.schema).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_select(&self, query: &Query) -> dcfs_core::error::Result<Selected> {
        let version =
            Version { catalog: &self.catalog, of: &self.of, pack: &self.pack, each: &|_| {} };
        self.queries.select(version, query, None)
    }

    pub fn select(&self, text: &str) -> Selected {
        self.try_select(&self.check(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub fn ours(&self, text: &str) -> Vec<i64> {
        let rows = self.select(text).rows;
        let ids = self.pack.ids().expect("a whole pack");
        rows.iter().map(|row| ids.get(row).expect("a row").key()).collect()
    }

    fn sqlite(&self, sql: &str) -> Vec<i64> {
        let text = format!("SELECT sys__id FROM \"{}\" WHERE {sql} ORDER BY sys__id", self.table);
        let mut statement = self.db.prepare(&text).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let ids = statement.query_map([], |row| row.get(0)).expect("rows");
        ids.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A filter and the SQL that it equals.
    pub fn agrees_with(&self, ours: &str, sql: &str) {
        self.agrees(&self::both(ours, sql));
    }

    fn agrees(&self, both: &Both) {
        let (ours, theirs) = (self.ours(&both.ours), self.sqlite(&both.sql));
        let only = |a: &[i64], b: &[i64]| -> Vec<i64> {
            a.iter().filter(|id| !b.contains(id)).take(5).copied().collect()
        };
        assert!(
            ours == theirs,
            "{}\n{}\nonly ours {:?}, only SQLite's {:?}",
            both.ours,
            both.sql,
            only(&ours, &theirs),
            only(&theirs, &ours)
        );
    }
}

/// A part of a filter in both languages.
#[derive(Clone, Debug)]
struct Both {
    ours: String,
    sql: String,
}

fn both(ours: impl Into<String>, sql: impl Into<String>) -> Both {
    Both { ours: ours.into(), sql: sql.into() }
}

fn joined(sign: &str, a: Both, b: Both) -> Both {
    both(format!("({} {sign} {})", a.ours, b.ours), format!("({} {sign} {})", a.sql, b.sql))
}

fn quoted(text: &str) -> Both {
    both(format!("\"{}\"", text.replace('"', "\"\"")), format!("'{}'", text.replace('\'', "''")))
}

fn real(x: f64) -> String {
    if x.is_infinite() {
        format!("{}1e999", if x < 0.0 { "-" } else { "" })
    } else {
        format!("{x:?}")
    }
}

fn number() -> impl Strategy<Value = Both> {
    let plain = |text: &'static str| Just(both(text, text));
    let leaf = prop_oneof![
        4 => prop_oneof![plain("n"), plain("m"), plain("x"), plain("y"), plain("sys__id")],
        2 => prop::sample::select(&INTS[..]).prop_map(|n| both(n.to_string(), n.to_string())),
        2 => prop::sample::select(&REALS[..]).prop_map(|x| both(real(x), real(x))),
        1 => text_leaf().prop_map(|t| both(format!("length({})", t.ours), format!("length({})", t.sql))),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let call = |names: &'static [(&'static str, &'static str)], inner: BoxedStrategy<Both>| {
            (prop::sample::select(names), inner.clone(), inner).prop_map(|((ours, sql), a, b)| {
                both(
                    format!("{ours}({}, {})", a.ours, b.ours),
                    format!("{sql}({}, {})", a.sql, b.sql),
                )
            })
        };
        prop_oneof![
            4 => (prop::sample::select(vec!["+", "-", "*", "%"]), inner.clone(), inner.clone())
                .prop_map(|(sign, a, b)| joined(sign, a, b)),
            1 => inner.clone().prop_map(|a| both(format!("-({})", a.ours), format!("-({})", a.sql))),
            1 => inner.clone().prop_map(|a| both(format!("round({}, 1)", a.ours), format!("round({}, 1)", a.sql))),
            2 => call(&[("greatest", "max"), ("least", "min"), ("coalesce", "coalesce")], inner.boxed()),
        ]
    })
}

fn text_leaf() -> impl Strategy<Value = Both> {
    prop_oneof![
        3 => Just(both("s", "s")),
        3 => Just(both("t", "t")),
        1 => Just(both("file.path", "file__path")),
        2 => prop::sample::select(&TEXTS[..11]).prop_map(quoted),
    ]
}

fn text() -> impl Strategy<Value = Both> {
    text_leaf().prop_recursive(2, 5, 2, |inner| {
        prop_oneof![
            (prop::sample::select(vec!["lower", "upper"]), inner.clone())
                .prop_map(|(f, a)| both(format!("{f}({})", a.ours), format!("{f}({})", a.sql))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| joined("||", a, b)),
            (inner.clone(), inner).prop_map(|(a, b)| both(
                format!("replace({}, {}, \"z\")", a.ours, b.ours),
                format!("replace({}, {}, 'z')", a.sql, b.sql)
            )),
        ]
    })
}

fn comparison() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">=", "<>", "=="])
}

fn not(negated: bool) -> &'static str {
    if negated { "not " } else { "" }
}

fn pattern() -> impl Strategy<Value = String> {
    let parts =
        ["%", "_", "a", "A", "b", "\u{e9}", "\u{c9}", "*", "?", "[a-z]", "[^b]", "pug", "tar", "1"];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..4)
        .prop_map(|parts| parts.concat())
}

fn condition() -> impl Strategy<Value = Both> {
    let list = |item: BoxedStrategy<Both>| prop::collection::vec(item, 0..4);
    let joined_list = |items: Vec<Both>| {
        let (ours, sql): (Vec<_>, Vec<_>) = items.into_iter().map(|i| (i.ours, i.sql)).unzip();
        both(ours.join(", "), sql.join(", "))
    };
    let null = || Just(both("null", "NULL"));
    let leaf = prop_oneof![
        4 => (comparison(), number(), number()).prop_map(|(sign, a, b)| joined(sign, a, b)),
        4 => (comparison(), text(), text()).prop_map(|(sign, a, b)| joined(sign, a, b)),
        1 => (comparison(), number()).prop_map(|(sign, a)| joined(sign, a, both("null", "NULL"))),
        2 => (number(), number(), number(), any::<bool>()).prop_map(|(a, b, c, n)| both(
            format!("({} {}between {} and {})", a.ours, not(n), b.ours, c.ours),
            format!("({} {}between {} and {})", a.sql, not(n), b.sql, c.sql)
        )),
        2 => (text(), list(prop_oneof![5 => text_leaf(), 1 => null()].boxed()), any::<bool>()).prop_map(move |(a, l, n)| {
            let l = joined_list(l);
            both(format!("({} {}in ({}))", a.ours, not(n), l.ours), format!("({} {}in ({}))", a.sql, not(n), l.sql))
        }),
        2 => (number(), list(prop_oneof![5 => number().boxed(), 1 => null().boxed()].boxed()), any::<bool>()).prop_map(move |(a, l, n)| {
            let l = joined_list(l);
            both(format!("({} {}in ({}))", a.ours, not(n), l.ours), format!("({} {}in ({}))", a.sql, not(n), l.sql))
        }),
        4 => (text(), prop::sample::select(vec!["like", "glob"]), pattern(), any::<bool>()).prop_map(|(a, op, p, n)| {
            let p = quoted(&p);
            both(format!("({} {}{op} {})", a.ours, not(n), p.ours), format!("({} {}{op} {})", a.sql, not(n), p.sql))
        }),
        3 => (prop::sample::select(vec!["like", "glob"]), prop::sample::select(vec!["a", "ab", "a/", "a/b/", "a/1", "a/.", ".a/", "a%b/", "", "b", "a//", "A/7"])).prop_map(|(op, prefix)| {
            let p = quoted(&format!("{prefix}{}", if op == "like" { "%" } else { "*" }));
            both(format!("(file.path {op} {})", p.ours), format!("(file__path {op} {})", p.sql))
        }),
        3 => (text(), pattern(), any::<bool>()).prop_map(|(a, p, n)| {
            let p = quoted(&p);
            both(
                format!("({} {}ilike {})", a.ours, not(n), p.ours),
                format!("(lower({}) {}like lower({}))", a.sql, not(n), p.sql)
            )
        }),
        2 => (prop_oneof![number().boxed(), text().boxed(), Just(both("w", "w")).boxed()], any::<bool>()).prop_map(|(a, n)| both(
            format!("({} is {}null)", a.ours, not(n)),
            format!("({} is {}null)", a.sql, not(n))
        )),
        2 => (comparison(), prop::sample::select(&TIMES[..])).prop_map(|(sign, time)| joined(sign, both("w", "w"), quoted(time))),
        1 => Just(both("b", "b")),
        1 => Just(both("c", "c")),
        1 => (comparison(), any::<bool>()).prop_map(|(sign, is)| joined(sign, both("c", "c"), both(is.to_string(), u8::from(is).to_string()))),
        1 => Just(both("true", "1")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let many = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            (many.clone(), any::<bool>()).prop_map(|(terms, and)| {
                let word = if and { " and " } else { " or " };
                let (ours, sql): (Vec<_>, Vec<_>) =
                    terms.into_iter().map(|t| (t.ours, t.sql)).unzip();
                both(format!("({})", ours.join(word)), format!("({})", sql.join(word)))
            }),
            inner
                .clone()
                .prop_map(|a| both(format!("(not {})", a.ours), format!("(not {})", a.sql))),
            (comparison(), inner.clone(), inner).prop_map(|(sign, a, b)| joined(sign, a, b)),
        ]
    })
}

#[test]
fn filters_select_what_sql_selects() {
    let fixture = fixture(700, false);
    let config = ProptestConfig { cases: 1500, max_shrink_iters: 300, ..ProptestConfig::default() };
    proptest!(config, |(filter in condition())| fixture.agrees(&filter));
}

#[test]
fn parts_of_datetimes_and_sizes_are_what_they_say() {
    let fixture = fixture(300, false);
    let part = |at, length| format!("CAST(substr(w, {at}, {length}) AS INTEGER)");
    let cases = [
        ("year(w) = 2024", format!("{} = 2024", part(1, 4))),
        (
            "year(w) < 2000 or hour(w) = 23",
            format!("{} < 2000 OR {} = 23", part(1, 4), part(12, 2)),
        ),
        ("month(w) in (1, 2)", format!("{} IN (1, 2)", part(6, 2))),
        ("day(w) + 1 = 3", format!("{} + 1 = 3", part(9, 2))),
        ("date(w) = \"2024-01-02\"", "substr(w, 1, 10) = '2024-01-02'".to_owned()),
        ("date(w) < \"2024-01-02\"", "substr(w, 1, 10) < '2024-01-02'".to_owned()),
        ("date(w) = date(\"1969-12-31 12:00:00\")", "substr(w, 1, 10) = '1969-12-31'".to_owned()),
        ("year(w) is null", "w IS NULL".to_owned()),
        ("n > 0.4k and n < 1KiB", "n > 400 AND n < 1024".to_owned()),
        ("x between 0.5 and 1kB", "x BETWEEN 0.5 AND 1000".to_owned()),
        ("n in (7, 9PB)", "n IN (7, 9000000000000000)".to_owned()),
    ];
    for (ours, sql) in cases {
        fixture.agrees(&both(ours, sql));
    }
    for (text, message) in [
        ("year(s) = 1", "expected a datetime; `s` is a string"),
        ("n > 10x", "`10x` is not a value"),
        ("year(w, 1) = 1", "call it as `year(datetime)`"),
    ] {
        let told = expr::check(text, &fixture.schema).expect_err(text).to_string();
        assert!(told.contains(message), "{text}: {told}");
    }
}

/// An integer and a real that are equal lead to different products.
#[test]
fn greatest_and_least_give_the_one_of_equals_that_sql_gives() {
    let fixture = fixture(700, false);
    for (ours, sql) in [("greatest", "max"), ("least", "min")] {
        for arguments in ["1, y", "y, 1", "1, y, 1", "1.0, n", "n, 1.0"] {
            let filter =
                |name| format!("{name}({arguments}) * 9223372036854775807 = 9223372036854775807");
            fixture.agrees(&both(filter(ours), filter(sql)));
        }
    }
}

/// Over many blocks, and with too many texts for a dictionary.
#[test]
fn long_columns_select_what_sql_selects() {
    let fixture = fixture(70_001, true);
    let config = ProptestConfig { cases: 60, max_shrink_iters: 30, ..ProptestConfig::default() };
    proptest!(config, |(filter in condition())| fixture.agrees(&filter));
}

#[test]
fn a_printed_filter_reads_back_as_the_same() {
    let fixture = fixture(3, false);
    let config = ProptestConfig { cases: 3000, ..ProptestConfig::default() };
    let tails = ["", " order by n", " order by s desc, x limit 3", " limit 2 offset 1"];
    proptest!(config, |(filter in condition(), tail in prop::sample::select(tails.to_vec()))| {
        let query = fixture.check(&format!("{}{tail}", filter.ours));
        let printed = query.to_string();
        let again = fixture.check(&printed);
        prop_assert_eq!(&again, &query, "{}", printed);
        prop_assert_eq!(again.to_string(), printed);
    });
}

/// Prefixes of paths are answered by the index if it is exact.
#[test]
fn prefixes_select_what_sql_selects() {
    let fixture = fixture(700, false);
    assert!(!fixture.ours("file.path like \"a/b/%\"").is_empty());
    assert!(!fixture.pack.folder().join("columns").exists(), "the index tells");
    for prefix in [
        "a", "ab", "a/", "a/b/", "a/1", "a/.", ".a/", "a%b/", "a%25b/", "", "b", "a//", "A/7", "%",
        "x\u{e9}",
    ] {
        for (op, many) in [("like", "%"), ("glob", "*")] {
            for (before, after) in [("", ""), ("n > 0 and ", " and b"), ("", " and c = false")] {
                let p = quoted(&format!("{prefix}{many}"));
                let after_sql = after.replace("false", "0");
                fixture.agrees(&both(
                    format!("{before}file.path {op} {}{after}", p.ours),
                    format!("{before}file__path {op} {}{after_sql}", p.sql),
                ));
            }
        }
    }
}

#[test]
fn order_is_that_of_sql() {
    let fixture = fixture(700, false);
    let cases = [
        ("order by n", "ORDER BY n, sys__id"),
        ("order by m", "ORDER BY m NULLS LAST, sys__id"),
        ("order by m desc", "ORDER BY m DESC NULLS LAST, sys__id"),
        ("order by t desc, y", "ORDER BY t DESC NULLS LAST, y NULLS LAST, sys__id"),
        ("order by s, n desc limit 17", "ORDER BY s, n DESC, sys__id LIMIT 17"),
        (
            "order by x * n desc limit 30 offset 11",
            "ORDER BY x * n DESC NULLS LAST, sys__id LIMIT 30 OFFSET 11",
        ),
        ("order by w limit 5 offset 698", "ORDER BY w NULLS LAST, sys__id LIMIT 5 OFFSET 698"),
        ("order by c desc limit 0", "ORDER BY c LIMIT 0"),
    ];
    for (ours, sql) in cases {
        let ranking = fixture.select(ours).ranking.expect("an order");
        let ids = fixture.pack.ids().expect("a whole pack");
        let rows = ranking.rows.iter().map(|ranked| ids.get(ranked.row));
        let found: Vec<i64> = rows.map(|id| id.expect("a row").key()).collect();
        let text = format!("SELECT sys__id FROM \"{}\" {sql}", fixture.table);
        let mut statement = fixture.db.prepare(&text).expect("SQL");
        let ids = statement.query_map([], |row| row.get(0)).expect("rows");
        let want: Vec<i64> = ids.collect::<Result<_, _>>().expect("ids");
        assert_eq!(found, want, "{ours}");
    }
}

#[test]
fn a_new_process_finds_what_was_kept() {
    let mut fixture = fixture(60_000, true);
    let filter = "n > 1 and t ilike \"%PUG%\"";
    let first = fixture.ours(filter);
    // Dropping it writes what is pending.
    drop(std::mem::take(&mut fixture.queries));
    let folder = fixture.pack.folder().join("filters");
    let names = || -> Vec<_> {
        std::fs::read_dir(&folder).expect("kept").flatten().map(|entry| entry.path()).collect()
    };
    assert_eq!(names().len(), 1);
    assert_eq!(fixture.ours(filter), first);
    drop(std::mem::take(&mut fixture.queries));
    // A damaged one is not used.
    std::fs::write(&names()[0], b"n > 1").expect("written");
    assert_eq!(fixture.ours(filter), first);
}

#[test]
fn a_damaged_column_is_no_wrong_answer() {
    let fixture = fixture(5000, false);
    let first = fixture.ours("n > 1");
    let columns = fixture.pack.folder().join("columns");
    let mut damaged = 0;
    for folder in std::fs::read_dir(&columns).expect("packed").flatten() {
        let path = folder.path().join("values");
        let mut bytes = std::fs::read(&path).expect("a column");
        bytes[17] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        damaged += 1;
    }
    assert!(damaged > 0);
    // Another process opens the file; this one has it mapped.
    let columns: Vec<String> =
        fixture.schema.files.iter().filter(|f| f.is_listed()).map(|f| f.name.clone()).collect();
    assert_eq!(columns, ["file"]);
    let packs =
        Packs::new(fixture.catalog.clone(), fixture._home.path().join("cache"), Limits::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let pack = runtime.block_on(packs.get(&fixture.of)).expect("a pack");
    let fixture = Fixture { pack, queries: Queries::default(), ..fixture };
    assert_eq!(fixture.ours("n > 1"), first, "packed anew");
}

#[test]
fn a_regular_expression_without_end_is_an_error() {
    let fixture = fixture(500, false);
    let long = "a".repeat(3000);
    let query = fixture.check(&format!("(\"{long}\" || s) regexp \"(a+)+\\1b(?=c)\""));
    let error = fixture.try_select(&query).expect_err("too many steps").to_string();
    assert!(error.contains("backtracks too much"), "{error}");
}
