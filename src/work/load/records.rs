//! Reads CSV, JSON Lines, JSON and Parquet as records.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value as Json;

use super::labels::{self, Classes};
use super::lake::{Declared, TableKind};
use super::sources::SourceFile;
use super::{Error, parquet};
use dcfs_core::error::Result;
use dcfs_core::schema::{Scalar, SignalKind, signature};

/// The longest line, or JSON document, in bytes: it is held in memory.
const LONGEST_LINE: u64 = 256 << 20;
const LONGEST_JSON: u64 = 2 << 30;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Fields with delimiters; a header, or given names.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// A list of objects, or one nested in an object.
    Json,
    Parquet,
    /// Elements of XML files.
    Xml,
    /// COCO's JSON.
    Coco,
    /// Pascal VOC's XML, a file per picture.
    Voc,
    /// YOLO's texts, a file per picture.
    Yolo,
    /// ImageNet's list of synsets.
    Synsets,
}

impl Format {
    /// Its name, as after `--format`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Xml => "xml",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Yolo => "yolo",
            Self::Synsets => "synsets",
        }
    }

    /// The format by extension, and the delimiter it implies.
    pub fn of_file(path: &Path) -> Option<(Self, u8)> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some((Self::Csv, b',')),
            "tsv" | "tab" => Some((Self::Csv, b'\t')),
            "jsonl" | "ndjson" => Some((Self::Jsonl, b',')),
            "json" => Some((Self::Json, b',')),
            "parquet" | "pq" => Some((Self::Parquet, b',')),
            "xml" => Some((Self::Xml, b',')),
            _ => None,
        }
    }
}

/// How to read a file.
#[derive(Clone, Debug)]
pub struct Reading {
    pub format: Format,
    pub delimiter: u8,
    /// The first byte of lines that are skipped.
    pub comment: Option<u8>,
    /// The names of columns if there is no header.
    pub names: Option<Vec<String>>,
    /// The path of the list in JSON: `images`, `data.items`; of the elements in XML: `channel/item`.
    pub path: Option<String>,
    /// The names of YOLO's classes.
    pub classes: Option<Classes>,
    /// The columns of a table whose data files these are.
    pub table: Option<(TableKind, Vec<Declared>)>,
}

impl Reading {
    /// What rows depend on besides the files, by the names of options.
    pub fn told(&self, types: &[(String, Scalar)]) -> BTreeMap<String, Json> {
        let mut told = BTreeMap::new();
        let mut tell = |name: &str, value: Json| told.insert(name.to_owned(), value);
        tell(
            "format",
            self.table.as_ref().map_or(self.format.name(), |(kind, _)| kind.name()).into(),
        );
        if self.format == Format::Csv {
            tell("delimiter", char::from(self.delimiter).to_string().into());
        }
        if let Some(comment) = self.comment {
            tell("comment", char::from(comment).to_string().into());
        }
        if let Some(names) = &self.names {
            tell("columns", names.clone().into());
        }
        if let Some(path) = &self.path {
            tell("path", path.as_str().into());
        }
        if let Some((_, columns)) = &self.table {
            let typed = columns
                .iter()
                .map(|(name, scalar)| (name.clone(), scalar.map_or(Json::Null, signature)));
            tell("columns", typed.collect::<serde_json::Map<_, _>>().into());
        }
        if let Some(classes) = &self.classes {
            tell("classes", classes.digest.as_str().into());
        }
        if !types.is_empty() {
            let typed = types.iter().map(|(name, scalar)| (name.clone(), signature(*scalar)));
            tell("types", typed.collect::<serde_json::Map<_, _>>().into());
        }
        told
    }
}

fn signature(scalar: Scalar) -> Json {
    signature::kind(&SignalKind::Scalar(scalar)).into()
}

/// One record: its fields in order.
#[derive(Debug)]
pub enum Record<'r> {
    /// As texts.
    Texts(&'r [String], &'r csv::StringRecord),
    Json(&'r serde_json::Map<String, Json>),
    /// As nested texts, which may say any value: those of XML.
    Untyped(&'r serde_json::Map<String, Json>),
}

/// The callback for every record, with its line (for JSON, its index).
pub type EachRecord<'e> = dyn FnMut(u64, Record<'_>) -> Result<()> + 'e;

/// Passes on every record of a file in order.
///
/// # Errors
/// [`enum@Error`]; errors of `each`.
pub fn each(
    opened: File,
    of: &SourceFile,
    reading: &Reading,
    each: &mut EachRecord<'_>,
) -> Result<()> {
    let file = of.shown.as_str();
    match reading.format {
        Format::Csv => texts(opened, file, reading, each),
        Format::Jsonl => lines(opened, file, each),
        Format::Json => list(opened, file, reading, each),
        Format::Parquet => parquet::each(opened, file, of.view.as_deref(), each),
        Format::Xml => labels::xml_file(opened, file, reading, None, each),
        Format::Voc => labels::xml_file(opened, file, reading, Some("annotation/object"), each),
        Format::Coco => labels::coco(opened, file, each),
        Format::Yolo => labels::yolo(opened, of, reading, each),
        Format::Synsets => labels::synsets(opened, file, each),
    }
}

