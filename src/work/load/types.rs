//! Infers types that hold all values, and converts records to rows of these types.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::records::Record;
use dcfs_core::cell::Cell;
use dcfs_core::name::nearest;
use dcfs_core::schema::{Scalar, Signal, SignalKind, plain_name, signature};
use dcfs_core::time::Timestamp;

/// The deepest nesting for which objects become models; deeper ones stay JSON.
const DEEPEST: usize = 8;

/// The kinds of values seen in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    null: bool,
    bool: bool,
    int: bool,
    float: bool,
    time: bool,
    text: bool,
    object: bool,
    list: bool,
}

impl Kinds {
    /// The type that holds all values that are neither lists nor objects.
    fn scalar(self) -> Scalar {
        match (self.text, self.bool, self.time, self.float, self.int) {
            (true, ..) => Scalar::Text,
            (_, true, false, false, false) => Scalar::Bool,
            (_, false, true, false, false) => Scalar::Time,
            (_, false, false, true, _) => Scalar::Float,
            (_, false, false, false, true) => Scalar::Int,
            _ => Scalar::Text,
        }
    }

    fn has_scalars(self) -> bool {
        self.bool || self.int || self.float || self.time || self.text
    }

    /// Adds the kinds of more values.
    fn add(&mut self, other: Self) {
        self.null |= other.null;
        self.bool |= other.bool;
        self.int |= other.int;
        self.float |= other.float;
        self.time |= other.time;
        self.text |= other.text;
        self.object |= other.object;
        self.list |= other.list;
    }
}

/// One column, or one field of a model.
#[derive(Clone, Debug)]
struct Column {
    /// The name in the file, and the name of the signal.
    key: String,
    name: String,
    kinds: Kinds,
    /// The number of records that had it.
    seen: u64,
    /// The fields of objects.
    fields: Vec<Column>,
    /// The items of lists.
    items: Kinds,
    wanted: Option<Scalar>,
}

/// The columns of a file.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    columns: Vec<Column>,
    rows: u64,
}

/// An owned cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

/// A value that is not of the requested type.
#[derive(Debug)]
pub struct Odd {
    pub column: String,
    pub value: String,
    pub wanted: &'static str,
}

impl Value {
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Int(n) => Cell::Integer(*n),
            Self::Real(x) => Cell::Real(*x),
            Self::Text(text) => Cell::Text(text.as_bytes()),
        }
    }
}

/// The kind of a text in CSV or XML.
fn kind_of(text: &str) -> Kinds {
    let mut kinds = Kinds::default();
    let flag = match text {
        "" => &mut kinds.null,
        _ if is_whole(text) => &mut kinds.int,
        _ if is_real(text) => &mut kinds.float,
        _ if truth(text).is_some() => &mut kinds.bool,
        _ if is_time(text) => &mut kinds.time,
        _ => &mut kinds.text,
    };
    *flag = true;
    kinds
}

/// A 64-bit integer. One with a leading zero is a name: `007`.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    !is_padded && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn is_real(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_padded =
        digits.len() > 1 && digits.starts_with('0') && !digits[1..].starts_with(['.', 'e', 'E']);
    let is_named = ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name));
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    !is_padded && (is_named || is_number) && text.parse::<f64>().is_ok()
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A date, or a date with time; a year alone is a number.
fn is_time(text: &str) -> bool {
    text.len() >= 10
        && text.starts_with(|c: char| c.is_ascii_digit())
        && Timestamp::parse(text).is_some()
}

impl Column {
    fn new(key: &str, names: &mut HashSet<String>) -> Self {
        let plain = plain_name(key);
        let mut name = plain.clone();
        for number in 2.. {
            if names.insert(name.to_lowercase()) {
                break;
            }
            name = format!("{plain}_{number}");
        }
        Self {
            key: key.to_owned(),
            name,
            kinds: Kinds::default(),
            seen: 0,
            fields: Vec::new(),
            items: Kinds::default(),
            wanted: None,
        }
    }

    fn see(&mut self, json: &Json, texts: Texts, depth: usize) {
        self.seen += 1;
        self.kinds.add(kinds_of(json, texts));
        match json {
            Json::Object(fields) if depth < DEEPEST => {
                see_fields(&mut self.fields, fields, texts, depth);
            }
            Json::Object(_) => self.kinds.text = true,
            Json::Array(items) => {
                items.iter().for_each(|item| self.items.add(item_kinds(item, texts)));
            }
            _ => {}
        }
    }

    /// The kind of the signal.
    fn kind(&self) -> SignalKind {
        if let Some(wanted) = self.wanted {
            return SignalKind::Scalar(wanted);
        }
        let (kinds, items) = (self.kinds, self.items);
        match (kinds.object, kinds.list, kinds.has_scalars()) {
            (true, false, false) if !self.fields.is_empty() => SignalKind::Model(self.signals()),
            (false, true, false) if !(items.object || items.list || items.null) => {
                SignalKind::list_of(items.scalar())
            }
            (false, false, _) => SignalKind::Scalar(kinds.scalar()),
            // Mixed kinds: stored as JSON text.
            _ => SignalKind::Scalar(Scalar::Text),
        }
    }

