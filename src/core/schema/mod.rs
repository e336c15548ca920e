//! The columns of a version: a tree of typed fields over flat database columns.
//!
//! DataChain keeps two JSON texts per version (`feature_schema`, the models; `schema`, the column
//! types) and the row table itself. The table says which columns exist, the models say how they
//! nest, the types say what a cell holds. Older releases lack parts of each; whatever is missing
//! falls back to flat columns. Pure: texts come in, no catalog is opened.

mod builtin;
mod layout;
mod leaf;
mod model;
mod parse;
mod select;
pub mod signature;
mod types;
mod value;

use std::fmt;

pub use layout::{Clash, Layout, NewColumn, NewPart, Scalar, Signal, SignalKind, plain_name};
pub use leaf::Leaf;
pub use parse::Error;
pub use select::UnknownColumn;
pub use types::Type;
pub use value::ValueType;

/// The typed columns of one version, in the order of the models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The signals, as a tree. `sys__id` and `sys__rand` are not in it.
    pub signals: Vec<Field>,
    /// Every File in the tree, at any depth, in order; then those among flat columns, where
    /// `x__source` beside `x__path` is the File `x`. A File inside a list is no column.
    pub files: Vec<FileColumn>,
}

/// One signal, or one field of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The last part of its dotted name.
    pub name: String,
    /// The type as DataChain wrote it: `int`, `Optional[BBox@v1]`, `list[float]`. For a column that
    /// the models do not know, the type in `schema`, else the one declared in the table.
    pub type_text: String,
    /// The column, or the fields of the model.
    pub shape: Shape,
    /// Whether it may be NULL: by its type or, for a column, by its entry in `schema`.
    pub optional: bool,
    /// Whether DataChain omits it when printing.
    pub hidden: bool,
}

/// Leaves and branches of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value in one database column.
    Column {
        /// The database column, e.g. `info__width`.
        column: String,
        /// The type of its cells.
        value: ValueType,
    },
    /// A model: its fields are columns of their own.
    Model {
        /// The model's name without the version, e.g. `BBox`, and whether it is a File.
        model: String,
        /// Whether the model is a File, whole or partial.
        file: bool,
        /// In the order of the model.
        fields: Vec<Field>,
        /// The `..___type_tag` column of an Optional model: 0 means present, anything else absent.
        tag: Option<String>,
    },
}

/// A File in the schema, and the database columns of its parts; `None` where a partial File (or a
/// table of an older release) lacks one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileColumn {
    /// Dotted: `file`, `frag.audio`.
    pub name: String,
    /// The database column of each part.
    pub source: Option<String>,
    /// See [`crate::object::Object`] for what the parts mean.
    pub path: Option<String>,
    pub size: Option<String>,
    pub version: Option<String>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub location: Option<String>,
}

impl FileColumn {
    /// Whether its rows name objects that can be listed and read: it has source, path and size.
    pub fn is_listed(&self) -> bool {
        self.source.is_some() && self.path.is_some() && self.size.is_some()
    }
}

impl Schema {
    /// Reads the schema of a version.
    ///
    /// `feature_schema` and `schema` are the JSON texts of the version row, empty where NULL;
    /// `table` is `(name, declared type)` of every column of the row table, in table order.
    ///
    /// # Errors
    /// Texts that are not JSON objects, and models nested too deep. A missing model or column is
    /// not an error, nor is a model that contains itself.
    pub fn parse(
        feature_schema: &str,
        schema: &str,
        table: &[(String, String)],
    ) -> Result<Self, Error> {
        parse::schema(feature_schema, schema, table)
    }

    /// The File columns whose rows are files of the mount, in order.
    pub fn listed_files(&self) -> impl Iterator<Item = &FileColumn> {
        self.files.iter().filter(|file| file.is_listed())
    }
}

impl fmt::Display for FileColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
