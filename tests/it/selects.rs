//! Random SELECTs over awkward values, evaluated three ways: by kernels if they support them, by SQLite over packed columns, and by
//! SQLite over the catalog's own tables. `DCFS_SELECTS` sets the number, `DCFS_SEED` which.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use dcfs_core::cell::Cell;
use dcfs_core::error::Result;
use dcfs_core::sql::GROUPS;
use dcfs_data::catalog::Catalog;
use dcfs_data::pack::{Limits as PackLimits, Packs};
use dcfs_data::sql::Limits;
use dcfs_data::sql::question::{Question, pack_of};
use dcfs_data::usage::Usage;
use rusqlite::Connection;
use rusqlite::types::Value as SqlValue;

use crate::filters::awkward;
use crate::support::catalog::CatalogBuilder;

/// A cell of an answer.
#[derive(Clone, Debug)]
enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

impl Value {
    /// Equal, except for the last digits of sums in another order.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => {
                a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
            }
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }

    /// The sort key for rows of statements without an order: keys come first, and no two rows have equal ones.
    fn key(&self) -> String {
        match self {
            Self::Real(x) => format!("{x:.6e}"),
            other => format!("{other:?}"),
        }
    }
}

type Rows = Vec<Vec<Value>>;

/// Pseudo-random numbers from a fixed seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below as u64) as usize
    }

    fn of<'t>(&mut self, some: &[&'t str]) -> &'t str {
        some[self.next(some.len())]
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.next(one_in) == 0
    }

    fn some(&mut self, of: &[&str], most: usize) -> Vec<String> {
        let mut left: Vec<&str> = of.to_vec();
        let count = self.next(most + 1);
        (0..count).map(|_| left.swap_remove(self.next(left.len())).to_owned()).collect()
    }
}

/// The columns with the same name in both databases.
const KEYS: [&str; 9] = ["n", "m", "x", "y", "s", "t", "b", "c", "w"];
/// Columns for sums: sums of 64-bit integers overflow in one order and not in another.
const NUMBERS: [&str; 4] = ["x", "y", "b", "c"];
const CONDITIONS: [&str; 22] = [
    "n > 0",
    "n <= 9007199254740993",
    "m = 9007199254740992",
    "m is null",
    "x < 0.5",
    "x >= 9007199254740992.0",
    "y is not null",
    "y in (0.0, 0.5, 1e300)",
    "s = 'a'",
    "s <> ''",
    "s like 'a%'",
    "t like '%g'",
    "t glob '[ap]*'",
    "t is null",
    "s > 'Pug'",
    "b = 1",
    "c <> 1",
    "n between -1 and 7",
    "not x between 0 and 400",
    "s in ('pug', 'Pug', 'a_b')",
    "1 = 0",
    "n = m",
];

fn condition(draw: &mut Draw, table: &str) -> String {
    let mut text = draw.of(&CONDITIONS).to_owned();
    if !table.is_empty() {
        text = text
            .split(' ')
            .map(|word| if KEYS.contains(&word) { format!("{table}.{word}") } else { word.into() })
            .collect::<Vec<_>>()
            .join(" ");
    }
    match draw.next(4) {
        0 => format!("{text} and {}", condition(draw, table)),
        1 if draw.is(2) => format!("({text} or {})", condition(draw, table)),
        2 if draw.is(3) => format!("not ({text})"),
        _ => text,
    }
}

fn folds(draw: &mut Draw, table: &str) -> Vec<String> {
    let mut folds: Vec<String> = (0..1 + draw.next(3))
        .map(|_| {
            let folds = ["sum(", "avg(", "min(", "max(", "count(", "count(distinct "];
            let fold = draw.of(&folds);
            let is_sum = matches!(fold, "sum(" | "avg(");
            let of = if is_sum { draw.of(&NUMBERS) } else { draw.of(&KEYS) };
            format!("{fold}{table}{of})")
        })
        .collect();
    folds.push("count(*)".into());
    folds
}

