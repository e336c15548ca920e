//! Rows of a data file as its table has them: columns found by their ids or by the names they have in files, values of
//! partitions, and no deleted rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dcfs_core::schema::Scalar;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::Type;
use roaring::RoaringTreemap;
use serde_json::{Map, Value as Json};

use super::Declared;

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

/// The words in which a format writes its types as JSON.
pub struct Words {
    pub scalar: fn(&str) -> Option<Scalar>,
    pub list: &'static str,
    /// The keys of the type of items, and of values of a map.
    pub item: &'static str,
    pub value: &'static str,
}

impl Words {
    /// The shape that JSON describes; `fields` reads those of a struct.
    pub fn shape(
        &self,
        kind: &Json,
        fields: &mut dyn FnMut(&Json) -> Result<Vec<Field>, String>,
    ) -> Result<Shape, String> {
        let unread = |name: &str| format!("its type `{name}` is not read");
        if let Some(name) = kind.as_str() {
            return (self.scalar)(name).map(Shape::Scalar).ok_or_else(|| unread(name));
        }
        match kind["type"].as_str() {
            Some("struct") => Ok(Shape::Struct(fields(kind)?)),
            Some(list) if list == self.list => {
                Ok(Shape::List(Box::new(self.shape(&kind[self.item], fields)?)))
            }
            Some("map") => Ok(Shape::Map(Box::new(self.shape(&kind[self.value], fields)?))),
            Some(other) => Err(unread(other)),
            None => Err("it has no type".into()),
        }
    }
}

/// The columns of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    pub fields: Vec<Field>,
    /// Whether columns are found by their ids. A file without ids has them by their names.
    pub by_id: bool,
    /// Whether names are the same in upper and in lower case, where a file has no other column of that name.
    pub in_any_case: bool,
}

/// The columns, as a load has them.
pub fn declared(fields: &[Field]) -> Vec<Declared> {
    fields.iter().map(|field| (field.name.clone(), field.shape.declared())).collect()
}

/// The fields of one struct, whose names differ.
///
/// # Errors
/// A description: a name that two of them have.
pub fn unique(fields: Vec<Field>) -> Result<Vec<Field>, String> {
    let mut names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    match twice {
        Some(pair) => Err(format!("it has the column `{}` twice", pair[0])),
        None => Ok(fields),
    }
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
    /// The number of rows, deleted ones included, where the table records it.
    pub rows: Option<u64>,
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
        if let Some(own) = self.rows.filter(|own| *own != rows) {
            return Err(format!("it has {rows} rows, and {own} in the metadata of the table"));
        }
        let fields = self.fields.as_ref();
        let file = schema.get_fields();
        let has_ids = fields.by_id && file.iter().any(|one| has_ids(one));
        let is_named = |field: &Field| !field.stored.is_empty();
        if fields.by_id && !has_ids && !fields.fields.iter().any(is_named) {
            return Err("its columns have no ids, by which the table names them".into());
        }
        let by = match has_ids {
            true => By::Id,
            false if fields.in_any_case => By::NameInAnyCase,
            false => By::Name,
        };
        let mut columns = Vec::with_capacity(fields.fields.len());
        let mut finder = Finder::new(file, by);
        for (at, field) in fields.fields.iter().enumerate() {
            let constant = self.constants.get(&at);
            let of_file = match constant.filter(|_| self.constants_win) {
                Some(_) => None,
                None => finder.find(field)?,
            };
            let source = match (of_file, constant) {
                (Some(own), _) => Source::Column(own.name().to_owned(), mapper(field, own, by)?),
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

/// How the columns of a file are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Id,
    Name,
    NameInAnyCase,
}

/// Finds the columns of a file, or of a struct in it; each belongs to one field.
struct Finder<'t> {
    file: &'t [Arc<Type>],
    by: By,
    found: HashSet<&'t str>,
}

impl<'t> Finder<'t> {
    fn new(file: &'t [Arc<Type>], by: By) -> Self {
        Self { file, by, found: HashSet::new() }
    }

    /// The column that is a field of the table.
    fn find(&mut self, field: &Field) -> Result<Option<&'t Type>, String> {
        let Some(own) = self.column(field) else { return Ok(None) };
        let name = own.name();
        if self.file.iter().filter(|one| one.name() == name).count() > 1 {
            return Err(format!("it has two columns `{name}`"));
        }
        match self.found.insert(name) {
            true => Ok(Some(own)),
            false => Err(format!("its column `{name}` would be two columns of the table")),
        }
    }

    fn column(&self, field: &Field) -> Option<&'t Type> {
        let mut all = self.file.iter().map(AsRef::as_ref);
        if self.by == By::Id {
            let is_own = |one: &&Type| {
                let info = one.get_basic_info();
                info.has_id() && Some(info.id()) == field.id
            };
            return all.find(is_own);
        }
        let is_named = |one: &&Type| field.stored.iter().any(|name| name == one.name());
        let is_alike =
            |one: &&Type| field.stored.iter().any(|name| name.eq_ignore_ascii_case(one.name()));
        let named = all.clone().find(is_named);
        named.or_else(|| all.find(is_alike).filter(|_| self.by == By::NameInAnyCase))
    }
}

fn has_ids(of: &Type) -> bool {
    of.get_basic_info().has_id()
        || of.is_group() && of.get_fields().iter().any(|field| has_ids(field))
}

