//! `/runs/`: the facts of `dcfs runs`, for runs that are not versions yet. A run is found by the name of its dataset or the
//! beginning of its id.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Folder, Node, Stamp};
use crate::Vfs;
use dcfs_core::error::Result;
use dcfs_data::runs;

/// The folder.
pub struct Runs;

/// The files of a run.
const FILES: [&str; 3] = ["errors.jsonl", "log", "status.json"];

/// The most bytes of a file.
const MOST: u64 = 16 << 20;

/// Whether a directory can have an entry of this name.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

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
        let mut names = BTreeSet::new();
        for found in runs::list(vfs.catalog.path()).into_iter().rev() {
            // The newest of several that make the same dataset has its name; a file that somebody copied into
            // the folder may call itself anything.
            let both = [found.makes(), found.short()];
            let free = both.into_iter().find(|name| is_file_name(name) && !names.contains(*name));
            names.extend(free.map(str::to_owned));
        }
        Ok(names.into_iter().map(|name| (name, true)).collect())
    }

    fn is_private(&self) -> bool {
        true
    }

    fn stamp(&self, _vfs: &Vfs, _path: &str) -> Result<Stamp> {
        Ok(Stamp::Live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_directory_can_have_are_listed() {
        for (name, want) in
            [("pets", true), ("a.b.c", true), ("", false), ("..", false), ("../x", false)]
        {
            assert_eq!(is_file_name(name), want, "{name}");
        }
        assert!(!is_file_name(&"x".repeat(256)));
    }
}
