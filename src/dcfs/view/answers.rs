//! What the page asks, as JSON.

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

/// Rows of one answer, at most.
const MOST_ROWS: u64 = 500;

/// Bytes of one answer, at most: cells of strangers may be megabytes each.
const MOST_BYTES: usize = 8 << 20;

impl View {
    /// The dataset: its versions, columns, parents and children.
    ///
    /// # Errors
    /// What the catalog says.
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

    /// How many rows a filter selects; what is wrong with it is an answer too.
    pub fn count(&self, filter: &str) -> Value {
        match self.select(filter) {
            Ok(selected) => json!({ "rows": count(&selected) }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// Rows of a filter in its order, after the first `from`: a list of objects with their paths and ids.
    ///
    /// # Errors
    /// What is wrong with the filter; what the catalog says.
    pub fn rows(&self, filter: &str, from: u64, most: u64) -> Result<Vec<u8>> {
        let selected = self.select(filter)?.slice(from, most.min(MOST_ROWS));
        self.list(&self.source(selected))
    }

    /// One row with all its values.
    ///
    /// # Errors
    /// `Missing` where there is none; what the catalog says.
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

    /// The statistics of the rows of a filter, as `_stats.json` has them.
    ///
    /// # Errors
    /// As [`View::rows`].
    pub fn stats(&self, filter: &str) -> Result<String> {
        let selected = self.select(filter)?;
        // An order says nothing of what is in the rows.
        let unordered = Selected { ranking: None, ..selected };
        Ok(stats::of(&self.source(unordered), &|_| {})?.json)
    }

    /// The File column of this number, among those that a mount lists.
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
            list.extend_from_slice(line.trim_ascii_end());
            line.clear();
            list.len() < MOST_BYTES
        })?;
        list.push(b']');
        Ok(list)
    }
}

fn count(selected: &Selected) -> u64 {
    match &selected.ranking {
        Some(ranking) => ranking.rows.len() as u64,
        None => selected.rows.len(),
    }
}
