//! Rows of a data file as its table has them: columns found by their ids or by the names they have in files, values of
//! partitions, and no deleted rows.

use std::collections::HashMap;
use std::sync::Arc;

use dcfs_core::schema::Scalar;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::schema::types::Type;
use roaring::RoaringTreemap;
use serde_json::{Map, Value as Json};

/// One column of a table, or one field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in the table.
    pub name: String,
    /// Its names in files, where it is found by name.
    pub stored: Vec<String>,
    /// Its id in files, where it is found by id.
    pub id: Option<i32>,
    pub shape: Shape,
    /// Whether every file must have it.
    pub is_required: bool,
}

/// The type of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Scalar(Scalar),
    Struct(Vec<Field>),
    List(Box<Shape>),
    /// A map, by the shape of its values.
    Map(Box<Shape>),
}

impl Shape {
    /// The type that the column gets; of others than scalars, it is found from the values. Bytes are base64.
    pub fn declared(&self) -> Option<Scalar> {
        match self {
            Self::Scalar(Scalar::Bytes) => Some(Scalar::Text),
            Self::Scalar(scalar) => Some(*scalar),
            _ => None,
        }
    }
}

/// The columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    pub fields: Vec<Field>,
    /// Whether columns are found by their ids. A file without ids has them by their names.
    pub by_id: bool,
}

/// The rows of a file that are deleted, by their positions.
#[derive(Clone, Debug, Default)]
pub enum Deleted {
    #[default]
    None,
    /// As it is stored: decoded when the file is read, whose length bounds it.
    Stored(Arc<dyn Stored>),
}

/// A set of positions as a table stores it.
pub trait Stored: std::fmt::Debug + Send + Sync {
    /// The positions in a file of `rows` rows.
    ///
    /// # Errors
    /// A description of what is damaged.
    fn positions(&self, rows: u64) -> Result<Arc<RoaringTreemap>, String>;
}

/// How the rows of one file are seen.
#[derive(Clone, Debug)]
pub struct View {
    pub fields: Arc<Fields>,
    /// Values that are the same in all rows, by the index of the column; `None` of one whose type is not read.
    pub constants: HashMap<usize, Option<Json>>,
    /// Whether a constant counts for more than a column of the file.
    pub constants_win: bool,
    pub deleted: Deleted,
}

/// A view, fitted to the schema of its file.
pub struct Fitted {
    columns: Vec<(String, Source)>,
    deleted: Option<Arc<RoaringTreemap>>,
}

enum Source {
    Constant(Json),
    Absent,
    Column(String, Mapper),
}

/// How a value of a file becomes one of the table.
enum Mapper {
    AsIs,
    /// The name of each field, and the one it has in the file if it is there.
    Struct(Vec<(String, Option<String>, Mapper)>),
    List(Box<Mapper>),
    Map(Box<Mapper>),
}

impl View {
    /// Fits the view to a file.
    ///
    /// # Errors
    /// A description of how the file and the table disagree.
    pub fn fit(&self, schema: &Type, rows: u64) -> Result<Fitted, String> {
        let fields = self.fields.as_ref();
        let file = schema.get_fields();
        let has_ids = fields.by_id && file.iter().any(|one| has_ids(one));
        let is_named = |field: &Field| !field.stored.is_empty();
        if fields.by_id && !has_ids && !fields.fields.iter().any(is_named) {
            return Err("its columns have no ids, by which the table names them".into());
        }
        let mut columns = Vec::with_capacity(fields.fields.len());
        for (at, field) in fields.fields.iter().enumerate() {
            let constant = self.constants.get(&at);
            let of_file = match constant.filter(|_| self.constants_win) {
                Some(_) => None,
                None => find(field, file, has_ids),
            };
            let source = match (of_file, constant) {
                (Some(own), _) => {
                    Source::Column(own.name().to_owned(), mapper(field, own, has_ids)?)
                }
                (None, Some(Some(constant))) => Source::Constant(constant.clone()),
                (None, Some(None)) => {
                    return Err(format!(
                        "it has no column `{}`, and the table tells its value in a way that is not read",
                        field.name
                    ));
                }
                (None, None) => absent(field).map(|()| Source::Absent)?,
            };
            columns.push((field.name.clone(), source));
        }
        let deleted = match &self.deleted {
            Deleted::None => None,
            Deleted::Stored(stored) => Some(stored.positions(rows)?),
        };
        Ok(Fitted { columns, deleted })
    }
}