/// A statement.
struct Select {
    text: String,
    /// The same for the catalog's database, if SQLite does not know the statement.
    theirs: Option<String>,
    /// Whether its rows are fully ordered.
    is_ordered: bool,
}

fn statement(draw: &mut Draw) -> Select {
    if draw.is(3) {
        return joined(draw);
    }
    let (text, is_ordered) = if draw.is(4) { plain(draw) } else { grouped(draw) };
    Select { text, theirs: None, is_ordered }
}

/// A statement over different rows, and whether they are fully ordered.
fn distinct(draw: &mut Draw) -> (String, bool) {
    let mut keys = draw.some(&KEYS, 3);
    if keys.is_empty() {
        keys.push("s".into());
    }
    let mut text = format!("select distinct {} from a", keys.join(", "));
    if draw.is(2) {
        text += &format!(" where {}", condition(draw, ""));
    }
    let is_ordered = draw.is(2);
    if is_ordered {
        text += &format!(" order by {} limit {}", keys.join(", "), draw.next(9));
    }
    (text, is_ordered)
}

/// A statement over groups, and whether its rows are fully ordered.
fn grouped(draw: &mut Draw) -> (String, bool) {
    if draw.is(6) {
        return distinct(draw);
    }
    let keys = draw.some(&KEYS, 3);
    let mut items = [keys.clone(), folds(draw, "")].concat();
    // Columns convert what they are compared with, also as keys of groups.
    let converts = (!keys.is_empty() && draw.is(3))
        .then(|| format!("{} = {}", keys[0], draw.of(&["'7'", "'1'", "'0.5'", "7", "0"])));
    items.extend(converts.clone());
    let mut text = format!("select {} from a", items.join(", "));
    if draw.is(2) {
        text += &format!(" where {}", condition(draw, ""));
    }
    if !keys.is_empty() {
        text += &format!(" group by {}", keys.join(", "));
        if let (Some(converts), true) = (converts, draw.is(3)) {
            text += &format!(" having {converts}");
        } else if draw.is(3) {
            text += draw.of(&[
                " having count(*) > 3",
                " having max(n) > 0",
                " having sum(x) is not null",
            ]);
        }
    }
    if draw.is(3) && !keys.is_empty() {
        let directions: Vec<String> =
            keys.iter().map(|key| format!("{key} {}", draw.of(&["asc", "desc"]))).collect();
        text += &format!(" order by {} limit {}", directions.join(", "), draw.next(9));
        return (text, true);
    }
    (text, false)
}

fn joined(draw: &mut Draw) -> Select {
    let on = draw.of(&[
        "a.s = b.s",
        "a.n = b.n",
        "a.t = b.t",
        "a.s = b.t",
        "a.n = b.m",
        "a.s = b.s and a.n = b.n",
        "a.w = b.w",
    ]);
    let kind = draw.of(&[
        "join",
        "join",
        "join",
        "left join",
        "right join",
        "full join",
        "semi join",
        "anti join",
        "left semi join",
        "left anti join",
    ]);
    // A test shows nothing of its second table.
    let is_test = kind.contains("semi") || kind.contains("anti");
    let (keys, side) = match is_test {
        true => (draw.some(&["a.s", "a.n", "a.c"], 2), "a."),
        false => {
            let keys = draw.some(&["a.s", "b.t", "a.n", "b.b", "a.c", "b.m"], 2);
            (keys, draw.of(&["a.", "b."]))
        }
    };
    let select = format!("select {} from a", [keys.clone(), folds(draw, side)].concat().join(", "));
    let mut conditions = Vec::new();
    if draw.is(2) {
        conditions.push(condition(draw, "a"));
    }
    if !is_test && draw.is(3) {
        conditions.push(condition(draw, "b"));
    }
    let filter = |conditions: &[String]| match conditions.is_empty() {
        true => String::new(),
        false => format!(" where {}", conditions.join(" and ")),
    };
    let group = match keys.is_empty() {
        true => String::new(),
        false => format!(" group by {}", keys.join(", ")),
    };
    let text = format!("{select} {kind} b on {on}{}{group}", filter(&conditions));
    let theirs = is_test.then(|| {
        let not = if kind.contains("anti") { "not " } else { "" };
        conditions.push(format!("{not}exists (select 1 from b where {on})"));
        format!("{select}{}{group}", filter(&conditions))
    });
    Select { text, theirs, is_ordered: false }
}