fn texts(opened: File, file: &str, reading: &Reading, each: &mut EachRecord<'_>) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(reading.delimiter)
        .comment(reading.comment)
        .has_headers(reading.names.is_none())
        .flexible(true)
        .from_reader(WithoutMark::new(opened));
    let names = match &reading.names {
        Some(names) => names.clone(),
        None => {
            let header = reader.headers().map_err(|error| wrong(file, &error))?;
            header.iter().map(|name| name.trim().to_owned()).collect()
        }
    };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| wrong(file, &error))? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            let what =
                format!("it has {} fields, and there are {} columns", record.len(), names.len());
            return Err(Error::Line { file: file.to_owned(), line, what }.into());
        }
        each(line, Record::Texts(&names, &record))?;
    }
    Ok(())
}

/// Skips a byte order mark, which spreadsheets write.
struct WithoutMark<R> {
    inner: BufReader<R>,
    is_begun: bool,
}

impl<R: Read> WithoutMark<R> {
    fn new(inner: R) -> Self {
        Self { inner: BufReader::new(inner), is_begun: false }
    }
}

impl<R: Read> Read for WithoutMark<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.is_begun {
            self.is_begun = true;
            let marked = self.inner.fill_buf()?.starts_with("\u{feff}".as_bytes());
            self.inner.consume(if marked { 3 } else { 0 });
        }
        self.inner.read(into)
    }
}

fn wrong(file: &str, error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => {
            "it is not UTF-8; convert the file, e.g. `iconv -f latin1 -t utf8`".to_owned()
        }
        other => format!("{other:?}"),
    };
    match line {
        0 => Error::File { file: file.to_owned(), what },
        line => Error::Line { file: file.to_owned(), line, what },
    }
}

/// Passes on every object of JSON Lines.
///
/// # Errors
/// A line that is no JSON object, or too long; errors of `each`.
pub fn lines(opened: File, file: &str, each: &mut EachRecord<'_>) -> Result<()> {
    let mut reader = BufReader::new(WithoutMark::new(opened));
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let unread = |cause| Error::Unread { file: file.to_owned(), cause };
        let wrong = |what: String| Error::Line { file: file.to_owned(), line, what };
        let count =
            reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text).map_err(unread)?;
        if count == 0 {
            break;
        }
        if count as u64 == LONGEST_LINE {
            return Err(wrong(format!("it is longer than {} MiB", LONGEST_LINE >> 20)).into());
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(Json::Object(fields)) => each(line, Record::Json(&fields))?,
            Ok(_) => return Err(wrong("it is no JSON object".into()).into()),
            Err(error) => return Err(wrong(format!("it is no JSON: {error}")).into()),
        }
    }
    Ok(())
}

/// All of a JSON file.
///
/// # Errors
/// What is no JSON, or too long.
pub fn document(opened: File, file: &str) -> Result<Json> {
    let wrong = |what: String| Error::File { file: file.to_owned(), what };
    let mut text = Vec::new();
    let mut reader = WithoutMark::new(opened).take(LONGEST_JSON);
    reader
        .read_to_end(&mut text)
        .map_err(|cause| Error::Unread { file: file.to_owned(), cause })?;
    if text.len() as u64 == LONGEST_JSON {
        let most = LONGEST_JSON >> 30;
        return Err(wrong(format!(
            "it is longer than {most} GiB; make it JSON Lines, an object a line"
        ))
        .into());
    }
    Ok(serde_json::from_slice(&text).map_err(|error| wrong(format!("it is no JSON: {error}")))?)
}

fn list(opened: File, file: &str, reading: &Reading, each: &mut EachRecord<'_>) -> Result<()> {
    let wrong = |what: String| Error::File { file: file.to_owned(), what };
    let mut found = document(opened, file)?;
    for key in reading.path.iter().flat_map(|path| path.split('.')) {
        found = match found.get_mut(key).map(Json::take) {
            Some(below) => below,
            None => return Err(wrong(format!("it has no `{key}`{}", keys(&found))).into()),
        };
    }
    let items = match found {
        Json::Array(items) => items,
        Json::Object(_) if reading.path.is_none() => {
            let lists = keys(&found);
            return Err(wrong(format!(
                "it is an object, not a list; name the list in it, e.g. --path images{lists}"
            ))
            .into());
        }
        _ => return Err(wrong("there is no list of records".into()).into()),
    };
    for (number, item) in items.iter().enumerate() {
        match item {
            Json::Object(fields) => each(number as u64 + 1, Record::Json(fields))?,
            _ => return Err(wrong(format!("item {number} of the list is not an object")).into()),
        }
    }
    Ok(())
}

/// The keys of an object, for a message.
fn keys(json: &Json) -> String {
    let Json::Object(fields) = json else { return String::new() };
    let names: Vec<String> = fields.keys().take(8).map(|key| format!("`{key}`")).collect();
    if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
}
