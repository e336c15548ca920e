//! `/sql/<statement>.csv`, `.jsonl`, `.md`, `.parquet`, `.arrow`: the result of a SELECT over the catalog's versions, as a file.
//!
//! A slash in the statement is U+2215 in the name, as in filters. A wrong statement, or one with too large a result, is EINVAL,
//! and the file of the same name in `/sql/_error/` has the message.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::runtime::Handle as Runtime;

use super::{Folder, Node};
use crate::{Vfs, wrong};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::SLASH;
use dcfs_core::render::rows::Format;
use dcfs_core::render::stranger::on_terminal;
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
const MEMORY: u64 = 512 << 20;

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
        if path.as_bytes() == wrong::NAME {
            return Ok(Some(Node::Directory));
        }
        let (directory, name) = path.split_once('/').unwrap_or(("", path));
        let Some((text, form)) = read(name) else { return Ok(None) };
        let answer = answer(vfs, &text, form);
        match (directory.as_bytes(), answer) {
            (b"", answer) => Ok(Some(Node::File(answer?.into()))),
            (wrong::NAME, Err(error))
                if error.kind() == Kind::Invalid || error.kind() == Kind::Missing =>
            {
                Ok(Some(Node::File((on_terminal(&error.to_string()) + "\n").into())))
            }
            (wrong::NAME, Err(error)) => Err(error),
            _ => Ok(None),
        }
    }

    fn names(&self, _vfs: &Arc<Vfs>, _path: &str) -> Result<Vec<(String, bool)>> {
        Ok(Vec::new())
    }

    fn stamp(&self, vfs: &Vfs) -> Result<Option<String>> {
        Ok(Some(format!("{:?}", vfs.catalog.revision()?)))
    }
}

/// The statement in a name, and the format of its result; `None` if the name is not a statement.
fn read(name: &str) -> Option<(String, Form)> {
    let (ending, form) = FORMS.into_iter().find(|(ending, _)| name.ends_with(ending))?;
    let text = &name[..name.len() - ending.len()];
    let first = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next()?;
    let is_one = BEGINNINGS.iter().any(|beginning| first.eq_ignore_ascii_case(beginning));
    is_one.then(|| (text.replace(SLASH, "/"), form))
}

fn answer(vfs: &Arc<Vfs>, text: &str, form: Form) -> Result<Vec<u8>> {
    // The use of datasets by this user is private.
    let usage = if vfs.is_shared() { Usage::off() } else { vfs.usage() };
    let question = Question::read(&vfs.catalog, usage, text).map_err(invalid)?;
    if vfs.is_shared() && question.is_of_runs() {
        return Err(Error::new(
            Kind::Invalid,
            "`catalog.runs` is not shown in a mount shared with other users",
        ));
    }
    question.note(Timestamp::of_system(SystemTime::now()));
    // The packs open in the mount are used. Statements run in a task that may block.
    let packs = |of: &_| Runtime::current().block_on(vfs.packs.get(of));
    let limits = Limits { time: vfs.timeout, memory: MEMORY };
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
        ];
        for (name, want) in cases {
            assert_eq!(read(name).map(|(text, _)| text).as_deref(), want, "{name}");
        }
    }
}