impl Fitted {
    /// Whether the row at a position, from 0 on, is deleted.
    pub fn is_deleted(&self, position: u64) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted.contains(position))
    }

    /// A row of the file as the table has it.
    pub fn row(&self, mut row: Map<String, Json>) -> Map<String, Json> {
        let mut value = |source: &Source| match source {
            Source::Constant(value) => value.clone(),
            Source::Absent => Json::Null,
            Source::Column(own, mapper) => {
                row.get_mut(own).map_or(Json::Null, |value| mapper.apply(value.take()))
            }
        };
        self.columns.iter().map(|(name, source)| (name.clone(), value(source))).collect()
    }
}

impl Mapper {
    fn apply(&self, value: Json) -> Json {
        match (self, value) {
            (Self::Struct(fields), Json::Object(mut row)) => {
                let value = |(name, own, mapper): &(String, Option<String>, Self)| {
                    let own = own.as_ref().and_then(|own| row.get_mut(own));
                    (name.clone(), own.map_or(Json::Null, |own| mapper.apply(own.take())))
                };
                Json::Object(fields.iter().map(value).collect())
            }
            (Self::List(item), Json::Array(items)) => {
                items.into_iter().map(|one| item.apply(one)).collect()
            }
            (Self::Map(value), Json::Object(entries)) => {
                let entry = |(key, one)| (key, value.apply(one));
                Json::Object(entries.into_iter().map(entry).collect())
            }
            (_, value) => value,
        }
    }
}

fn absent(field: &Field) -> Result<(), String> {
    match field.is_required {
        true => Err(format!("it has no column `{}`, which the table requires", field.name)),
        false => Ok(()),
    }
}

/// The column of a file that is a field of the table.
fn find<'t>(field: &Field, file: &'t [Arc<Type>], by_id: bool) -> Option<&'t Type> {
    let mut own = file.iter().map(AsRef::as_ref);
    if by_id {
        let is_own = |one: &&Type| {
            let info = one.get_basic_info();
            info.has_id() && Some(info.id()) == field.id
        };
        return own.find(is_own);
    }
    let named = |one: &Type| field.stored.iter().any(|name| name == one.name());
    let alike = |one: &Type| field.stored.iter().any(|name| name.eq_ignore_ascii_case(one.name()));
    own.clone().find(|one| named(one)).or_else(|| own.find(|one| alike(one)))
}

fn has_ids(of: &Type) -> bool {
    of.get_basic_info().has_id()
        || of.is_group() && of.get_fields().iter().any(|field| has_ids(field))
}

/// How the values of a file's column become those of a field.
fn mapper(field: &Field, own: &Type, by_id: bool) -> Result<Mapper, String> {
    let odd = || {
        let (is, wanted) = (told_type(own), told(&field.shape));
        format!("its column `{}` is {is}, and {wanted} in the table", own.name())
    };
    // Without a list around it, it is a list in the oldest form, which no table has.
    let info = own.get_basic_info();
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return Err(format!("its column `{}` is repeated", own.name()));
    }
    shaped(&field.shape, own, by_id).map_err(|error| error.unwrap_or_else(odd))
}

