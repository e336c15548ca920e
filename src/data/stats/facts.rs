//! What is said of the columns of some rows, in the shape of the Hugging Face viewer's statistics.
//!
//! Its keys have their names and their meaning (`nan_count` is of NULLs, `std` that of a sample, those of a text are of its length
//! in characters); further ones stand beside them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything that is said of some rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// `pets@1.0.0`.
    pub dataset: String,
    /// Rows.
    pub num_examples: u64,
    /// Never: all rows were looked at.
    pub partial: bool,
    pub statistics: Vec<ColumnStatistics>,
    /// The File columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Files>,
    /// The models with a width and a height.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<Pictures>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// Dotted.
    pub column_name: String,
    pub column_type: ColumnType,
    pub column_statistics: Measures,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// What is measured of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Int,
    Float,
    Bool,
    Datetime,
    /// Few different texts.
    StringLabel,
    #[default]
    StringText,
    List,
    /// Dictionaries and other JSON: only whether there is a value.
    Json,
    Bytes,
}

/// What is worth a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// One value in all rows that have one.
    Constant,
    /// One value in 99 of 100 of them.
    NearConstant,
    /// No value twice, and none missing.
    Unique,
    /// No value in half of the rows or more.
    NullHeavy,
    /// Rows that name a file that another row names.
    DuplicateFiles,
    /// Lists of numbers of different lengths.
    MixedLengths,
}

/// A number, or a moment as text; what is infinite is a text too, for JSON has no word for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    Int(i64),
    Real(f64),
    Text(String),
}

/// The numbers of one column. What a type does not have, or no row has a value for, is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measures {
    /// NULLs.
    pub nan_count: u64,
    pub nan_proportion: f64,
    /// Of labels: Hugging Face has it for rows whose class is -1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_label_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_label_proportion: Option<f64>,
    /// Different values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_unique: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q10: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q25: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q75: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q90: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// Rows of each label, most first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequencies: Option<Map<String, Value>>,
    /// Values that come more than once, most first; of texts of any length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub most_frequent: Vec<Frequent>,
    /// Of lists of numbers: the length that all of them have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// Of those: their Euclidean norms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
}

/// How values are spread. `hist[i]` are from `bin_edges[i]` on and below the next; the last includes its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub hist: Vec<u64>,
    pub bin_edges: Vec<Number>,
}

/// A value, and how many rows have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frequent {
    pub value: Number,
    pub count: u64,
}

/// Lengths of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Norm {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
}

/// A File column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Files {
    pub column_name: String,
    /// Rows that name a file.
    pub count: u64,
    /// Different files.
    pub n_unique: u64,
    /// Rows that name a file which another row names already.
    pub duplicates: u64,
    /// Bytes of all rows' files.
    pub bytes: u64,
    /// Files of no byte.
    pub empty: u64,
    /// Most first.
    pub extensions: Vec<Extension>,
    /// Extensions that are not listed.
    pub more_extensions: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// The files of one extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Without its dot; empty for files that have none.
    pub extension: String,
    pub count: u64,
    pub bytes: u64,
}

/// The sizes of pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// The model that has `width` and `height`.
    pub column_name: String,
    /// Rows with both.
    pub count: u64,
    pub n_unique: u64,
    /// Most first.
    pub sizes: Vec<Size>,
}

/// One size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub width: u32,
    pub height: u32,
    pub count: u64,
}

impl Flag {
    /// As it is read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::NearConstant => "near-constant",
            Self::Unique => "unique",
            Self::NullHeavy => "null-heavy",
            Self::DuplicateFiles => "duplicate files",
            Self::MixedLengths => "mixed lengths",
        }
    }
}

impl ColumnType {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Datetime => "datetime",
            Self::StringLabel => "label",
            Self::StringText => "text",
            Self::List => "list",
            Self::Json => "json",
            Self::Bytes => "bytes",
        }
    }
}

impl Number {
    /// A float; `None` for what is no number.
    pub fn of_real(x: f64) -> Option<Self> {
        match x {
            _ if x.is_nan() => None,
            _ if x.is_infinite() => {
                Some(Self::Text(if x > 0.0 { "Infinity" } else { "-Infinity" }.into()))
            }
            _ => Some(Self::Real(x)),
        }
    }

    /// As a float, where it is a number.
    pub fn real(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Real(x) => Some(*x),
            Self::Text(_) => None,
        }
    }
}

impl Measures {
    /// NULLs among `rows`.
    pub fn nulls(nulls: u64, rows: u64) -> Self {
        Self { nan_count: nulls, nan_proportion: share(nulls, rows), ..Self::default() }
    }

    /// The labels and how many rows have each, most first.
    pub fn labels(&self) -> impl Iterator<Item = (&str, u64)> {
        let labels = self.frequencies.iter().flatten();
        labels.map(|(label, count)| (label.as_str(), count.as_u64().unwrap_or_default()))
    }
}

/// `part` of `whole`; none of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
