//! `dcfs load`: saves the records of a file as a typed dataset.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use super::access::AccessArgs;
use super::fetched::{self, Fetching};
use super::index::told_counts;
use super::lake;
use super::naming::{self, DescriptionArgs, Numbering};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, save, usage, warn};
use dcfs_core::error::{Kind, Result};
use dcfs_core::glob;
use dcfs_core::name::DatasetName;
use dcfs_core::object::Object;
use dcfs_core::schema::Scalar;
use dcfs_data::catalog::{self, Catalog, Description, Publication, Saved, VersionInfo, Writer};
use dcfs_work::author;
use dcfs_work::index::Counts;
use dcfs_work::load::lake::{Table, TableKind, TableVersion};
use dcfs_work::load::{self, Last, Reading, SourceFile};

/// Objects of stores whose bytes are kept between the two times that they are read.
const MOST_OPEN: usize = 100;

const FORMATS: &str = "say `--format csv`, `tsv`, `jsonl`, `json`, `parquet`, `delta`, `iceberg`, `xml`, `coco`, `voc`, `yolo` or `synsets`";

/// Save the records of a CSV, TSV, JSON, JSON Lines, Parquet or XML file, of label files or of a table of Delta Lake or
/// Iceberg, as a typed dataset
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Load {
    /// Files, folders, patterns such as `'part-*.csv'`, or addresses of the same in a store: s3://, gs://, az://
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
    /// Name of the dataset; an existing one gets its next version
    #[arg(long = "as", visible_alias = "save", value_name = "NAME", value_parser = naming::dataset)]
    name: DatasetName,
    /// Format of the file [default: by its extension]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Version of a table: of Delta Lake its number, of Iceberg the number of a snapshot or the name of a branch or a
    /// tag [default: the newest]
    #[arg(long, value_name = "VERSION")]
    at: Option<String>,
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
    /// Read only files that are new or changed since the latest version; the rows of the others are copied, and
    /// those of files that are gone are dropped
    #[arg(long)]
    delta: bool,
    /// With --delta: keep the rows of files that are gone
    #[arg(long, requires = "delta")]
    keep_deleted: bool,
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
  dcfs load s3://bucket/tables/events --as events          a table of Delta Lake or Iceberg; --at 12 is an older version
  dcfs load Annotations --format voc --as objects          a row per object of Pascal VOC; also coco, yolo, synsets
  dcfs load feed.xml --path channel/item --as items
  dcfs load 'logs/*.jsonl' --as logs --delta               new and changed files only, since the last version
  dcfs load events.jsonl --types id:str --as events --dry-run

Types hold every record: int, float where one is no whole number, bool, datetime, else str; Optional where one is missing.
Whole numbers with a zero in front are str. Objects become models, lists of plain values or of objects lists, anything else its
JSON as str.
In CSV nothing between two delimiters is NULL, and an empty text in a column of texts.";

/// The data files of a table, how they are read, the requested types, and the table itself.
type TableParts = (Vec<SourceFile>, Reading, Vec<(String, Scalar)>, Option<TableVersion>);

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
    /// A table of Delta Lake, by its folder
    Delta,
    /// A table of Iceberg, by its folder or by a file of its metadata
    Iceberg,
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
    /// Loads the files, and prints what was saved.
    pub fn run(mut self, out: &mut Output) -> Result<()> {
        self.take_metadata();
        let stores = OnceCell::new();
        let fetching = || match stores.get() {
            Some(fetching) => Ok(fetching),
            None => Fetching::new(&self.access).map(|new| stores.get_or_init(|| new)),
        };
        let table = lake::open(&self.table_named(), &fetching)?;
        let (files, reading, types, table) = match table {
            Some(table) => self.of_table(table, out)?,
            None => {
                let (reading, types) = self.reading()?;
                (self.files(&reading, &fetching)?, reading, types, None)
            }
        };
        // All that is fetched stays as long as it is open, twice as many files as this at most.
        let is_kept = files.len() <= MOST_OPEN;
        let fetch = &|object: &Object| fetching()?.fetch(object, is_kept);
        let keeps_deleted = self.keep_deleted;
        let request = load::Request { files, fetch, reading, types, keeps_deleted, table };
        if self.dry_run {
            let found = load::look(&request, None)?;
            return found.told().into_iter().try_for_each(|column| out.line(column));
        }
        let (path, is_there) = catalog::locate_or_new(self.access.catalog.catalog.as_deref())?;
        Writer::check_form(&self.name)?;
        let last = if self.delta && is_there { self.last(&path)? } else { None };
        let found = load::look(&request, last)?;
        if let Some(why) = &found.whole {
            warn(format_args!("{why}: all files are read"));
        }
        let counts = found.counts();
        if let Some(counts) = counts.filter(|_| !self.json) {
            out.line(format_args!("files: {}", told_counts(counts)))?;
        }
        if let Some(unchanged) = found.unchanged() {
            if self.numbering.is_said() {
                warn("no version was made, so `--version` and `--bump` did nothing");
            }
            return self.tell_unchanged(unchanged, found.counts(), self.describe(&path)?, out);
        }
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
        let saved = load::save(&request, &found, &mut writer, &publication, |rows| {
            progress.reach(rows);
        });
        progress.clear();
        let saved = saved?;
        match (self.json, self.delta) {
            (true, true) => out.json(&Shown::saved(&saved, counts)),
            (is_json, _) => save::tell(&saved, is_json, out),
        }
    }

    /// Changes the description of a dataset that gets no new version; returns whether one was given.
    fn describe(&self, catalog: &Path) -> Result<bool> {
        let attrs = self.described.attrs().map(<[_]>::to_vec);
        let said = Description { description: self.described.description.clone(), attrs };
        let is_any = said != Description::default();
        if is_any {
            Writer::open(catalog)?.describe(&self.name, &said)?;
        }
        Ok(is_any)
    }

    fn tell_unchanged(
        &self,
        of: &VersionInfo,
        counts: Option<Counts>,
        is_described: bool,
        out: &mut Output,
    ) -> Result<()> {
        let name = &self.name;
        match (self.json, is_described) {
            (true, _) => out.json(&Shown::unchanged(of, counts, is_described)),
            (false, true) => out.line(format_args!(
                "nothing new; {of} is as it was, and `{name}` has a new description"
            )),
            (false, false) => out.line(format_args!("nothing new; {of} is as it was")),
        }
    }

    /// The version that a delta starts from.
    fn last(&self, path: &Path) -> Result<Option<Last>> {
        let catalog = match Catalog::open(path) {
            Ok(catalog) => catalog,
            // Servers may hold no catalog yet: saving makes it.
            Err(error) if catalog::is_address(path) && error.kind() == Kind::Missing => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let latest = catalog.latest(&self.name)?;
        latest.map(|latest| Last::new(&catalog, latest)).transpose()
    }

    /// In a folder of Hugging Face's, its `metadata` file is meant.
    fn take_metadata(&mut self) {
        let [file] = &mut self.files[..] else { return };
        if self.format.is_some() || !file.is_dir() {
            return;
        }
        let names = ["metadata.parquet", "metadata.jsonl", "metadata.csv"];
        let found = names.into_iter().map(|name| file.join(name)).find(|path| path.is_file());
        *file = found.unwrap_or_else(|| file.clone());
    }

    /// The files to load, each once.
    fn files<'f>(
        &self,
        reading: &Reading,
        fetching: &dyn Fn() -> Result<&'f Fetching>,
    ) -> Result<Vec<SourceFile>> {
        let endings = load::endings(reading.format, reading.delimiter);
        let mut all: Vec<SourceFile> = Vec::new();
        for text in &self.files {
            all.extend(match text.to_str().filter(|text| fetched::is_address(text)) {
                Some(uri) => fetching()?.list(uri, endings)?,
                None => load::local(text, endings)?,
            });
        }
        // The names of YOLO's classes stand beside its labels.
        let is_label = |file: &SourceFile| !file.name.ends_with(b"/classes.txt");
        all.retain(|file| reading.format != load::Format::Yolo || is_label(file));
        let mut seen = HashSet::new();
        all.retain(|file| seen.insert(file.name.clone()));
        Ok(all)
    }

    /// The format of the files by their names: of a folder, that of all files below it.
    fn known(&self) -> Result<Option<(load::Format, u8)>> {
        let mut found = HashSet::new();
        for file in &self.files {
            match file.is_dir() {
                true => found.extend(load::formats(file)?),
                false => found.extend(load::Format::of_file(file)),
            }
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => {
                Err(usage(format!("the files are of several formats; {FORMATS}")))
            }
            (known, _) => Ok(known),
        }
    }

    /// The folder or the file that names YOLO's classes is found from here.
    fn beside(&self) -> Option<PathBuf> {
        let text = self.files.first()?;
        let name = text.to_str()?;
        match text.exists() || !glob::is_pattern(name) {
            _ if fetched::is_address(name) => None,
            true => Some(text.clone()),
            false => {
                let (folder, _) = glob::split(name);
                Some(PathBuf::from(if folder.is_empty() { "." } else { folder }))
            }
        }
    }

    /// The types of `--types`.
    fn types(&self) -> Result<Vec<(String, Scalar)>> {
        let one = |column: &String| {
            let (name, wanted) = typed(column)?;
            let missing = || usage(format!("`{column}` has no type; write `{name}:str`"));
            Ok((name.to_owned(), wanted.ok_or_else(missing)?))
        };
        self.types.iter().map(one).collect()
    }

    /// What may be a table.
    fn table_named(&self) -> lake::Named<'_> {
        let kind = match self.format {
            Some(Format::Delta) => Some(TableKind::Delta),
            Some(Format::Iceberg) => Some(TableKind::Iceberg),
            _ => None,
        };
        let is_other = self.format.is_some() && kind.is_none();
        lake::Named {
            files: &self.files,
            kind,
            is_other,
            at: self.at.as_deref(),
            access: &self.access,
        }
    }

    /// The data files of a table, and how they are read.
    fn of_table(&self, table: Table, out: &mut Output) -> Result<TableParts> {
        if self.delimiter.is_some()
            || self.comment.is_some()
            || !self.columns.is_empty()
            || self.path.is_some()
        {
            return Err(usage(
                "a table has its columns itself: leave out the options of other formats",
            ));
        }
        if self.keep_deleted {
            return Err(usage("--keep-deleted is not for tables, whose rows move between files"));
        }
        if !self.json && !self.dry_run {
            out.line(lake::told(&table))?;
        }
        let Table { of, columns, files } = table;
        let reading = Reading {
            format: load::Format::Parquet,
            delimiter: b',',
            comment: None,
            names: None,
            path: None,
            classes: None,
            table: Some((of.kind, columns)),
        };
        Ok((files, reading, self.types()?, Some(of)))
    }

    /// The options of reading the file, and the requested types.
    fn reading(&self) -> Result<(Reading, Vec<(String, Scalar)>)> {
        let known = if self.format.is_some() { None } else { self.known()? };
        let (format, delimiter) = match (self.format, known) {
            (Some(Format::Csv), _) => (load::Format::Csv, b','),
            (Some(Format::Tsv), _) => (load::Format::Csv, b'\t'),
            (Some(Format::Jsonl), _) => (load::Format::Jsonl, b','),
            (Some(Format::Json), _) => (load::Format::Json, b','),
            (Some(Format::Parquet | Format::Delta | Format::Iceberg), _) => {
                (load::Format::Parquet, b',')
            }
            (Some(Format::Xml), _) => (load::Format::Xml, b','),
            (Some(Format::Coco), _) => (load::Format::Coco, b','),
            (Some(Format::Voc), _) => (load::Format::Voc, b','),
            (Some(Format::Yolo), _) => (load::Format::Yolo, b','),
            (Some(Format::Synsets), _) => (load::Format::Synsets, b','),
            (None, Some(known)) => known,
            (None, None) => {
                let named: Vec<String> =
                    self.files.iter().map(|file| file.display().to_string()).collect();
                let named = named.join(" ");
                return Err(usage(format!("cannot tell what `{named}` is by its name; {FORMATS}")));
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
        let mut names = Vec::new();
        let mut types = Vec::new();
        for column in &self.columns {
            let (name, wanted) = typed(column)?;
            types.extend(wanted.map(|wanted| (name.to_owned(), wanted)));
            names.push(name.to_owned());
        }
        types.extend(self.types()?);
        let reading = Reading {
            format,
            delimiter: self.delimiter.unwrap_or(delimiter),
            comment: self.comment,
            names: (!names.is_empty()).then_some(names),
            path: self.path.clone(),
            classes: match self.beside().filter(|_| format == load::Format::Yolo) {
                Some(beside) => load::classes(&beside)?,
                None => None,
            },
            table: None,
        };
        if let Some(classes) = &reading.classes {
            warn(format_args!("classes are named by `{}`", classes.file.display()));
        }
        Ok((reading, types))
    }
}

/// What `--delta --json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    dataset: String,
    version: String,
    /// Null if no version was made.
    uuid: Option<String>,
    rows: Option<u64>,
    is_new: bool,
    /// No version was made, but the description of the dataset was changed.
    is_described: bool,
    /// Null if the files were not compared with those of a version.
    files: Option<Counts>,
}

impl Shown {
    fn saved(saved: &Saved, files: Option<Counts>) -> Self {
        Self {
            dataset: saved.dataset.to_string(),
            version: saved.version.to_string(),
            uuid: Some(saved.uuid.clone()),
            rows: Some(saved.rows),
            is_new: true,
            is_described: false,
            files,
        }
    }

    fn unchanged(of: &VersionInfo, files: Option<Counts>, is_described: bool) -> Self {
        let (dataset, version) = (of.dataset.to_string(), of.version.to_string());
        Self { dataset, version, uuid: None, rows: of.rows, is_new: false, is_described, files }
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
