//! Statistics of some rows, in the format of the Hugging Face viewer's statistics.
//!
//! Keys keep its names and meanings (`nan_count` counts NULLs, `std` is that of a sample, those of
//! a text are of its length in characters); additional keys are ours.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The statistics of some rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// `pets@1.0.0`.
    pub dataset: String,
    /// Rows.
    pub num_examples: u64,
    /// Always false: all rows are read.
    pub partial: bool,
    pub statistics: Vec<ColumnStatistics>,
    /// The File columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Files>,
    /// The models that have a width and a height.
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

/// The type of a column's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Int,
    Float,
    Bool,
    Datetime,
    /// Few distinct texts.
    StringLabel,
    #[default]
    StringText,
    List,
    /// Dictionaries and other JSON: only whether there is a value.
    Json,
    Bytes,
}

/// A property that deserves a second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// The same value in all rows that have one.
    Constant,
    /// The same value in 99 of 100 of them.
    NearConstant,
    /// All values distinct, and none missing.
    Unique,
    /// No value in half of the rows or more.
    NullHeavy,
    /// Several rows name the same file.
    DuplicateFiles,
    /// Lists of numbers of different lengths.
    MixedLengths,
}

/// A number, or a time as text; infinities are texts too, because JSON has no numbers for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    Int(i64),
    Real(f64),
    Text(String),
}

/// The measures of one column. Those that do not apply to its type, or have no values, are left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measures {
    /// The number of NULLs.
    pub nan_count: u64,
    pub nan_proportion: f64,
    /// For labels: in Hugging Face, the number of rows whose class is -1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_label_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_label_proportion: Option<f64>,
    /// The number of distinct values.
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
    /// The number of rows per label, most frequent first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequencies: Option<Map<String, Value>>,
    /// Values that occur more than once, most frequent first; for texts of any length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub most_frequent: Vec<Frequent>,
    /// For lists of numbers: their common length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<u64>,
    /// For lists of numbers: their Euclidean norms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
}

/// A histogram. `hist[i]` counts values from `bin_edges[i]` up to but excluding the next edge; the
/// last bin includes its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub hist: Vec<u64>,
    pub bin_edges: Vec<Number>,
}

/// A value, and the number of rows that have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frequent {
    pub value: Number,
    pub count: u64,
}

/// Norms of vectors.
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
    /// The number of distinct files.
    pub n_unique: u64,
    /// Rows that name a file named by an earlier row.
    pub duplicates: u64,
    /// The total size of all rows' files in bytes.
    pub bytes: u64,
    /// The number of empty files.
    pub empty: u64,
    /// Most frequent first.
    pub extensions: Vec<Extension>,
    /// The number of extensions that are not listed.
    pub more_extensions: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// The files of one extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Without its dot; empty for files without one.
    pub extension: String,
    pub count: u64,
    pub bytes: u64,
}

/// The sizes of images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// The model with `width` and `height`.
    pub column_name: String,
    /// Rows with both.
    pub count: u64,
    pub n_unique: u64,
    /// Most frequent first.
    pub sizes: Vec<Size>,
}

/// One image size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub width: u32,
    pub height: u32,
    pub count: u64,
}

impl Flag {
    /// The text shown to people.
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
    /// The text in JSON.
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
    /// A float; `None` if it is NaN.
    pub fn of_real(x: f64) -> Option<Self> {
        match x {
            _ if x.is_nan() => None,
            _ if x.is_infinite() => {
                Some(Self::Text(if x > 0.0 { "Infinity" } else { "-Infinity" }.into()))
            }
            _ => Some(Self::Real(x)),
        }
    }

    /// As a float, if it is a number.
    pub fn real(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Real(x) => Some(*x),
            Self::Text(_) => None,
        }
    }
}

impl Measures {
    /// Measures of `nulls` NULLs among `rows`.
    pub fn nulls(nulls: u64, rows: u64) -> Self {
        Self { nan_count: nulls, nan_proportion: share(nulls, rows), ..Self::default() }
    }

    /// The labels with their numbers of rows, most frequent first.
    pub fn labels(&self) -> impl Iterator<Item = (&str, u64)> {
        let labels = self.frequencies.iter().flatten();
        labels.map(|(label, count)| (label.as_str(), count.as_u64().unwrap_or_default()))
    }
}

/// The share `part` of `whole`; 0 if `whole` is 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
