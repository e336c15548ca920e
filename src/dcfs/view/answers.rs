//! The JSON answers for the page.

use std::collections::HashMap;
use std::sync::Arc;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::render::rows::{Beside, Format};
use dcfs_core::schema::{FileColumn, Schema};
use dcfs_data::query::Selected;
use dcfs_data::stats;
use dcfs_data::tables::source::with_keys;
use dcfs_data::tables::{Rows, Source, text};
use serde_json::{Value, json};

use super::View;

/// Limit of rows in one answer.
const MOST_ROWS: u64 = 500;

/// Limit of one answer in bytes: strangers' cells may be megabytes each.
const MOST_BYTES: usize = 8 << 20;

impl View {
    /// The dataset: its versions, columns, parents and children.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn about(&self) -> Result<Value> {
        let details = self.catalog.details(&self.of)?;
        let parents = self.catalog.parents(self.of.id)?;
        let parents: Vec<String> = parents
            .iter()
            .filter_map(|parent| parent.dataset.as_ref())
            .map(|(name, version)| format!("{name}@{version}"))
            .collect();
        let files: Vec<String> = self.schema.listed_files().map(|file| file.name.clone()).collect();
        Ok(json!({
            "name": self.of.dataset.to_string(),
            "version": self.of.version.to_string(),
            "rows": self.pack.row_count(),
            "filter": self.filter,
            "description": details.description,
            "parents": parents,
            "files": files,
            "script": details.script,
        }))
    }

    /// The number of rows that a filter selects; an error in it is an answer too.
    pub fn count(&self, filter: &str) -> Value {
        match self.select(filter) {
            Ok(selected) => json!({ "rows": count(&selected) }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// Rows of a filter in its order, after the first `from`: a list of objects with path and id only, which is
    /// what the grid shows; other columns may have megabytes per row.
    ///
    /// # Errors
    /// Errors in the filter; those of the catalog.
    pub fn rows(&self, filter: &str, from: u64, most: u64) -> Result<Vec<u8>> {
        let selected = self.select(filter)?.slice(from, most.min(MOST_ROWS));
        let source = self.source(selected);
        let schema = Arc::new(self.schema.select(&[], &[])?);
        self.list(&Source { schema, ..source })
    }

    /// One row with all its values.
    ///
    /// # Errors
    /// `Missing` if there is none; those of the catalog.
    pub fn row(&self, id: RowId) -> Result<Value> {
        let selected = self.select(&format!("sys__id = {id}"))?;
        let list = self.list(&self.source(selected))?;
        let mut rows: Vec<Value> =
            serde_json::from_slice(&list).map_err(|error| Error::new(Kind::Broken, error))?;
        let row = rows.pop().ok_or_else(|| Error::new(Kind::Missing, format!("no row {id}")))?;
        let mut places = Vec::new();
        for file in self.schema.listed_files() {
            let object = self.catalog.objects(&self.of, file, &[id])?.pop().flatten();
            places.push(json!({
                "column": file.name,
                "uri": object.as_ref().map(ToString::to_string),
                "size": object.as_ref().and_then(|object| object.size),
                "etag": object.as_ref().map(|object| object.etag.clone()),
                "version": object.as_ref().map(|object| object.version.clone()),
            }));
        }
        Ok(json!({ "row": row, "files": places }))
    }

    /// The paths of some rows, by their ids: in the form of [`View::rows`], a string or one for each File
    /// column.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn paths(&self, ids: &[RowId]) -> Result<HashMap<i64, Value>> {
        let known = self.pack.ids()?;
        let rows = ids.iter().filter_map(|id| known.find(*id)).collect();
        let source = self.source(Selected { rows: Arc::new(rows), ranking: None });
        let schema = Arc::new(self.schema.select(&[], &[])?);
        let list = self.list(&Source { schema, ..source })?;
        let rows: Vec<Value> =
            serde_json::from_slice(&list).map_err(|error| Error::new(Kind::Broken, error))?;
        let named = |row: Value| {
            // A column of the same name is overridden.
            let find = |name: &str| {
                let row = row.as_object()?.iter().rev();
                row.clone().find(|(key, _)| key.trim_start_matches('_') == name).map(|(_, of)| of)
            };
            let id = find("sys__id")?;
            let id = id.as_i64().or_else(|| id.as_str()?.parse().ok())?;
            Some((id, find("path").cloned().unwrap_or_default()))
        };
        Ok(rows.into_iter().filter_map(named).collect())
    }

    /// The statistics of the rows of a filter, in the form of `_stats.json`.
    ///
    /// # Errors
    /// As [`View::rows`].
    pub fn stats(&self, filter: &str) -> Result<String> {
        let selected = self.select(filter)?;
        // The order does not affect statistics.
        let unordered = Selected { ranking: None, ..selected };
        Ok(stats::of(&self.source(unordered), &|_| {})?.json)
    }

    /// The File column with this number, among those that a mount lists.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, number: usize) -> Result<&FileColumn> {
        let none = || Error::new(Kind::Missing, "no such File column");
        self.schema.listed_files().nth(number).ok_or_else(none)
    }

    fn source(&self, selected: Selected) -> Source {
        let (schema, rows): (Arc<Schema>, Rows) = match selected {
            Selected { ranking: Some(ranking), .. } => {
                (Arc::new(with_keys(&self.schema, &ranking)), Rows::Ranked(ranking))
            }
            Selected { rows, .. } => (self.schema.clone(), Rows::Some(rows)),
        };
        Source {
            catalog: self.catalog.clone(),
            of: self.of.clone(),
            schema,
            pack: self.pack.clone(),
            rows,
            root: None,
            is_ranked: false,
            beside: Beside::ALL,
        }
    }

    fn list(&self, source: &Source) -> Result<Vec<u8>> {
        let layout = source.layout(Format::Jsonl);
        let mut list = b"[".to_vec();
        let mut line = Vec::new();
        text::write(source, &layout, 0..=u32::MAX, &mut line, &mut |_, line| {
            if list.len() > 1 {
                list.push(b',');
            }
            for_browsers(line.trim_ascii_end(), &mut list);
            line.clear();
            list.len() < MOST_BYTES
        })?;
        if list.len() >= MOST_BYTES {
            let message = format!("a row has more than {} MiB", MOST_BYTES >> 20);
            return Err(Error::new(Kind::Invalid, message));
        }
        list.push(b']');
        Ok(list)
    }
}

