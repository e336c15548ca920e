//! One column of a file, or one field of a model: the kinds of its values, and how they become cells.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::kinds::{Kinds, Texts, Value, inside, kinds_inside, kinds_of, of_json, of_text, word};
use dcfs_core::schema::{Scalar, Signal, SignalKind, plain_name};

/// The deepest nesting for which objects become models, and lists become lists; deeper ones stay JSON.
const DEEPEST: usize = 8;

/// The most fields of one model within a list; with more, its keys are taken for values, and it stays JSON.
const WIDEST: usize = 256;

/// A value that is not of the requested type.
#[derive(Debug)]
pub struct Odd {
    pub column: String,
    pub value: String,
    pub wanted: &'static str,
}

/// One column, or one field of a model, or the items of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// The name in the file, and the name of the signal.
    pub key: String,
    pub name: String,
    pub kinds: Kinds,
    /// The number of records that had it.
    pub seen: u64,
    /// The number of objects among its values.
    #[serde(default, skip_serializing_if = "is_zero")]
    objects: u64,
    /// The fields of objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Column>,
    /// The items of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Box<Column>>,
    /// The requested type, which is requested anew each time.
    #[serde(skip)]
    pub wanted: Option<Scalar>,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub texts: Texts,
    depth: usize,
    /// Whether it is within a list.
    is_inside: bool,
}

impl Place {
    /// The place of a record's fields.
    pub fn of_record(texts: Texts) -> Self {
        Self { texts, depth: 1, is_inside: false }
    }

    fn below(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn inside(self) -> Self {
        Self { is_inside: true, ..self.below() }
    }
}

impl Column {
    /// `names`: those beside it, in lower case; its own is added.
    pub fn new(key: &str, names: &mut HashSet<String>) -> Self {
        let plain = plain_name(key);
        let mut name = plain.clone();
        for number in 2.. {
            if names.insert(name.to_lowercase()) {
                break;
            }
            name = format!("{plain}_{number}");
        }
        Self { key: key.to_owned(), name, ..Self::of_items() }
    }

    /// The items of a list.
    fn of_items() -> Self {
        Self {
            key: String::new(),
            name: String::new(),
            kinds: Kinds::default(),
            seen: 0,
            objects: 0,
            fields: Vec::new(),
            items: None,
            wanted: None,
        }
    }

    /// Notes a value.
    pub fn see(&mut self, json: &Json, place: Place) {
        self.seen += 1;
        self.kinds.add(match place.is_inside {
            true => kinds_inside(json, place.texts),
            false => kinds_of(json, place.texts),
        });
        self.objects += u64::from(json.is_object());
        match json {
            Json::Object(_) if place.depth >= DEEPEST => self.kinds.text = true,
            Json::Array(_) if place.depth > DEEPEST => self.kinds.text = true,
            Json::Object(_) if place.is_inside && self.fields.len() > WIDEST => {
                self.kinds.text = true;
            }
            Json::Object(fields) => see_fields(&mut self.fields, fields, place.below()),
            Json::Array(items) => {
                let own = self.items.get_or_insert_with(|| Box::new(Self::of_items()));
                items.iter().for_each(|item| own.see(item, place.inside()));
            }
            _ => {}
        }
    }

    /// The kind of the signal.
    pub fn kind(&self) -> SignalKind {
        if let Some(wanted) = self.wanted {
            return SignalKind::Scalar(wanted);
        }
        let kinds = self.kinds;
        match (kinds.object, kinds.list, kinds.has_scalars()) {
            (true, false, false) if !self.fields.is_empty() => SignalKind::Model(self.signals()),
            (false, true, false) => match &self.items {
                None => SignalKind::list_of(Scalar::Text),
                Some(items) => match items.item_kind() {
                    Some(item) => SignalKind::List(Box::new(item)),
                    // No one type holds its items: stored as JSON text.
                    None => SignalKind::Scalar(Scalar::Text),
                },
            },
            (false, false, _) => SignalKind::Scalar(kinds.scalar()),
            // Mixed kinds: stored as JSON text.
            _ => SignalKind::Scalar(Scalar::Text),
        }
    }

