//! Saves a filter of the page as a new version, if `--write` allows it, like `dcfs save`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::View;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::version::Bump;
use dcfs_data::catalog::{Number, Publication, Writer};
use dcfs_work::author;
use dcfs_work::save::{self, Chosen};

/// The body of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saving {
    /// The filter; empty for all rows.
    #[serde(rename = "where")]
    filter: String,
    name: String,
}

impl Saving {
    /// Parses the body of the request.
    ///
    /// # Errors
    /// It is not such JSON.
    pub fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| Error::new(Kind::Invalid, error))
    }

    /// Saves the matching rows of a version.
    ///
    /// # Errors
    /// An invalid name; a filter that is wrong, or selects nothing; those of the catalog.
    pub fn save(&self, view: &View) -> Result<Value> {
        let name: DatasetName = self.name.trim().parse()?;
        let filter = self.filter.trim();
        let selected = view.select(filter)?;
        if selected.rows.is_empty() {
            return Err(Error::new(Kind::Invalid, "no row passes the filter; nothing was saved"));
        }
        let chosen =
            if filter.is_empty() { Chosen::All } else { Chosen::Some(&view.pack, &selected) };
        let mut writer = Writer::open(view.catalog.path())?;
        writer.check_name(&name)?;
        let mut command = vec!["dcfs".to_owned(), "save".to_owned(), view.of.to_string()];
        if !filter.is_empty() {
            command.extend(["--where".to_owned(), filter.to_owned()]);
        }
        command.extend(["--as".to_owned(), name.to_string()]);
        let command: Vec<_> = command.into_iter().map(Into::into).collect();
        let by = author::ask(&command, (!filter.is_empty()).then(|| filter.to_owned()));
        let script = by.script();
        let publication = Publication {
            name: &name,
            number: Number::Next(Bump::Patch),
            upon: None,
            parents: &[view.of.id],
            script: &script,
            description: None,
            attrs: None,
            provenance: &by,
            job: None,
        };
        let of = (&*view.catalog, &view.of);
        let saved = save::save(of, chosen, &mut writer, &publication, |_| {})?;
        let saved_as = format!("{}@{}", saved.dataset, saved.version);
        Ok(json!({ "saved": saved_as, "rows": saved.rows }))
    }
}