/// JSON for browsers: `NaN`, infinities and integers of more than 15 digits, which they would round, become
/// strings.
fn for_browsers(json: &[u8], out: &mut Vec<u8>) {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let is_word = !is_text && (byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_word {
            is_text ^= byte == b'"' && !is_escaped;
            is_escaped = is_text && byte == b'\\' && !is_escaped;
            out.push(byte);
            at += 1;
            continue;
        }
        let is_inside =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = json[at..].iter().take_while(|byte| is_inside(byte)).count();
        let word = &json[at..at + length];
        let is_long = word.len() > 15 && word.iter().all(|b| b.is_ascii_digit() || *b == b'-');
        let is_odd = word.ends_with(b"NaN") || word.ends_with(b"Infinity");
        match is_long || is_odd {
            true => out.extend([b"\"", word, b"\""].concat()),
            false => out.extend_from_slice(word),
        }
        at += length;
    }
}

fn count(selected: &Selected) -> u64 {
    match &selected.ranking {
        Some(ranking) => ranking.rows.len() as u64,
        None => selected.rows.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_read_every_value() {
        let cases = [
            (
                r#"{"a":Infinity,"b":[-Infinity,NaN,1.5]}"#,
                r#"{"a":"Infinity","b":["-Infinity","NaN",1.5]}"#,
            ),
            (
                r#"{"id":9007199254740993,"n":-12,"x":1e+20}"#,
                r#"{"id":"9007199254740993","n":-12,"x":1e+20}"#,
            ),
            (
                r#"{"t":"NaN \" 9007199254740993","ok":true,"no":null}"#,
                r#"{"t":"NaN \" 9007199254740993","ok":true,"no":null}"#,
            ),
        ];
        for (json, want) in cases {
            let mut out = Vec::new();
            for_browsers(json.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
