//! `/runs/`: what `dcfs runs` tells, of the runs that are no version yet. A run is found by the dataset that it makes, or by the
//! beginning of its id.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Folder, Node};
use crate::Vfs;
use dcfs_core::error::Result;
use dcfs_data::runs::{self, Found};

/// The folder.
pub struct Runs;

/// What there is of a run.
const FILES: [&str; 3] = ["errors.jsonl", "log", "status.json"];

/// Bytes of a text.
const MOST: u64 = 16 << 20;

impl Folder for Runs {
    fn name(&self) -> &'static str {
        "runs"
    }

    fn find(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Option<Node>> {
        let (name, file) = path.split_once('/').unwrap_or((path, ""));
        let Some(found) = runs::named(vfs.catalog.path(), name) else { return Ok(None) };
        let text = match file {
            "" => return Ok(Some(Node::Directory)),
            "status.json" => format!("{:#}\n", found.status()),
            "log" => found.said(MOST)?,
            "errors.jsonl" => found.errors_jsonl(MOST)?,
            _ => return Ok(None),
        };
        Ok(Some(Node::File(text.into())))
    }

    fn names(&self, vfs: &Arc<Vfs>, path: &str) -> Result<Vec<(String, bool)>> {
        if !path.is_empty() {
            return Ok(FILES.map(|name| (name.to_owned(), false)).into());
        }
        // Of several that make the same, the newest has the name.
        let mut names = BTreeSet::new();
        let name = |found: Found| match names.contains(found.makes()) {
            true => found.short().to_owned(),
            false => {
                names.insert(found.makes().to_owned());
                found.makes().to_owned()
            }
        };
        let all = runs::list(vfs.catalog.path());
        Ok(all.into_iter().rev().map(name).map(|name| (name, true)).collect())
    }

    fn is_private(&self) -> bool {
        true
    }

    fn stamp(&self, _vfs: &Vfs) -> Result<Option<String>> {
        Ok(None)
    }
}