    fn signals(&self) -> Vec<Signal> {
        self.fields
            .iter()
            .map(|field| field.signal(self.seen - u64::from(self.kinds.null)))
            .collect()
    }

    /// The signal, if there were `rows` records.
    fn signal(&self, rows: u64) -> Signal {
        let kind = self.kind();
        let is_list = matches!(kind, SignalKind::List(_));
        let optional = !is_list && (self.kinds.null || self.seen < rows);
        Signal { name: self.name.clone(), kind, optional }
    }

    /// Adds the cells of a value.
    fn put(&self, json: Option<&Json>, rows: u64, row: &mut Vec<Value>) -> Result<(), Odd> {
        let signal = self.signal(rows);
        match &signal.kind {
            SignalKind::Model(_) => {
                let fields = json.and_then(Json::as_object);
                if signal.optional {
                    row.push(Value::Int(i64::from(fields.is_none())));
                }
                let inside = self.seen - u64::from(self.kinds.null);
                for field in &self.fields {
                    field.put(fields.and_then(|fields| fields.get(&field.key)), inside, row)?;
                }
            }
            SignalKind::List(item) => {
                let text = json.and_then(Json::as_array).map(|items| list_text(items, item));
                row.push(Value::Text(text.unwrap_or_else(|| "[]".to_owned())));
            }
            SignalKind::Scalar(scalar) => {
                let odd =
                    |value: String| Odd { column: self.key.clone(), value, wanted: word(*scalar) };
                row.push(match json {
                    None | Some(Json::Null) => Value::Null,
                    Some(Json::String(text)) => {
                        of_text(text, *scalar).ok_or_else(|| odd(text.clone()))?
                    }
                    Some(json) => of_json(json, *scalar).ok_or_else(|| odd(json.to_string()))?,
                });
            }
            _ => row.push(Value::Null),
        }
        Ok(())
    }
}

/// Whether the strings of a record are texts of JSON, or of XML: there they may say any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Texts {
    Typed,
    Untyped,
}

fn kinds_of(json: &Json, texts: Texts) -> Kinds {
    let mut kinds = Kinds::default();
    let flag = match json {
        Json::Null => &mut kinds.null,
        Json::Bool(_) => &mut kinds.bool,
        Json::Number(number) if number.is_i64() => &mut kinds.int,
        Json::Number(_) => &mut kinds.float,
        Json::String(text) if texts == Texts::Untyped => return kind_of(text),
        Json::String(text) if is_time(text) => &mut kinds.time,
        Json::String(_) => &mut kinds.text,
        Json::Array(_) => &mut kinds.list,
        Json::Object(_) => &mut kinds.object,
    };
    *flag = true;
    kinds
}

/// The kind of an item of a list, where JSON has no NaN and no infinity: these are texts there.
fn item_kinds(json: &Json, texts: Texts) -> Kinds {
    let kinds = kinds_of(json, texts);
    let is_finite = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    match json {
        Json::String(text) if kinds.float && !is_finite(text) => {
            Kinds { text: true, ..Kinds::default() }
        }
        _ => kinds,
    }
}

/// A list as JSON, with the items of XML as values of the list's type.
fn list_text(items: &[Json], item: &SignalKind) -> String {
    if !items.iter().any(Json::is_string) {
        return serde_json::to_string(items).unwrap_or_default();
    }
    let value = |json: &Json| {
        let SignalKind::Scalar(scalar) = item else { return json.clone() };
        match json.as_str().and_then(|text| Some((of_text(text, *scalar)?, scalar))) {
            Some((Value::Int(n), Scalar::Bool)) => Json::from(n != 0),
            Some((Value::Int(n), _)) => Json::from(n),
            Some((Value::Real(x), _)) => Json::from(x),
            _ => json.clone(),
        }
    };
    Json::Array(items.iter().map(value).collect()).to_string()
}

fn see_fields(
    columns: &mut Vec<Column>,
    fields: &serde_json::Map<String, Json>,
    texts: Texts,
    depth: usize,
) {
    for (at, (key, value)) in fields.iter().enumerate() {
        // Records mostly have their fields in the same order.
        let known = match columns.get(at).is_some_and(|column| column.key == *key) {
            true => Some(at),
            false => columns.iter().position(|column| column.key == *key),
        };
        let place = known.unwrap_or_else(|| {
            let mut names = columns.iter().map(|column| column.name.to_lowercase()).collect();
            columns.push(Column::new(key, &mut names));
            columns.len() - 1
        });
        columns[place].see(value, texts, depth + 1);
    }
}

/// Converts a text to a type.
fn of_text(text: &str, scalar: Scalar) -> Option<Value> {
    match scalar {
        Scalar::Text => Some(Value::Text(text.to_owned())),
        Scalar::Int => text.parse().ok().map(Value::Int),
        Scalar::Float => {
            text.parse().ok().map(|x: f64| if x.is_nan() { Value::Null } else { Value::Real(x) })
        }
        Scalar::Bool => truth(text)
            .or(match text {
                "1" => Some(true),
                "0" => Some(false),
                _ => None,
            })
            .map(|is| Value::Int(is.into())),
        Scalar::Time => Timestamp::parse(text).map(|time| Value::Text(time.fixed())),
        Scalar::Bytes => None,
    }
}