/// Statements that kernels do not support: rows, windows, sets, subqueries.
fn plain(draw: &mut Draw) -> (String, bool) {
    let condition = condition(draw, "");
    let text = match draw.next(7) {
        0 => {
            let keys = draw.some(&KEYS, 4).join(", ");
            let keys = if keys.is_empty() { "n".into() } else { keys };
            return (
                format!(
                    "select sys__id, {keys} from a where {condition} order by {} desc, sys__id limit 20",
                    draw.of(&KEYS)
                ),
                true,
            );
        }
        1 => format!("select distinct {} + 1, s from a where {condition}", draw.of(&NUMBERS)),
        2 => format!(
            "select sys__id, row_number() over (partition by s order by sys__id) from a where {condition}"
        ),
        3 => format!("select sys__id, n from a where s in (select t from b where {condition})"),
        4 => format!(
            "select sys__id from a where {condition} union select sys__id from b where n > 0"
        ),
        5 => format!(
            "select a.sys__id from a where exists (select 1 from b where b.s = a.s and b.n > a.n) and {condition}"
        ),
        _ => format!(
            "select a.sys__id from a where not exists (select 1 from b where b.s = a.s) and {condition}"
        ),
    };
    (text, false)
}

struct Fixture {
    _home: tempfile::TempDir,
    catalog: Arc<Catalog>,
    packs: Packs,
    db: Connection,
}

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let writer = CatalogBuilder::new(home.path());
        let tables =
            [("a", awkward(&writer, "a", 420, false)), ("b", awkward(&writer, "b", 90, true))];
        let db = Connection::open(writer.path()).expect("the database");
        db.pragma_update(None, "case_sensitive_like", true).expect("a pragma");
        for (name, key) in tables {
            let table = writer.table(key);
            let view = format!("CREATE TEMP VIEW {name} AS SELECT * FROM \"{table}\"");
            db.execute_batch(&view).expect("a view");
        }
        let catalog = Arc::new(Catalog::open(writer.path()).expect("a catalog"));
        let packs = Packs::new(catalog.clone(), home.path().join("cache"), PackLimits::default());
        Self { _home: home, catalog, packs, db }
    }

    /// The result, and whether kernels computed it.
    fn ours(&self, text: &str, by_kernels: bool) -> Result<(Rows, bool)> {
        self.within(Limits::default(), text, by_kernels)
    }

    fn within(&self, limits: Limits, text: &str, by_kernels: bool) -> Result<(Rows, bool)> {
        let question = Question::read(&self.catalog, Usage::off(), text)?;
        let packs = |of: &_| pack_of(&self.packs, of);
        let (mut engine, bound) = question.engine(&packs, limits, by_kernels, &|_| {})?;
        // Kernels leave a statement over their groups.
        let is_grouped = bound.sql.contains(GROUPS);
        let mut rows = Rows::new();
        engine.prepare(bound)?.rows(&mut |cells| {
            let value = |cell: &Cell<'_>| match cell {
                Cell::Null => Value::Null,
                Cell::Integer(n) => Value::Int(*n),
                Cell::Real(x) => Value::Real(*x),
                Cell::Text(text) | Cell::Blob(text) => {
                    Value::Text(String::from_utf8_lossy(text).into_owned())
                }
            };
            rows.push(cells.iter().map(value).collect());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((rows, is_grouped))
    }

    fn theirs(&self, text: &str) -> rusqlite::Result<Rows> {
        let mut statement = self.db.prepare(text)?;
        let count = statement.column_count();
        let rows = statement.query_map([], |row| {
            let value = |at| {
                Ok(match row.get(at)? {
                    SqlValue::Null => Value::Null,
                    SqlValue::Integer(n) => Value::Int(n),
                    SqlValue::Real(x) => Value::Real(x),
                    SqlValue::Text(text) => Value::Text(text),
                    SqlValue::Blob(_) => Value::Text("a blob".into()),
                })
            };
            (0..count).map(value).collect()
        })?;
        rows.collect()
    }
}

