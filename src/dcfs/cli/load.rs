//! `dcfs load`: saves the records of a file as a typed dataset.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use clap::ValueEnum;

use super::access::AccessArgs;
use super::naming::{self, DescriptionArgs, Numbering};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, fetched, save, usage, warn};
use dcfs_core::error::Result;
use dcfs_core::name::DatasetName;
use dcfs_core::schema::Scalar;
use dcfs_data::catalog::{self, Publication, Writer};
use dcfs_work::author;
use dcfs_work::load::{self, Reading};

/// Save the records of a CSV, TSV, JSON, JSON Lines, Parquet or XML file, or of label files, as a typed dataset
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Load {
    /// The file, or the address of an object: s3://, gs://, az://
    file: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
    /// Name of the dataset; an existing one gets its next version
    #[arg(long = "as", visible_alias = "save", value_name = "NAME", value_parser = naming::dataset)]
    name: DatasetName,
    /// Format of the file [default: by its extension]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Separator of fields; `\t` is a tab
    #[arg(long, value_name = "C", value_parser = byte)]
    delimiter: Option<u8>,
    /// Skip lines that begin with this
    #[arg(long, value_name = "C", value_parser = byte)]
    comment: Option<u8>,
    /// Names of the columns, optionally with types, for a file without a header: `name,class:int`
    #[arg(long, value_name = "C,..", value_delimiter = ',')]
    columns: Vec<String>,
    /// Types that override the detected ones: `id:str,day:datetime` (str, int, float, bool, datetime)
    #[arg(long, value_name = "C:T,..", value_delimiter = ',')]
    types: Vec<String>,
    /// The key of the list of records in JSON: `images`, `data.items`; the path of the elements in XML: `channel/item`
    #[arg(long, value_name = "KEY")]
    path: Option<String>,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Print the detected types, and save nothing
    #[arg(long, conflicts_with = "json")]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  dcfs load labels.csv --as labels
  dcfs load list.txt --format csv --delimiter ' ' --comment '#' --columns 'name,class:int,species:int' --as breeds
  dcfs load coco.json --path annotations --as boxes
  dcfs load train-00000.parquet --as train
  dcfs load Annotations --format voc --as objects          a row per object of Pascal VOC; also coco, yolo, synsets
  dcfs load feed.xml --path channel/item --as items
  dcfs load events.jsonl --types id:str --as events --dry-run

Types hold every record: int, float where one is no whole number, bool, datetime, else str; Optional where one is missing.
Whole numbers with a zero in front are str. Objects become models, lists of plain values lists, anything else its JSON as str.
In CSV nothing between two delimiters is NULL, and an empty text in a column of texts.";

/// Formats of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Fields separated by delimiters
    Csv,
    /// Fields separated by tabs
    Tsv,
    /// One JSON object per line
    Jsonl,
    /// A JSON list of objects
    Json,
    /// Columns of Apache Parquet
    Parquet,
    /// Elements of XML, of a file or of all in a folder
    Xml,
    /// COCO's JSON: a row per annotation, and one per picture without any
    Coco,
    /// Pascal VOC's XML, a folder of it: a row per object
    Voc,
    /// YOLO's texts, a folder of them: a row per box or outline
    Yolo,
    /// ImageNet's `LOC_synset_mapping.txt`
    Synsets,
}

impl Load {
    /// Loads the file, and prints what was saved.
    pub fn run(mut self, out: &mut Output) -> Result<()> {
        self.take_metadata();
        let (mut reading, types) = self.reading()?;
        let address =
            self.file.to_str().filter(|text| fetched::is_address(text)).map(str::to_owned);
        // Held until the end: its path leads to it only as long as it is open.
        let held = address.as_deref().map(|uri| fetched::object(uri, &self.access)).transpose()?;
        if let Some(held) = &held {
            self.file = format!("/proc/self/fd/{}", held.as_raw_fd()).into();
            reading.shown = address;
        }
        if reading.format == load::Format::Yolo
            && let Some(classes) = load::class_file(&self.file, &reading)?
        {
            warn(format_args!("classes are named by `{}`", classes.display()));
        }
        let found = load::look(&self.file, &reading, &types)?;
        if self.dry_run {
            return found.told().into_iter().try_for_each(|column| out.line(column));
        }
        let (path, _) = catalog::locate_or_new(self.access.catalog.catalog.as_deref())?;
        Writer::check_form(&self.name)?;
        let number = self.numbering.number();
        let mut writer = Writer::open_or_create(&path)?;
        writer.check_name(&self.name)?;
        writer.check_number(&self.name, number)?;
        let by = author::ask(&command_line(), None);
        let script = by.script();
        let publication = Publication {
            name: &self.name,
            number,
            upon: None,
            parents: &[],
            script: &script,
            description: self.described.description.as_deref(),
            attrs: self.described.attrs(),
            provenance: &by,
            job: None,
        };
        let progress = Progress::new(Unit::Rows);
        progress.set_total(found.rows);
        let saved = load::save(&self.file, &reading, &found, &mut writer, &publication, |rows| {
            progress.reach(rows);
        });
        progress.clear();
        save::tell(&saved?, self.json, out)
    }