/// Converts JSON other than a string to a type.
fn of_json(json: &Json, scalar: Scalar) -> Option<Value> {
    match (json, scalar) {
        (_, Scalar::Text) => Some(Value::Text(json.to_string())),
        (Json::Bool(is), Scalar::Bool) => Some(Value::Int((*is).into())),
        (Json::Number(number), Scalar::Int) => number.as_i64().map(Value::Int),
        (Json::Number(number), Scalar::Float) => number.as_f64().map(Value::Real),
        _ => None,
    }
}

const fn word(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Text => "text",
        Scalar::Int => "whole number",
        Scalar::Float => "number",
        Scalar::Bool => "boolean",
        Scalar::Time => "datetime",
        Scalar::Bytes => "bytes",
    }
}

impl Columns {
    /// Records the kinds of a record's values.
    pub fn see(&mut self, record: &Record<'_>) {
        self.rows += 1;
        match record {
            Record::Json(fields) => see_fields(&mut self.columns, fields, Texts::Typed, 0),
            Record::Untyped(fields) => see_fields(&mut self.columns, fields, Texts::Untyped, 0),
            Record::Texts(names, texts) => {
                if self.columns.is_empty() {
                    let mut taken = HashSet::new();
                    self.columns = names.iter().map(|name| Column::new(name, &mut taken)).collect();
                }
                for (column, text) in self.columns.iter_mut().zip(texts.iter()) {
                    column.seen += 1;
                    column.kinds.add(kind_of(text));
                }
                // In a column of texts, nothing between two commas is an empty text.
                for column in self.columns.iter_mut().filter(|column| column.kinds.text) {
                    column.kinds.null = false;
                }
            }
        }
    }

    /// Replaces inferred types by those that the user requests.
    ///
    /// # Errors
    /// A column that does not exist, with the nearest names.
    pub fn want(&mut self, types: &[(String, Scalar)]) -> Result<(), String> {
        for (name, scalar) in types {
            let known: Vec<String> = self.columns.iter().map(|column| column.key.clone()).collect();
            let column =
                self.columns.iter_mut().find(|column| column.key == *name || column.name == *name);
            match column {
                Some(column) => {
                    column.kinds.null |= column.kinds == Kinds::default();
                    column.wanted = Some(*scalar);
                }
                None => {
                    let near = nearest::to(name, known.iter().map(String::as_str));
                    let all = format!("there are {}", known.join(", "));
                    return Err(format!("it has no column `{name}`{}", nearest::hint(&near, &all)));
                }
            }
        }
        Ok(())
    }

    pub fn signals(&self) -> Vec<Signal> {
        self.columns.iter().map(|column| column.signal(self.rows)).collect()
    }

    /// Names and types, for people.
    pub fn told(&self) -> Vec<String> {
        self.signals().iter().map(|signal| format!("{}: {}", signal.name, told(signal))).collect()
    }

    /// Converts a record to the cells of a row.
    ///
    /// # Errors
    /// A value that is not of the requested type.
    pub fn row(&self, record: &Record<'_>) -> Result<Vec<Value>, Odd> {
        let mut row = Vec::with_capacity(self.columns.len());
        match record {
            Record::Json(fields) | Record::Untyped(fields) => {
                for column in &self.columns {
                    column.put(fields.get(&column.key), self.rows, &mut row)?;
                }
            }
            Record::Texts(_, texts) => {
                for (column, text) in self.columns.iter().zip(texts.iter()) {
                    let SignalKind::Scalar(scalar) = column.kind() else { continue };
                    row.push(match (text, scalar) {
                        ("", Scalar::Int | Scalar::Float | Scalar::Bool | Scalar::Time) => {
                            Value::Null
                        }
                        ("", _) if column.kinds.null => Value::Null,
                        _ => of_text(text, scalar).ok_or_else(|| Odd {
                            column: column.key.clone(),
                            value: text.to_owned(),
                            wanted: word(scalar),
                        })?,
                    });
                }
            }
        }
        Ok(row)
    }
}

fn told(signal: &Signal) -> String {
    let text = signature::kind(&signal.kind);
    if signal.optional { format!("Optional[{text}]") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let row = columns.row(&Record::Untyped(&record(Json::from(texts[0]))));
            assert_eq!(row.expect("typed"), [first], "{texts:?}");
        }
        let long = record(Json::from("12345678901234567890"));
        let mut columns = Columns::default();
        columns.see(&Record::Untyped(&long));
        columns.want(&[("a".to_owned(), Scalar::Text)]).expect("a column");
        let row = columns.row(&Record::Untyped(&long)).expect("typed");
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
            assert_eq!(columns.row(&Record::Untyped(&list)).expect("typed"), [text(want)]);
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
        let row = columns.row(&Record::Json(&records[1])).expect("typed");
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
}