fn sorted(mut rows: Rows, is_ordered: bool) -> Rows {
    if !is_ordered {
        rows.sort_by_cached_key(|row| row.iter().map(Value::key).collect::<Vec<_>>());
    }
    rows
}

fn agree(one: &[Vec<Value>], other: &[Vec<Value>]) -> bool {
    let are = |a: &Vec<Value>, b: &Vec<Value>| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b))
    };
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| are(a, b))
}

#[test]
fn random_selects_say_the_same_three_ways() {
    let said = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u32>().unwrap_or_else(|wrong| panic!("{name}={text}: {wrong}")))
    };
    let count = said("DCFS_SELECTS").unwrap_or(2000);
    let fixture = Fixture::new();
    let mut draw = Draw(said("DCFS_SEED").unwrap_or(17).into());
    let (mut by_kernels, mut outer, mut tests) = (0, 0, 0);
    for _ in 0..count {
        let Select { text, theirs, is_ordered } = statement(&mut draw);
        let plain = theirs.as_deref().unwrap_or(&text);
        let (kernels, is_grouped) = match fixture.ours(&text, true) {
            Ok(answer) => answer,
            Err(error) => {
                // A sum that overflows does so everywhere.
                let message = error.to_string();
                assert!(message.contains("integer overflow"), "{text}: {message}");
                assert!(fixture.ours(&text, false).is_err(), "{text}: SQLite adds it up");
                assert!(fixture.theirs(plain).is_err(), "{text}: the catalog adds it up");
                continue;
            }
        };
        by_kernels += u32::from(is_grouped);
        let is_outer =
            ["left join", "right join", "full join"].iter().any(|kind| text.contains(kind));
        outer += u32::from(is_grouped && is_outer);
        tests += u32::from(is_grouped && theirs.is_some());
        let kernels = sorted(kernels, is_ordered);
        let sqlite = fixture.ours(&text, false).unwrap_or_else(|error| panic!("{text}: {error}"));
        let sqlite = sorted(sqlite.0, is_ordered);
        assert!(agree(&kernels, &sqlite), "{text}\nkernels {kernels:?}\nSQLite  {sqlite:?}");
        let theirs = fixture.theirs(plain).unwrap_or_else(|error| panic!("{text}: {error}"));
        let theirs = sorted(theirs, is_ordered);
        assert!(agree(&kernels, &theirs), "{text}\nours    {kernels:?}\ncatalog {theirs:?}");
    }
    assert!(by_kernels > count / 3, "{by_kernels} of {count} by kernels");
    assert!(outer > count / 100 && tests > count / 100, "{outer} outer joins, {tests} tests");
}

#[test]
fn a_join_with_too_many_pairs_is_left_to_sqlite() {
    let fixture = Fixture::new();
    let few = Limits { pairs: 1, ..Limits::default() };
    let text = "select a.s, count(*) from a join b on a.s = b.s group by a.s";
    let (rows, is_grouped) = fixture.ours(text, true).expect("sound");
    let (same, is_still) = fixture.within(few, text, true).expect("sound");
    assert!(is_grouped && !is_still);
    assert!(agree(&sorted(rows, false), &sorted(same, false)));
}

#[test]
fn kernels_keep_to_the_deadline_of_the_caller() {
    let fixture = Fixture::new();
    let late = Limits { until: Some(Instant::now()), ..Limits::default() };
    for text in [
        "select count(*) from a join b on a.s = b.s",
        "select s, count(*) from a group by s",
        "select count(*) from a, b where a.n > b.n",
    ] {
        let error = fixture.within(late, text, true).map(drop).expect_err(text).to_string();
        assert!(error.contains("longer than"), "{text}: {error}");
    }
}