    /// The kind of a list's items; `None` if they are of several kinds, or missing, or objects without fields.
    fn item_kind(&self) -> Option<SignalKind> {
        let kinds = self.kinds;
        match (kinds.object, kinds.list, kinds.has_scalars(), kinds.null) {
            (false, false, _, false) => Some(SignalKind::Scalar(kinds.scalar())),
            (true, false, false, false) | (false, true, false, false) => match self.kind() {
                SignalKind::Scalar(_) => None,
                kind => Some(kind),
            },
            _ => None,
        }
    }

    fn signals(&self) -> Vec<Signal> {
        self.fields.iter().map(|field| field.signal(self.objects)).collect()
    }

    /// The signal, if there were `rows` records.
    pub fn signal(&self, rows: u64) -> Signal {
        let kind = self.kind();
        let is_list = matches!(kind, SignalKind::List(_));
        let optional = !is_list && (self.kinds.null || self.seen < rows);
        Signal { name: self.name.clone(), kind, optional }
    }

    /// Adds the cells of a value, if there were `rows` records.
    ///
    /// # Errors
    /// A value that is not of the requested type.
    pub fn put(&self, json: Option<&Json>, rows: u64, row: &mut Vec<Value>) -> Result<(), Odd> {
        let signal = self.signal(rows);
        match &signal.kind {
            SignalKind::Model(_) => {
                let fields = json.and_then(Json::as_object);
                if signal.optional {
                    row.push(Value::Int(i64::from(fields.is_none())));
                }
                for field in &self.fields {
                    let value = fields.and_then(|fields| fields.get(&field.key));
                    field.put(value, self.objects, row)?;
                }
            }
            SignalKind::List(item) => {
                row.push(Value::Text(match json {
                    Some(Json::Array(items)) if is_as_written(items, item) => {
                        serde_json::to_string(items).unwrap_or_default()
                    }
                    other => self.within(other, &signal.kind).to_string(),
                }));
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

    /// A value of this kind within a list, as JSON: objects with all fields of their model, by the names of signals.
    fn within(&self, json: Option<&Json>, kind: &SignalKind) -> Json {
        match (kind, json) {
            (SignalKind::Model(signals), Some(Json::Object(fields))) => {
                let own = self.fields.iter().zip(signals);
                let value = |(field, signal): (&Self, &Signal)| {
                    let value = field.within(fields.get(&field.key), &signal.kind);
                    (signal.name.clone(), value)
                };
                own.map(value).collect::<Map<_, _>>().into()
            }
            (SignalKind::List(item), Some(Json::Array(items))) => match &self.items {
                Some(own) => items.iter().map(|json| own.within(Some(json), item)).collect(),
                None => items.clone().into(),
            },
            // A list that is missing is empty.
            (SignalKind::List(_), _) => Json::Array(Vec::new()),
            (SignalKind::Scalar(scalar), Some(json)) => inside(json, *scalar),
            _ => Json::Null,
        }
    }
}

/// Whether items are of their kind as they are written.
fn is_as_written(items: &[Json], item: &SignalKind) -> bool {
    match item {
        SignalKind::Scalar(Scalar::Text) => items.iter().all(Json::is_string),
        SignalKind::Scalar(_) => !items.iter().any(Json::is_string),
        SignalKind::List(inner) => items.iter().all(|list| match list {
            Json::Array(items) => is_as_written(items, inner),
            _ => false,
        }),
        _ => false,
    }
}

/// Notes the fields of an object.
pub fn see_fields(columns: &mut Vec<Column>, fields: &Map<String, Json>, place: Place) {
    for (at, (key, value)) in fields.iter().enumerate() {
        let known = find(columns, at, key);
        let known = known.unwrap_or_else(|| {
            let mut names = columns.iter().map(|column| column.name.to_lowercase()).collect();
            columns.push(Column::new(key, &mut names));
            columns.len() - 1
        });
        columns[known].see(value, place);
    }
}

/// The column of a key, which mostly is at the same place in each record.
fn find(columns: &[Column], at: usize, key: &str) -> Option<usize> {
    match columns.get(at).is_some_and(|column| column.key == *key) {
        true => Some(at),
        false => columns.iter().position(|column| column.key == *key),
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
