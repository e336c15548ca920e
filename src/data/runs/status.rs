//! The status, log and errors of a run, for people, programs and mounts.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::folder::{self, Found};
use super::{About, RunFile};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::secrets;

/// The letters of an id that are shown.
const SHORT: usize = 8;

/// The fewest letters of an id that find a run where a dataset's name does, too.
const FEWEST: usize = 4;

impl About {
    /// The name of the resulting dataset; those of this catalog are shown without their namespace.
    pub fn makes(&self) -> &str {
        self.name.strip_prefix("local.local.").unwrap_or(&self.name)
    }
}

impl Found {
    /// As [`About::makes`].
    pub fn makes(&self) -> &str {
        self.about.makes()
    }

    /// The beginning of its id.
    pub fn short(&self) -> &str {
        self.about.id.get(..SHORT).unwrap_or(&self.about.id)
    }

    /// The status as JSON; secrets in the command are masked.
    pub fn status(&self) -> Value {
        let about = &self.about;
        json!({
            "id": about.id,
            "kind": about.kind,
            "name": about.makes(),
            "input": about.input,
            "state": self.state.text(),
            "rows": self.rows,
            "of": about.rows,
            "errors": self.errors,
            "pid": about.pid,
            "host": about.host,
            "started": about.started,
            "command": secrets::masked(&about.command),
            "ended": self.ended,
        })
    }

    /// The standard error of its program, at most `most` bytes, with secrets masked.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn said(&self, most: u64) -> Result<String> {
        let file = match dcfs_disk::regular::open(&self.log()) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(Error::new(Kind::Denied, error)),
        };
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes).map_err(|error| Error::new(Kind::Broken, error))?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.split_inclusive('\n').map(secrets::masked).collect())
    }

    /// The rows that failed, an object a line: `row` and `error`. About `most` bytes at most.
    ///
    /// # Errors
    /// A damaged file.
    pub fn errors_jsonl(&self, most: u64) -> Result<String> {
        let mut text = String::new();
        RunFile::errors(&self.path, &mut |row, error| {
            let line = json!({ "row": row.key(), "error": secrets::masked(error) });
            text += &format!("{line}\n");
            (text.len() as u64) < most
        })?;
        Ok(text)
    }
}

/// The newest run that makes a dataset of this name, else the one whose id begins so.
pub fn named(database: &Path, name: &str) -> Option<Found> {
    let mut all = folder::list(database);
    let is_named = |found: &Found| found.about.name == name || found.makes() == name;
    if let Some(at) = all.iter().rposition(is_named) {
        return Some(all.swap_remove(at));
    }
    let is_it = |found: &Found| name.len() >= FEWEST && found.about.id.starts_with(name);
    let mut some = all.into_iter().filter(is_it);
    some.next().filter(|_| some.next().is_none())
}