/// As [`mapper`]; `None` in place of an error that names the column itself.
fn shaped(shape: &Shape, own: &Type, by_id: bool) -> Result<Mapper, Option<String>> {
    let group = Group::of(own);
    match (shape, group) {
        (Shape::Scalar(scalar), Group::Primitive) if fits(*scalar, kind(own)) => Ok(Mapper::AsIs),
        (Shape::Struct(fields), Group::Struct) => {
            let file = own.get_fields();
            let mut all = Vec::with_capacity(fields.len());
            for field in fields {
                let found = find(field, file, by_id);
                let mapper = match found {
                    Some(found) => mapper(field, found, by_id)?,
                    None => absent(field).map(|()| Mapper::AsIs)?,
                };
                all.push((field.name.clone(), found.map(|own| own.name().to_owned()), mapper));
            }
            Ok(Mapper::Struct(all))
        }
        (Shape::List(item), Group::List(own)) => {
            Ok(Mapper::List(Box::new(shaped(item, own, by_id)?)))
        }
        (Shape::Map(value), Group::Map(own)) => {
            Ok(Mapper::Map(Box::new(shaped(value, own, by_id)?)))
        }
        _ => Err(None),
    }
}

/// What a column of a file is.
enum Group<'t> {
    Primitive,
    Struct,
    /// By the type of its items.
    List(&'t Type),
    /// By the type of its values.
    Map(&'t Type),
}

impl<'t> Group<'t> {
    fn of(own: &'t Type) -> Self {
        if own.is_primitive() {
            return Self::Primitive;
        }
        let info = own.get_basic_info();
        let (converted, logical) = (info.converted_type(), info.logical_type_ref());
        let [inner] = own.get_fields() else { return Self::Struct };
        if converted == ConvertedType::LIST || logical == Some(&LogicalType::List) {
            // The usual form has a group between the list and its items; older ones do not.
            let is_wrapped = inner.is_group()
                && inner.get_fields().len() == 1
                && inner.name() != "array"
                && inner.name() != format!("{}_tuple", own.name());
            return Self::List(if is_wrapped { &inner.get_fields()[0] } else { inner });
        }
        let is_map = matches!(converted, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
            || logical == Some(&LogicalType::Map);
        match inner.is_group() && is_map {
            true => match inner.get_fields() {
                [_, value] => Self::Map(value),
                _ => Self::Struct,
            },
            false => Self::Struct,
        }
    }
}

/// The type of a primitive column of a file.
fn kind(own: &Type) -> Scalar {
    let info = own.get_basic_info();
    let is_decimal = info.converted_type() == ConvertedType::DECIMAL
        || matches!(info.logical_type_ref(), Some(LogicalType::Decimal(_)));
    let is_time =
        matches!(
            info.converted_type(),
            ConvertedType::DATE | ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS
        ) || matches!(info.logical_type_ref(), Some(LogicalType::Date | LogicalType::Timestamp(_)));
    let is_text = matches!(
        info.converted_type(),
        ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON
    );
    match own.get_physical_type() {
        Physical::BOOLEAN => Scalar::Bool,
        Physical::INT96 => Scalar::Time,
        Physical::FLOAT | Physical::DOUBLE => Scalar::Float,
        _ if is_decimal => Scalar::Float,
        Physical::INT32 | Physical::INT64 if is_time => Scalar::Time,
        Physical::INT32 | Physical::INT64 => Scalar::Int,
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY
            if info.logical_type_ref() == Some(&LogicalType::Float16) =>
        {
            Scalar::Float
        }
        Physical::BYTE_ARRAY if is_text => Scalar::Text,
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Scalar::Bytes,
    }
}

/// Whether values of a file's type are values of the table's: types of tables may only widen.
fn fits(wanted: Scalar, own: Scalar) -> bool {
    wanted == own || (wanted, own) == (Scalar::Float, Scalar::Int)
}

fn told(shape: &Shape) -> &'static str {
    match shape {
        Shape::Scalar(scalar) => word(*scalar),
        Shape::Struct(_) => "a struct",
        Shape::List(_) => "a list",
        Shape::Map(_) => "a map",
    }
}

fn told_type(own: &Type) -> &'static str {
    match Group::of(own) {
        Group::Primitive => word(kind(own)),
        Group::Struct => "a struct",
        Group::List(_) => "a list",
        Group::Map(_) => "a map",
    }
}

const fn word(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Text => "text",
        Scalar::Bytes => "bytes",
        Scalar::Int => "a whole number",
        Scalar::Float => "a number",
        Scalar::Bool => "a boolean",
        Scalar::Time => "a time",
    }
}
