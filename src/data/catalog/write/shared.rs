//! Digests of what hosts share for a version: `dcfs_shared`, a table of dcfs's own.
//!
//! A digest here is the reason to trust shared bytes: whoever can write to the bucket but not to
//! the catalog can forge nothing. Rows are found by the version's uuid, so they survive a rename
//! and are part of a copied catalog.

use super::naming::now;
use crate::catalog::ask::{Answer, Ask, Bound, Write, bound};
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;
use crate::catalog::{Digest, SharedName};
use dcfs_core::hex;

const TABLE: &str = "dcfs_shared";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS dcfs_shared (\
    uuid TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, made_at DATETIME, \
    PRIMARY KEY (uuid, name))";

/// The most rows that are read: a few for every version, and one for every stored filter.
const MOST: usize = 1_000_000;

/// Records the digest of what is shared under `name`.
pub fn note(write: &dyn Write, uuid: &str, name: &str, of: &Digest) -> Result<(), Error> {
    if !Columns::of(write, TABLE)?.exist() {
        write.define(CREATE)?;
    }
    let sql = "DELETE FROM dcfs_shared WHERE uuid = ?1 AND name = ?2";
    write.run(sql, bound![uuid, name])?;
    let sql = "INSERT INTO dcfs_shared (uuid, name, digest, made_at) VALUES (?1, ?2, ?3, ?4)";
    write.run(sql, bound![uuid, name, &hex::hex(of), &now()])?;
    Ok(())
}

/// The digest under `name`, which is `of` if there was none yet.
pub fn note_once(write: &dyn Write, uuid: &str, name: &str, of: &Digest) -> Result<Digest, Error> {
    if Columns::of(write, TABLE)?.exist() {
        let sql = "SELECT digest FROM dcfs_shared WHERE uuid = ?1 AND name = ?2";
        let found = write.first(sql, &[Bound::Text(uuid), Bound::Text(name)])?;
        if let Some(there) = found.and_then(|row| hex::bytes(row.text(0)?)) {
            return Ok(there);
        }
    }
    note(write, uuid, name, of)?;
    Ok(*of)
}

/// Deletes all digests of a version.
pub fn forget(write: &dyn Write, uuid: &str) -> Result<(), Error> {
    if Columns::of(write, TABLE)?.has("uuid") {
        write.run("DELETE FROM dcfs_shared WHERE uuid = ?1", bound![uuid])?;
    }
    Ok(())
}

/// The digest of what is shared under `name`; `None` if there is none or it is malformed.
pub fn find(tables: &dyn Ask, uuid: &str, name: &str) -> Result<Option<Digest>, Error> {
    if Columns::of(tables, TABLE)?.require(&["uuid", "name", "digest"]).is_err() {
        return Ok(None);
    }
    let sql = "SELECT t.digest FROM dcfs_shared t WHERE t.uuid = ?1 AND t.name = ?2";
    let found = tables.first(sql, &[Bound::Text(uuid), Bound::Text(name)])?;
    Ok(found.and_then(|row| hex::bytes(row.text(0)?)))
}

/// All digests, by version.
pub fn all(tables: &dyn Ask) -> Result<Vec<SharedName>, Error> {
    if Columns::of(tables, TABLE)?.require(&["uuid", "name", "digest"]).is_err() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT t.uuid, t.name, t.digest FROM dcfs_shared t ORDER BY t.uuid, t.name LIMIT {MOST}"
    );
    let shared = |mut row: Answer| {
        let digest = hex::bytes(row.text(2)?)?;
        Some(SharedName { uuid: row.take(0)?, name: row.take(1)?, digest })
    };
    Ok(tables.ask(&sql, &[])?.into_iter().filter_map(shared).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_digests() {
        let text = "00ff".repeat(16);
        assert_eq!(hex::bytes(&text).map(|d: Digest| (d[0], d[1])), Some((0, 255)));
        for bad in ["", "00", &"zz".repeat(32), &"\u{e9}".repeat(32), &format!("{text}0")] {
            assert_eq!(hex::bytes::<32>(bad), None, "{bad}");
        }
    }
}
