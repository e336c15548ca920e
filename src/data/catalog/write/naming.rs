//! Rules for names and numbers, and the tables for the rows of versions.
//!
//! SQLite ignores the case of ASCII letters in table names, and DataChain does not: two datasets
//! whose names differ only in case share a table, and cleaning up after one loses the other. So
//! such a name is refused.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Refused;
use super::publish::Number;
use crate::catalog::error::Error;
use crate::catalog::sqlite::rows::table_name;
use dcfs_core::name::{DatasetName, LOCAL};
use dcfs_core::time::Timestamp;
use dcfs_core::version::{Bump, Version};

/// Datasets with the project `p` and the namespace `n` that each is in.
const FROM: &str = "FROM datasets d JOIN projects p ON p.id = d.project_id \
    JOIN namespaces n ON n.id = p.namespace_id";

/// The current time, as the catalog writes times.
pub fn now() -> String {
    Timestamp::of_system(SystemTime::now()).catalog()
}

/// Checks that a dataset may be called `name`: its form, and names that differ in case.
pub fn check(connection: &Connection, name: &DatasetName) -> Result<(), Error> {
    form(name)?;
    neighbours(connection, name)
}

/// Checks that the form of a name is allowed for saved datasets.
pub fn form(name: &DatasetName) -> Result<(), Error> {
    if name.namespace != LOCAL || name.project != LOCAL {
        return Err(Refused::Elsewhere(name.clone()).into());
    }
    if let Some(why) = fault(&name.name) {
        return Err(Refused::Name(name.name.clone(), why).into());
    }
    Ok(())
}

/// The fault in the form of a name.
fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.contains(['.', '@']) {
        Some("`.` and `@` separate projects and versions")
    } else if name.starts_with("lst__") || name.starts_with("session_") {
        Some("`lst__` and `session_` begin the names of DataChain's own datasets, which it deletes")
    } else if name.chars().any(char::is_control) {
        Some("it has a control character")
    } else if name.contains("://") {
        Some("it looks like a URI")
    } else if name.len() > 200 {
        Some("it is longer than 200 bytes")
    } else {
        None
    }
}

/// Refuses a name that another dataset has in different case.
pub fn neighbours(connection: &Connection, name: &DatasetName) -> Result<(), Error> {
    let sql = format!(
        "SELECT d.name {FROM} WHERE n.name = ?1 COLLATE NOCASE AND p.name = ?2 COLLATE NOCASE \
         AND d.name = ?3 COLLATE NOCASE AND d.name <> ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let there: Option<String> = statement
        .query_row(params![name.namespace, name.project, name.name], |row| row.get(0))
        .optional()?;
    let Some(there) = there else { return Ok(()) };
    let wanted = name.name.clone();
    Err(match name.is_listing() {
        true => Refused::OtherListing { wanted, there },
        false => Refused::OtherCase { wanted, there },
    }
    .into())
}

/// Whether there is a table of the name, in any case.
pub fn has_table(connection: &Connection, table: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
    Ok(connection.prepare_cached(sql)?.query_row([table], |row| row.get(0))?)
}

/// The key of a dataset.
pub fn dataset(connection: &Connection, name: &DatasetName) -> Result<Option<i64>, Error> {
    let sql = format!("SELECT d.id {FROM} WHERE n.name = ?1 AND p.name = ?2 AND d.name = ?3");
    let key = params![name.namespace, name.project, name.name];
    Ok(connection.query_row(&sql, key, |row| row.get(0)).optional()?)
}

/// The highest version of a dataset, whatever its status; texts that are not versions do not count.
pub fn highest(connection: &Connection, dataset: i64) -> Result<Option<Version>, Error> {
    let sql = "SELECT version FROM datasets_versions WHERE dataset_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([dataset])?;
    let mut highest = None;
    while let Some(row) = rows.next()? {
        let version = row.get_ref(0)?.as_str().ok().and_then(|text| text.parse().ok());
        highest = highest.max(version);
    }
    Ok(highest)
}

/// The number of the new version, and the table for its rows.
pub fn numbered(
    connection: &Connection,
    name: &DatasetName,
    highest: Option<Version>,
    number: Number,
) -> Result<(Version, String), Error> {
    match number {
        Number::Next(bump) => next(connection, name, highest, bump),
        Number::Exactly(wanted) => chosen(connection, name, highest, wanted),
    }
}

/// The first number above `highest` whose table is free, and that table. A table may be left over
/// from a version that was never completed.
fn next(
    connection: &Connection,
    name: &DatasetName,
    highest: Option<Version>,
    bump: Bump,
) -> Result<(Version, String), Error> {
    let mut version = match highest {
        None => Some(Version::FIRST),
        Some(highest) => highest.next(bump),
    };
    while let Some(candidate) = version {
        let table = table_name(name, &candidate.to_string());
        if !has_table(connection, &table)? {
            return Ok((candidate, table));
        }
        version = candidate.next(bump);
    }
    Err(Refused::NumbersUsedUp(name.clone(), highest.unwrap_or_default()).into())
}

/// A version number chosen by the user: above all that ever existed.
fn chosen(
    connection: &Connection,
    name: &DatasetName,
    highest: Option<Version>,
    wanted: Version,
) -> Result<(Version, String), Error> {
    if let Some(latest) = highest.filter(|latest| wanted <= *latest) {
        return Err(Refused::NotAbove { name: name.clone(), wanted, latest }.into());
    }
    let table = table_name(name, &wanted.to_string());
    match has_table(connection, &table)? {
        true => Err(Refused::TableInTheWay(table).into()),
        false => Ok((wanted, table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_lost_are_refused() {
        for good in
            ["pets", "Pets 2", "a/b", "\u{65e5}\u{672c}", "1", "a-b_c", "lst_", "my_session_"]
        {
            assert_eq!(fault(good), None, "{good}");
        }
        let long = "x".repeat(201);
        let bad = ["", "a.b", "a@1", "lst__x", "session_x", "a\nb", "a\0b", "s3://b", &long];
        for bad in bad {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
