//! Who saved a version, and how: `dcfs_provenance`, a table of dcfs's own, for DataChain has no column for it.
//!
//! DataChain leaves tables alone that it does not know. Rows are found by the version's uuid, so they outlive a rename,
//! and a catalog that is copied keeps them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::catalog::cell;
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;
use crate::catalog::{Git, Provenance};
use dcfs_core::provenance::Reached;

const TABLE: &str = "dcfs_provenance";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS dcfs_provenance (\
    uuid TEXT NOT NULL PRIMARY KEY, saved_at DATETIME, user TEXT, host TEXT, folder TEXT, \
    git_name TEXT, git_email TEXT, git_commit TEXT, git_dirty BOOLEAN, \
    command JSON, filter TEXT, dcfs TEXT, settings JSON)";

/// Catalogs that an earlier dcfs wrote lack the column.
const ADD_SETTINGS: &str = "ALTER TABLE dcfs_provenance ADD COLUMN settings JSON";

/// Saves that are looked at for how sources were reached: those of long ago say little.
const MOST_SETTINGS: usize = 200;

/// Notes who saved the version `uuid`.
pub fn write(write: &Transaction<'_>, uuid: &str, now: &str, by: &Provenance) -> Result<(), Error> {
    write.execute_batch(CREATE)?;
    if !Columns::of(write, TABLE)?.has("settings") {
        write.execute_batch(ADD_SETTINGS)?;
    }
    let settings = (!by.settings.is_empty()).then(|| serde_json::json!(by.settings).to_string());
    let git = by.git.clone().unwrap_or_default();
    let command = serde_json::Value::from(by.command.as_slice()).to_string();
    write.execute(
        "INSERT OR REPLACE INTO dcfs_provenance (uuid, saved_at, user, host, folder, git_name, \
         git_email, git_commit, git_dirty, command, filter, dcfs, settings) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            uuid,
            now,
            by.user,
            by.host,
            by.folder,
            git.name,
            git.email,
            git.commit,
            git.is_dirty,
            command,
            by.filter,
            env!("CARGO_PKG_VERSION"),
            settings,
        ],
    )?;
    Ok(())
}

/// Who saved the version `uuid`; `None` where DataChain did.
pub fn read(connection: &Connection, uuid: &str) -> Result<Option<Provenance>, Error> {
    let columns = Columns::of(connection, TABLE)?;
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
        "settings",
    ];
    let list = wanted.map(|name| columns.or_null("t", name)).join(", ");
    let sql = format!("SELECT {list} FROM {TABLE} t WHERE t.uuid = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([uuid], by).optional()?)
}

fn by(row: &Row<'_>) -> rusqlite::Result<Provenance> {
    let text = |at: usize| Ok::<_, rusqlite::Error>(cell::text(row.get_ref(at)?));
    let (name, email, commit) = (text(3)?, text(4)?, text(5)?);
    let is_dirty = commit.as_ref().and(cell::integer(row.get_ref(6)?)).map(|dirty| dirty == 1);
    let git = Git { name, email, commit, is_dirty };
    let command = text(7)?.and_then(|json| serde_json::from_str(&json).ok());
    Ok(Provenance {
        user: text(0)?,
        host: text(1)?,
        folder: text(2)?,
        git: (git != Git::default()).then_some(git),
        command: command.unwrap_or_default(),
        filter: text(8)?,
        // Whoever wrote nonsense there told nothing.
        settings: text(9)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
    })
}

/// How sources were reached when they were last indexed.
pub fn settings(connection: &Connection) -> Result<BTreeMap<String, Reached>, Error> {
    let columns = Columns::of(connection, TABLE)?;
    if !columns.has("settings") {
        return Ok(BTreeMap::new());
    }
    let order = columns.or_null("t", "saved_at");
    let sql = format!(
        "SELECT t.settings FROM {TABLE} t WHERE t.settings IS NOT NULL ORDER BY {order} DESC LIMIT {MOST_SETTINGS}"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let text = cell::text(row.get_ref(0)?).unwrap_or_default();
        let said: BTreeMap<String, Reached> = serde_json::from_str(&text).unwrap_or_default();
        for (source, reached) in said {
            all.entry(source).or_insert(reached);
        }
    }
    Ok(all)
}