/// How the values of a file's column become those of a field.
fn mapper(field: &Field, own: &Type, by: By) -> Result<Mapper, String> {
    let odd = || {
        let (is, wanted) = (told_type(own), told(&field.shape));
        format!("its column `{}` is {is}, and {wanted} in the table", own.name())
    };
    // Without a list around it, it is a list in the oldest form, which no table has.
    let info = own.get_basic_info();
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return Err(format!("its column `{}` is repeated", own.name()));
    }
    shaped(&field.shape, own, by).map_err(|error| error.unwrap_or_else(odd))
}

/// As [`mapper`]; `None` in place of an error that names the column itself.
fn shaped(shape: &Shape, own: &Type, by: By) -> Result<Mapper, Option<String>> {
    match (shape, FileShape::of(own)) {
        (Shape::Scalar(scalar), FileShape::Primitive) if fits(*scalar, kind(own)) => {
            Ok(Mapper::AsIs)
        }
        (Shape::Struct(fields), FileShape::Struct) => {
            let mut finder = Finder::new(own.get_fields(), by);
            let mut all = Vec::with_capacity(fields.len());
            for field in fields {
                let found = finder.find(field)?;
                let mapper = match found {
                    Some(found) => inner(found).and_then(|()| mapper(field, found, by))?,
                    None => absent(field).map(|()| Mapper::AsIs)?,
                };
                all.push((field.name.clone(), found.map(|own| own.name().to_owned()), mapper));
            }
            Ok(Mapper::Struct(all))
        }
        (Shape::List(item), FileShape::List(own)) => {
            inner(own)?;
            Ok(Mapper::List(Box::new(shaped(item, own, by)?)))
        }
        (Shape::Map(value), FileShape::Map(own)) => {
            inner(own)?;
            Ok(Mapper::Map(Box::new(shaped(value, own, by)?)))
        }
        _ => Err(None),
    }
}

/// Checks what is within a struct, a list or a map, where the crate tells nanoseconds as plain numbers.
fn inner(own: &Type) -> Result<(), String> {
    let logical = own.get_basic_info().logical_type_ref();
    match logical {
        Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => Err(format!(
            "its `{}` holds nanoseconds, which are read in columns of their own only",
            own.name()
        )),
        _ => Ok(()),
    }
}

/// The shape of a column of a file.
enum FileShape<'t> {
    Primitive,
    Struct,
    /// By the type of its items.
    List(&'t Type),
    /// By the type of its values.
    Map(&'t Type),
}

impl<'t> FileShape<'t> {
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
    match FileShape::of(own) {
        FileShape::Primitive => word(kind(own)),
        FileShape::Struct => "a struct",
        FileShape::List(_) => "a list",
        FileShape::Map(_) => "a map",
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

#[cfg(test)]
mod tests {
    use super::*;

    use parquet::schema::parser::parse_message_type;

    fn column(name: &str, shape: Shape) -> Field {
        let stored = vec![name.to_owned()];
        Field { name: name.to_owned(), stored, id: None, shape, is_required: false }
    }

    /// Why a file of 3 rows is not a table's; nothing if it is.
    fn told(file: &str, fields: Vec<Field>, in_any_case: bool, rows: Option<u64>) -> String {
        let schema = parse_message_type(&format!("message m {{ {file} }}")).expect("a schema");
        let fields = Arc::new(Fields { fields, by_id: false, in_any_case });
        let constants = HashMap::new();
        let view = View { fields, constants, constants_win: false, rows, deleted: Deleted::None };
        view.fit(&schema, 3).err().unwrap_or_default()
    }

    #[test]
    fn a_column_is_that_of_one_field() {
        let long = |name: &str| column(name, Shape::Scalar(Scalar::Int));
        let required = |name: &str| Field { is_required: true, ..long(name) };
        let one = "optional int64 A;";
        assert_eq!(told(one, vec![long("A"), long("b")], true, Some(3)), "");
        assert_eq!(told(one, vec![required("a")], true, None), "");
        assert_eq!(
            told(one, vec![required("a")], false, None),
            "it has no column `a`, which the table requires"
        );
        assert_eq!(
            told(one, vec![long("a"), long("A")], true, None),
            "its column `A` would be two columns of the table"
        );
        assert_eq!(
            told("optional int64 A; optional int64 a;", vec![long("a"), long("A")], true, None),
            ""
        );
        assert_eq!(
            told("optional int64 A; optional int64 A;", vec![long("A")], true, None),
            "it has two columns `A`"
        );
        assert_eq!(
            told(one, vec![long("A")], true, Some(4)),
            "it has 3 rows, and 4 in the metadata of the table"
        );
        assert!(unique(vec![long("a"), long("b"), long("a")]).is_err());
        assert!(unique(vec![long("a"), long("A")]).is_ok());
    }

    #[test]
    fn nanoseconds_are_read_in_columns_of_their_own() {
        let time = || Shape::Scalar(Scalar::Time);
        let at = "optional int64 at (TIMESTAMP(NANOS,true));";
        assert_eq!(told(at, vec![column("at", time())], false, None), "");
        let why = "its `at` holds nanoseconds, which are read in columns of their own only";
        let of_struct = Shape::Struct(vec![column("at", time())]);
        let file = format!("optional group box {{ {at} }}");
        assert_eq!(told(&file, vec![column("box", of_struct)], false, None), why);
        let of_list = Shape::List(Box::new(time()));
        let file = format!("optional group all (LIST) {{ repeated group list {{ {at} }} }}");
        assert_eq!(told(&file, vec![column("all", of_list)], false, None), why);
    }
}
