//! `/sql/<statement>.csv`, `.jsonl`, `.md`, `.parquet`, `.arrow`: the result of a SELECT over the catalog's versions, as a file.
//!
//! A slash in the statement is U+2215 in the name, as in filters. A wrong statement, or one whose result is too large or takes too
//! long, is EINVAL, and the file of the same name in `/sql/_error/` has the message. Anybody who can read the mount can run
//! statements: time, memory, pairs of joins and the size of a result are bounded, and nothing is written to the disk.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle as Runtime;

use super::{Folder, Node, Refused, Stamp};
use crate::Vfs;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::SLASH;
use dcfs_core::render::rows::Format;
use dcfs_core::sql::Statement;
use dcfs_core::time::Timestamp;
use dcfs_data::sql::lines::{self, Lines};
use dcfs_data::sql::question::{self, Question};
use dcfs_data::sql::{Limits, Shape, columnar};
use dcfs_data::tables::parquet::Encoding;
use dcfs_data::usage::Usage;

/// The folder.
pub struct Sql;

/// The most bytes of a result, which is held in memory.
const MOST: usize = 16 << 20;

/// The most memory for SQLite.
const MEMORY: u64 = 256 << 20;

/// The most pairs of rows of a join.
const MOST_PAIRS: u64 = 1 << 23;

/// Tables that change without the catalog.
const LIVE: [&str; 2] = ["catalog.runs", "catalog.usage"];

/// The first words of statements.
const BEGINNINGS: [&str; 3] = ["select", "with", "values"];

/// The format of a result.
#[derive(Clone, Copy, Debug)]
enum Form {
    Lines(Format),
    Markdown,
    Columns(Encoding),
}

const FORMS: [(&str, Form); 5] = [
    (".csv", Form::Lines(Format::Csv)),
    (".jsonl", Form::Lines(Format::Jsonl)),
    (".md", Form::Markdown),
    (".parquet", Form::Columns(Encoding::Parquet)),
    (".arrow", Form::Columns(Encoding::Arrow)),
];

