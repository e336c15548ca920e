//! Who saved a version, and how: `dcfs_provenance`, a table of dcfs's own, because DataChain has no
//! column for it.
//!
//! DataChain leaves tables alone that it does not know. Rows are found by the version's uuid, so
//! they survive a rename, and are part of a copied catalog.

use std::collections::BTreeMap;

use crate::catalog::ask::{Answer, Ask, Bound, Write, bound};
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;
use crate::catalog::{Git, Provenance};
use dcfs_core::provenance::Reached;

const TABLE: &str = "dcfs_provenance";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS dcfs_provenance (\
    uuid TEXT NOT NULL PRIMARY KEY, saved_at DATETIME, \"user\" TEXT, host TEXT, folder TEXT, \
    git_name TEXT, git_email TEXT, git_commit TEXT, git_dirty BOOLEAN, \
    command JSON, filter TEXT, dcfs TEXT, recipe JSON, settings JSON)";

/// Columns that tables written by older releases lack.
const LATER: [(&str, &str); 2] = [("recipe", "JSON"), ("settings", "JSON")];

/// The most saves that are searched for how sources were accessed: old ones say little.
const MOST_SETTINGS: usize = 200;

/// Records who saved the version `uuid`.
pub fn write(write: &dyn Write, uuid: &str, now: &str, by: &Provenance) -> Result<(), Error> {
    let mut there = Columns::of(write, TABLE)?;
    if !there.exist() {
        write.define(CREATE)?;
        there = Columns::of(write, TABLE)?;
    }
    for (column, declared) in LATER.iter().filter(|(column, _)| !there.has(column)) {
        write.define(&format!("ALTER TABLE {TABLE} ADD COLUMN {column} {declared}"))?;
    }
    let settings = (!by.settings.is_empty()).then(|| serde_json::json!(by.settings).to_string());
    let git = by.git.clone().unwrap_or_default();
    let command = serde_json::Value::from(by.command.as_slice()).to_string();
    let recipe = by.recipe.as_ref().map(ToString::to_string);
    write.run("DELETE FROM dcfs_provenance WHERE uuid = ?1", bound![uuid])?;
    write.run(
        "INSERT INTO dcfs_provenance (uuid, saved_at, \"user\", host, folder, git_name, \
         git_email, git_commit, git_dirty, command, filter, dcfs, recipe, settings) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        bound![
            uuid,
            now,
            by.user.as_deref(),
            by.host.as_deref(),
            by.folder.as_deref(),
            git.name.as_deref(),
            git.email.as_deref(),
            git.commit.as_deref(),
            git.is_dirty,
            &command,
            by.filter.as_deref(),
            env!("CARGO_PKG_VERSION"),
            recipe.as_deref(),
            settings.as_deref(),
        ],
    )?;
    Ok(())
}

/// Who saved the version `uuid`; `None` if DataChain did.
pub fn read(tables: &dyn Ask, uuid: &str) -> Result<Option<Provenance>, Error> {
    let columns = Columns::of(tables, TABLE)?;
    if !columns.has("uuid") {
        return Ok(None);
    }
    let wanted = [
        "user",
        "host",
        "folder",
        "git_name",
        "git_email",
        "git_commit",
        "git_dirty",
        "command",
        "filter",
        "recipe",
        "settings",
    ];
    let list = wanted.map(|name| columns.or_null("t", name)).join(", ");
    let sql = format!("SELECT {list} FROM {TABLE} t WHERE t.uuid = ?1");
    Ok(tables.first(&sql, &[Bound::Text(uuid)])?.map(by))
}

fn by(mut row: Answer) -> Provenance {
    let [name, email, commit] = [3, 4, 5].map(|at| row.take(at));
    let is_dirty = commit.as_ref().and(row.integer(6)).map(|dirty| dirty == 1);
    let git = Git { name, email, commit, is_dirty };
    let command = row.text(7).and_then(|json| serde_json::from_str(json).ok());
    Provenance {
        user: row.take(0),
        host: row.take(1),
        folder: row.take(2),
        git: (git != Git::default()).then_some(git),
        command: command.unwrap_or_default(),
        filter: row.take(8),
        recipe: row.text(9).and_then(|json| serde_json::from_str(json).ok()),
        // Malformed settings are ignored.
        settings: row.text(10).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
    }
}

/// How sources were accessed when they were last indexed.
pub fn settings(tables: &dyn Ask) -> Result<BTreeMap<String, Reached>, Error> {
    let columns = Columns::of(tables, TABLE)?;
    if !columns.has("settings") {
        return Ok(BTreeMap::new());
    }
    let order = columns.or_null("t", "saved_at");
    let sql = format!(
        "SELECT t.settings FROM {TABLE} t WHERE t.settings IS NOT NULL ORDER BY {order} DESC LIMIT {MOST_SETTINGS}"
    );
    let mut all = BTreeMap::new();
    for row in tables.ask(&sql, &[])? {
        let text = row.text(0).unwrap_or_default();
        let said: BTreeMap<String, Reached> = serde_json::from_str(text).unwrap_or_default();
        for (source, reached) in said {
            all.entry(source).or_insert(reached);
        }
    }
    Ok(all)
}
