//! Written files are read back with the crate's own row reader: levels, NULLs, and a stranger's
//! cells.

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use dcfs_core::cell::Cell;
use dcfs_core::id::RowId;
use dcfs_core::render::rows::Beside;
use dcfs_core::schema::Schema;

fn plan(features: &str, columns: &[&str]) -> Plan {
    let table: Vec<_> = columns.iter().map(|name| ((*name).into(), String::new())).collect();
    let schema = Schema::parse(features, "", &table).expect("a schema");
    Plan::new(&schema, &[], Beside { path: false, id: true }).expect("a plan")
}

/// The rows as the reader prints them, and the number of cells that could not be converted.
fn round_trip(plan: &Plan, rows: &[&[Cell<'_>]]) -> (Vec<String>, u64) {
    let mut group = Group::new(&plan.columns);
    for (number, row) in (1..).zip(rows) {
        group.push(&plan.nodes, RowId::new(number), &[], row);
    }
    let lost = group.lost;
    let (full, groups) = sync_channel(1);
    full.send(group).expect("room");
    drop(full);
    let mut file = Vec::new();
    encode(plan.root.clone(), groups, &mut file).expect("encoded");
    let reader = SerializedFileReader::new(bytes::Bytes::from(file)).expect("Parquet");
    let rows = reader.get_row_iter(None).expect("rows");
    (rows.map(|row| row.expect("a row").to_string()).collect(), lost)
}

fn check(features: &str, columns: &[&str], cases: &[(&[Cell<'_>], &str)], lost: u64) {
    let plan = plan(features, columns);
    let rows: Vec<&[Cell<'_>]> = cases.iter().map(|(row, _)| *row).collect();
    let (found, found_lost) = round_trip(&plan, &rows);
    for (number, ((_, want), found)) in (1..).zip(cases.iter().zip(found)) {
        assert_eq!(found, format!("{{{want}, sys__id: {number}}}"));
    }
    assert_eq!(found_lost, lost);
}

#[test]
fn lists_nest_with_nulls_at_every_level() {
    let cases: [(&[Cell<'_>], &str); 9] = [
        (&[Cell::Null], "a: null"),
        (&[Cell::Text(b"[]")], "a: []"),
        (&[Cell::Text(b"[null]")], "a: [null]"),
        (&[Cell::Text(b"[[]]")], "a: [[]]"),
        (&[Cell::Text(b"[[1, 2],[3],null,[],[null,4]]")], "a: [[1, 2], [3], null, [], [null, 4]]"),
        (&[Cell::Text(b"[1,[\"x\"],[2.5]]")], "a: [null, [null], [null]]"),
        (&[Cell::Text(b"{}")], "a: null"),
        (&[Cell::Integer(7)], "a: null"),
        (&[Cell::Text(b"[[9223372036854775807]]")], "a: [[9223372036854775807]]"),
    ];
    check(r#"{"a":"list[list[int]]"}"#, &["a"], &cases, 5);
}

#[test]
fn models_are_groups_that_may_be_absent() {
    let features =
        r#"{"m":"Optional[M]","_custom_types":{"M":{"x":"int","n":"N"},"N":{"l":"list[str]"}}}"#;
    let columns = ["m___type_tag", "m__x", "m__n__l"];
    let tag = Cell::Integer(0);
    let cases: [(&[Cell<'_>], &str); 4] = [
        (&[tag, Cell::Integer(1), Cell::Text(b"[\"a\\/b\"]")], "m: {x: 1, n: {l: [\"a/b\"]}}"),
        (&[tag, Cell::Null, Cell::Null], "m: {x: null, n: {l: null}}"),
        (&[Cell::Integer(1), Cell::Null, Cell::Null], "m: null"),
        (&[Cell::Null, Cell::Integer(1), Cell::Text(b"[]")], "m: null"),
    ];
    check(features, &columns, &cases, 0);
}

#[test]
fn lists_of_models_are_lists_of_groups() {
    let features = r#"{"ps":"list[P]","_custom_types":{"P":{"x":"int","tags":"list[str]"}}}"#;
    let cases: [(&[Cell<'_>], &str); 4] = [
        (
            &[Cell::Text(b"[{\"tags\":[\"a\"],\"x\":1},{\"y\":2},null]")],
            "ps: [{x: 1, tags: [\"a\"]}, {x: null, tags: null}, null]",
        ),
        (&[Cell::Text(b"[\"{\\\"x\\\":5,\\\"tags\\\":[]}\"]")], "ps: [{x: 5, tags: []}]"),
        (&[Cell::Text(b"[\"no\", 7]")], "ps: [null, null]"),
        (&[Cell::Text(b"[")], "ps: null"),
    ];
    check(features, &["ps"], &cases, 3);
}

#[test]
fn a_strangers_cell_is_kept_where_nothing_is_lost() {
    let features = r#"{"b":"bool","i":"int","f":"float","s":"str"}"#;
    let columns = ["b", "i", "f", "s"];
    let cases: [(&[Cell<'_>], &str); 4] = [
        (
            &[Cell::Integer(1), Cell::Integer(i64::MIN), Cell::Integer(2), Cell::Integer(7)],
            "b: true, i: -9223372036854775808, f: 2.0, s: \"7\"",
        ),
        (
            &[Cell::Integer(2), Cell::Real(0.5), Cell::Text(b"1"), Cell::Real(0.5)],
            "b: null, i: null, f: null, s: \"0.5\"",
        ),
        (
            &[Cell::Text(b"true"), Cell::Text(b"1"), Cell::Real(0.1), Cell::Text(b"\xff")],
            "b: null, i: null, f: 0.1, s: \"\u{fffd}\"",
        ),
        (&[], "b: null, i: null, f: null, s: null"),
    ];
    check(features, &columns, &cases, 5);
}