impl Folder for Sql {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn find(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Option<Node>> {
        let Some((text, form)) = read(path) else { return Ok(None) };
        let began = Instant::now();
        // Only errors of the statement are told in `_error/`.
        let refused = |error: Error, is_lasting| match error.kind() {
            Kind::Invalid | Kind::Missing => {
                Ok(Some(Node::Refused(Refused::new(&error, is_lasting))))
            }
            _ => Err(error),
        };
        let question = match question(vfs, &text) {
            Ok(question) => question,
            Err(error) => return refused(error, true),
        };
        match answer(vfs, &question, form, began) {
            Ok(bytes) => Ok(Some(Node::File(bytes.into()))),
            // Columns may be packed by the next try, and memory be free.
            Err(error) => refused(error, false),
        }
    }

    fn names(&self, _vfs: &Arc<Vfs>, _path: &str) -> Result<Vec<(String, bool)>> {
        Ok(Vec::new())
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn stamp(&self, vfs: &Vfs, path: &str) -> Result<Stamp> {
        let Some((text, _)) = read(path) else { return Ok(Stamp::Absent) };
        match is_live(&text) {
            true => Ok(Stamp::Live),
            false => Ok(Stamp::At(format!("{:?}", vfs.catalog.revision()?))),
        }
    }
}

/// The statement in a name, and the format of its result; `None` if the name is not a statement.
fn read(name: &str) -> Option<(String, Form)> {
    if name.contains('/') {
        return None;
    }
    let (ending, form) = FORMS.into_iter().find(|(ending, _)| name.ends_with(ending))?;
    let text = &name[..name.len() - ending.len()];
    let first = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next()?;
    let is_one = BEGINNINGS.iter().any(|beginning| first.eq_ignore_ascii_case(beginning));
    is_one.then(|| (text.replace(SLASH, "/"), form))
}

/// Whether an answer can change while the catalog does not: runs and usage are files of their own.
fn is_live(text: &str) -> bool {
    Statement::read(text)
        .is_ok_and(|found| found.tables().iter().any(|table| LIVE.contains(&table.name.as_str())))
}

/// Reads a statement, and refuses what a mount shared with other users does not show. Their names are not resolved: an error
/// would list others of their kind.
fn question(vfs: &Arc<Vfs>, text: &str) -> Result<Question> {
    if vfs.is_shared() {
        not_private(&Statement::read(text)?)?;
    }
    // The use of datasets by this user is private.
    let usage = if vfs.is_shared() { Usage::off() } else { vfs.usage() };
    Question::read(&vfs.catalog, usage, text).map_err(invalid)
}

fn not_private(statement: &Statement) -> Result<()> {
    let wrong = |message: &str| Err(Error::new(Kind::Invalid, message));
    for table in statement.tables() {
        if table.name == "catalog.runs" {
            return wrong("`catalog.runs` is not shown in a mount shared with other users");
        }
        if table.is_listing {
            return wrong("`listing(...)` is not shown in a mount shared with other users");
        }
    }
    Ok(())
}

/// The limits of a statement whose task began at `began`.
fn limits(timeout: Duration, began: Instant) -> Limits {
    // Earlier than the caller stops waiting, so that it is told why.
    let time = timeout - timeout / 8;
    let until = began.checked_add(time);
    Limits { time, until, memory: MEMORY, length: MOST as i32, pairs: MOST_PAIRS, spills: false }
}

fn answer(vfs: &Arc<Vfs>, question: &Question, form: Form, began: Instant) -> Result<Vec<u8>> {
    question.note(Timestamp::of_system(SystemTime::now()));
    // The packs open in the mount are used. Statements run in a task that may block.
    let packs = |of: &_| Runtime::current().block_on(vfs.pack_of_version(of));
    let limits = limits(vfs.timeout, began);
    let (mut engine, bound) = question.engine(&packs, limits, true, &|_| {})?;
    let ready = engine.prepare(bound)?;
    let results = question::results(&ready.columns(), bound.results.as_deref());
    let origins = question.origins();
    let shape = Shape::new(&results, &origins);
    let mut out = Vec::new();
    let fits = |out: &Vec<u8>| match out.len() > MOST {
        true => Err(Error::new(Kind::Invalid, TOO_LARGE)),
        false => Ok(()),
    };
    match form {
        Form::Markdown => lines::markdown(ready, &shape, &mut |line| {
            out.extend_from_slice(line);
            fits(&out)
        })?,
        Form::Columns(encoding) => {
            let mut bounded = Bounded { bytes: Vec::new(), is_full: false };
            let scratch = std::env::temp_dir();
            let written = columnar::write(ready, &shape, encoding, &scratch, &mut bounded);
            if bounded.is_full {
                return Err(Error::new(Kind::Invalid, TOO_LARGE));
            }
            written?;
            out = bounded.bytes;
        }
        Form::Lines(format) => {
            let lines = Lines::new(&shape, format);
            out.extend_from_slice(lines.header());
            ready.rows(&mut |cells| {
                lines.write(&mut out, cells);
                fits(&out)?;
                Ok(ControlFlow::Continue(()))
            })?;
        }
    }
    Ok(out)
}

const TOO_LARGE: &str = "the answer is larger than 16 MiB; ask for less (limit, group by), or write it with `dcfs sql -o FILE`";

/// Bytes up to [`MOST`].
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= self.bytes.len() + bytes.len() > MOST;
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A missing dataset is an error of the statement, not a missing file.
fn invalid(error: Error) -> Error {
    match error.kind() {
        Kind::Missing => Error::new(Kind::Invalid, error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_statement_by_its_first_word_and_its_ending() {
        let cases = [
            ("select 1.csv", Some("select 1")),
            ("SELECT a \u{2215} b from pets.jsonl", Some("SELECT a / b from pets")),
            (
                "with x as (select 1) select * from x.md",
                Some("with x as (select 1) select * from x"),
            ),
            (" values (1).csv", Some(" values (1)")),
            ("select(1).csv", Some("select(1)")),
            ("selection.csv", None),
            ("select 1", None),
            (".csv", None),
            ("delete from pets.csv", None),
            ("select 1.csv/select 2.csv", None),
        ];
        for (name, want) in cases {
            assert_eq!(read(name).map(|(text, _)| text).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn tables_beside_the_catalog_are_live() {
        let cases = [
            ("select count(*) from pets", false),
            ("select * from catalog.datasets", false),
            ("select 'catalog.runs'", false),
            ("select id from catalog.runs", true),
            ("select * from pets p join (select dataset from catalog.usage) u", true),
            ("select from", false),
        ];
        for (text, want) in cases {
            assert_eq!(is_live(text), want, "{text}");
        }
    }

    #[test]
    fn a_shared_mount_shows_no_runs_and_no_listings() {
        for text in [
            "select * from listing('s3://bucket/')",
            "select 1 from pets where exists (select 1 from listing('s3://b/'))",
            "select id from catalog.runs",
        ] {
            let statement = Statement::read(text).expect("a statement");
            let error = not_private(&statement).expect_err(text);
            assert!(
                error.kind() == Kind::Invalid && !error.to_string().contains("s3://"),
                "{error}"
            );
        }
        let statement = Statement::read("select * from pets").expect("a statement");
        not_private(&statement).expect("shown");
    }

    #[test]
    fn a_statement_ends_before_its_caller_stops_waiting() {
        let (began, timeout) = (Instant::now(), Duration::from_secs(8));
        let limits = limits(timeout, began);
        assert_eq!(limits.until, Some(began + Duration::from_secs(7)));
        assert!(!limits.spills && limits.time < timeout);
        // As without a mount, where nothing ends.
        assert_eq!(super::limits(Duration::MAX, began).until, None);
    }
}
