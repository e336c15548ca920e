//! Tests of [`super`]: types found in records, and records as rows of them.

use super::*;

use serde_json::Value as Json;

fn csv(lines: &[&[&str]]) -> Columns {
    let names: Vec<String> = (0..lines[0].len()).map(|n| format!("c{n}")).collect();
    let mut columns = Columns::default();
    for line in lines {
        columns.see(&Record::Texts(&names, &csv::StringRecord::from(line.to_vec())));
    }
    columns
}

#[test]
fn types_are_those_that_hold_all() {
    let cases: [(&[&str], &str); 12] = [
        (&["1", "-2"], "int"),
        (&["1", "2.5"], "float"),
        (&["1", ""], "Optional[int]"),
        (&["007", "1"], "str"),
        (&["true", "False"], "bool"),
        (&["true", "1"], "str"),
        (&["2024-01-02", "2024-01-02T03:04:05Z"], "datetime"),
        (&["2024", "1"], "int"),
        (&["a", ""], "str"),
        (&["nan", "1"], "float"),
        (&["9223372036854775808", "1"], "float"),
        (&["", ""], "Optional[str]"),
    ];
    for (texts, want) in cases {
        let lines: Vec<Vec<&str>> = texts.iter().map(|text| vec![*text]).collect();
        let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
        assert_eq!(csv(&lines).told(), [format!("c0: {want}")], "{texts:?}");
    }
}

#[test]
fn texts_of_xml_stay_as_they_are_written() {
    let text = |text: &str| Value::Text(text.to_owned());
    let cases: [(&[&str], &str, Value); 9] = [
        (&["1", "2"], "int", Value::Int(1)),
        (&["1", "2.5"], "float", Value::Real(1.0)),
        (&["1.10", "1.10b"], "str", text("1.10")),
        (&["True", "maybe"], "str", text("True")),
        (&["True", "false"], "bool", Value::Int(1)),
        (&["nan", "n/a"], "str", text("nan")),
        (&["nan", "1"], "float", Value::Null),
        (&["007", "1"], "str", text("007")),
        (&["12345678901234567890", "x"], "str", text("12345678901234567890")),
    ];
    let record = |value: Json| -> serde_json::Map<String, Json> {
        [("a".to_owned(), value)].into_iter().collect()
    };
    for (texts, kind, first) in cases {
        let mut columns = Columns::default();
        for text in texts {
            columns.see(&Record::Untyped(&record(Json::from(*text))));
        }
        assert_eq!(columns.told(), [format!("a: {kind}")], "{texts:?}");
        let row = columns.converter().row(&Record::Untyped(&record(Json::from(texts[0]))));
        assert_eq!(row.expect("typed"), [first], "{texts:?}");
    }
    let long = record(Json::from("12345678901234567890"));
    let mut columns = Columns::default();
    columns.see(&Record::Untyped(&long));
    columns.want(&[("a".to_owned(), Scalar::Text)]).expect("a column");
    let row = columns.converter().row(&Record::Untyped(&long)).expect("typed");
    assert_eq!(row, [text("12345678901234567890")]);
    for (items, kind, want) in [
        (["1", "2"], "list[int]", "[1,2]"),
        (["1", "2.5"], "list[float]", "[1.0,2.5]"),
        (["true", "False"], "list[bool]", "[true,false]"),
        (["1", "x"], "list[str]", r#"["1","x"]"#),
        (["1", "nan"], "list[str]", r#"["1","nan"]"#),
    ] {
        let list = record(Json::from(items.to_vec()));
        let mut columns = Columns::default();
        columns.see(&Record::Untyped(&list));
        assert_eq!(columns.told(), [format!("a: {kind}")]);
        assert_eq!(columns.converter().row(&Record::Untyped(&list)).expect("typed"), [text(want)]);
    }
}

#[test]
fn objects_become_models() {
    let mut columns = Columns::default();
    let records = [
        r#"{"id": 1, "box": {"x": 1, "y": 2.5}, "tags": ["a"], "odd": [1, "b", null]}"#,
        r#"{"id": 2, "box": null, "tags": [], "odd": {"z": 1}, "new": true}"#,
    ];
    let records: Vec<serde_json::Map<String, Json>> =
        records.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    records.iter().for_each(|record| columns.see(&Record::Json(record)));
    let want = [
        "id: int",
        "box: Optional[{x: int, y: float}]",
        "tags: list[str]",
        "odd: str",
        "new: Optional[bool]",
    ];
    assert_eq!(columns.told(), want);
    let row = columns.converter().row(&Record::Json(&records[1])).expect("typed");
    let text = |text: &str| Value::Text(text.to_owned());
    let want = [
        Value::Int(2),
        Value::Int(1),
        Value::Null,
        Value::Null,
        text("[]"),
        text(r#"{"z":1}"#),
        Value::Int(1),
    ];
    assert_eq!(row, want);
}

#[test]
fn types_go_on_from_what_is_remembered() {
    let records = [
        r#"{"id": 1, "boxes": [{"x": 1, "k": "a"}], "lines": [[1], [2.5]], "box": {"y": 1}}"#,
        r#"{"id": 2, "boxes": [{"x": 2.5}], "lines": [], "box": null}"#,
        r#"{"id": 3, "boxes": [], "lines": [[]], "box": null, "more": "2024-01-02"}"#,
    ];
    let records: Vec<serde_json::Map<String, serde_json::Value>> =
        records.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    let mut whole = Columns::default();
    records.iter().for_each(|record| whole.see(&Record::Json(record)));
    let want = [
        "id: int",
        "boxes: list[{x: float, k: str?}]",
        "lines: list[list[float]]",
        "box: Optional[{y: int}]",
        "more: Optional[datetime]",
    ];
    assert_eq!(whole.told(), want);
    let mut first = Columns::default();
    first.see(&Record::Json(&records[0]));
    first.see(&Record::Json(&records[1]));
    let text = serde_json::to_string(&first).expect("JSON");
    let mut later: Columns = serde_json::from_str(&text).expect("columns");
    assert_eq!(first.differs(&later), None);
    later.see(&Record::Json(&records[2]));
    assert_eq!(later.told(), whole.told());
    let told = ["no more", "more: Optional[datetime]"].map(str::to_owned);
    assert_eq!(first.differs(&later), Some(told));
    let row = whole.converter().row(&Record::Json(&records[1])).expect("typed");
    assert_eq!(row[1], Value::Text(r#"[{"x":2.5,"k":null}]"#.to_owned()));
}

#[test]
fn columns_of_other_headers_are_matched_by_name() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (first, second) = (names(&["a", "b", "b"]), names(&["b", "c", "a"]));
    let (one, two) = (
        csv::StringRecord::from(vec!["1", "x", "y"]),
        csv::StringRecord::from(vec!["z", "2", "3"]),
    );
    let mut columns = Columns::default();
    columns.see(&Record::Texts(&first, &one));
    columns.see(&Record::Texts(&second, &two));
    assert_eq!(columns.told(), ["a: int", "b: str", "b_2: Optional[str]", "c: Optional[int]"]);
    let text = |text: &str| Value::Text(text.to_owned());
    let mut converter = columns.converter();
    for _ in 0..2 {
        let row = converter.row(&Record::Texts(&second, &two)).expect("typed");
        assert_eq!(row, [Value::Int(3), text("z"), Value::Null, Value::Int(2)]);
        let row = converter.row(&Record::Texts(&first, &one)).expect("typed");
        assert_eq!(row, [Value::Int(1), text("x"), text("y"), Value::Null]);
    }
}