    /// In a folder of Hugging Face's, its `metadata` file is meant.
    fn take_metadata(&mut self) {
        if self.format.is_some() || !self.file.is_dir() {
            return;
        }
        let names = ["metadata.parquet", "metadata.jsonl", "metadata.csv"];
        let found = names.into_iter().map(|name| self.file.join(name)).find(|path| path.is_file());
        self.file = found.unwrap_or_else(|| self.file.clone());
    }

    /// The options of reading the file, and the requested types.
    fn reading(&self) -> Result<(Reading, Vec<(String, Scalar)>)> {
        let known = load::Format::of_file(&self.file);
        let (format, delimiter) = match (self.format, known) {
            (Some(Format::Csv), _) => (load::Format::Csv, b','),
            (Some(Format::Tsv), _) => (load::Format::Csv, b'\t'),
            (Some(Format::Jsonl), _) => (load::Format::Jsonl, b','),
            (Some(Format::Json), _) => (load::Format::Json, b','),
            (Some(Format::Parquet), _) => (load::Format::Parquet, b','),
            (Some(Format::Xml), _) => (load::Format::Xml, b','),
            (Some(Format::Coco), _) => (load::Format::Coco, b','),
            (Some(Format::Voc), _) => (load::Format::Voc, b','),
            (Some(Format::Yolo), _) => (load::Format::Yolo, b','),
            (Some(Format::Synsets), _) => (load::Format::Synsets, b','),
            (None, Some(known)) => known,
            (None, None) => {
                return Err(usage(format!(
                    "cannot tell what `{}` is by its name; say `--format csv`, `tsv`, `jsonl`, `json`, `parquet`, `xml`, `coco`, `voc`, `yolo` or `synsets`",
                    self.file.display()
                )));
            }
        };
        let is_text = format == load::Format::Csv;
        if !is_text
            && (self.delimiter.is_some() || self.comment.is_some() || !self.columns.is_empty())
        {
            return Err(usage("--delimiter, --comment and --columns are for CSV"));
        }
        let has_path = matches!(format, load::Format::Json | load::Format::Xml | load::Format::Voc);
        if !has_path && self.path.is_some() {
            return Err(usage("--path is for JSON and XML"));
        }
        let mut types = Vec::new();
        let mut names = Vec::new();
        for column in &self.columns {
            let (name, wanted) = typed(column)?;
            types.extend(wanted.map(|wanted| (name.to_owned(), wanted)));
            names.push(name.to_owned());
        }
        for column in &self.types {
            let (name, wanted) = typed(column)?;
            let missing = || usage(format!("`{column}` has no type; write `{name}:str`"));
            types.push((name.to_owned(), wanted.ok_or_else(missing)?));
        }
        let reading = Reading {
            format,
            delimiter: self.delimiter.unwrap_or(delimiter),
            comment: self.comment,
            names: (!names.is_empty()).then_some(names),
            path: self.path.clone(),
            shown: None,
        };
        Ok((reading, types))
    }
}

/// Parses `class:int`.
fn typed(text: &str) -> Result<(&str, Option<Scalar>)> {
    let Some((name, word)) = text.rsplit_once(':') else { return Ok((text, None)) };
    let scalar = match word {
        "str" => Scalar::Text,
        "int" => Scalar::Int,
        "float" => Scalar::Float,
        "bool" => Scalar::Bool,
        "datetime" => Scalar::Time,
        _ => {
            return Err(usage(format!(
                "`{word}` is not a type; known are str, int, float, bool, datetime"
            )));
        }
    };
    Ok((name, Some(scalar)))
}

/// Parses a single-byte character.
fn byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err("write one character, e.g. `,` or `;`".into()),
    }
}
