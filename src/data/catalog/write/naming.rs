//! Rules for names and numbers, and the tables for the rows of versions.
//!
//! SQLite ignores the case of ASCII letters in table names, and DataChain does not: two datasets
//! whose names differ only in case share a table, and cleaning up after one loses the other. So
//! such a name is refused.

use std::time::SystemTime;

use rusqlite::Connection;

use super::error::Refused;
use super::publish::Number;
use crate::catalog::ask::{Answer, Ask, bound};
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
pub fn check(tables: &dyn Ask, name: &DatasetName) -> Result<(), Error> {
    form(name)?;
    neighbours(tables, name)
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
pub fn neighbours(tables: &dyn Ask, name: &DatasetName) -> Result<(), Error> {
    let sql = format!(
        "SELECT n.name, p.name, d.name {FROM} WHERE lower(n.name) = lower(?1) AND lower(p.name) = lower(?2) \
         AND lower(d.name) = lower(?3) AND d.name <> ?3"
    );
    let found = tables.ask(&sql, bound![&name.namespace, &name.project, &name.name])?;
    // `lower` of a server changes more letters than that of SQLite, which changes only A to Z.
    let is_same = |at: usize, own: &str, row: &Answer| {
        row.text(at).is_some_and(|there| there.eq_ignore_ascii_case(own))
    };
    let mut same = found.into_iter().filter(|row| {
        is_same(0, &name.namespace, row)
            && is_same(1, &name.project, row)
            && is_same(2, &name.name, row)
    });
    let Some(there) = same.next().and_then(|mut row| row.take(2)) else { return Ok(()) };
    let wanted = name.name.clone();
    Err(match name.is_listing() {
        true => Refused::OtherListing { wanted, there },
        false => Refused::OtherCase { wanted, there },
    }
    .into())
}

/// The place of row tables.
pub trait Places {
    /// Whether there is a table of the name.
    fn has_table(&self, table: &str) -> Result<bool, Error>;
}

/// In SQLite, where the case of A to Z makes no difference.
impl Places for Connection {
    fn has_table(&self, table: &str) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)";
        Ok(self.prepare_cached(sql)?.query_row([table], |row| row.get(0))?)
    }
}

/// The key of a dataset.
pub fn dataset(tables: &dyn Ask, name: &DatasetName) -> Result<Option<i64>, Error> {
    let sql = format!("SELECT d.id {FROM} WHERE n.name = ?1 AND p.name = ?2 AND d.name = ?3");
    let key = bound![&name.namespace, &name.project, &name.name];
    Ok(tables.first(&sql, key)?.and_then(|row| row.integer(0)))
}

/// The highest version of a dataset, whatever its status; texts that are not versions do not count.
pub fn highest(tables: &dyn Ask, dataset: i64) -> Result<Option<Version>, Error> {
    let versions = versions(tables, dataset)?;
    Ok(versions.iter().filter_map(|text| text.parse().ok()).max())
}

/// The version texts of a dataset, whatever their status.
pub fn versions(tables: &dyn Ask, dataset: i64) -> Result<Vec<String>, Error> {
    let sql = "SELECT version FROM datasets_versions WHERE dataset_id = ?1";
    let rows = tables.ask(sql, bound![dataset])?;
    Ok(rows.into_iter().filter_map(|mut row| row.take(0)).collect())
}

/// The number of the new version, and the table for its rows.
pub fn numbered(
    places: &dyn Places,
    name: &DatasetName,
    highest: Option<Version>,
    number: Number,
) -> Result<(Version, String), Error> {
    match number {
        Number::Next(bump) => next(places, name, highest, bump),
        Number::Exactly(wanted) => chosen(places, name, highest, wanted),
    }
}

/// The first number above `highest` whose table is free, and that table. A table may be left over
/// from a version that was never completed.
fn next(
    places: &dyn Places,
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
        if !places.has_table(&table)? {
            return Ok((candidate, table));
        }
        version = candidate.next(bump);
    }
    Err(Refused::NumbersUsedUp(name.clone(), highest.unwrap_or_default()).into())
}

/// A version number chosen by the user: above all that ever existed.
fn chosen(
    places: &dyn Places,
    name: &DatasetName,
    highest: Option<Version>,
    wanted: Version,
) -> Result<(Version, String), Error> {
    if let Some(latest) = highest.filter(|latest| wanted <= *latest) {
        return Err(Refused::NotAbove { name: name.clone(), wanted, latest }.into());
    }
    let table = table_name(name, &wanted.to_string());
    match places.has_table(&table)? {
        true => Err(Refused::TableInTheWay(table).into()),
        false => Ok((wanted, table)),
    }
}

/// The number of a copied version, which may be below others, and the table for its rows: both have to be free. `taken` are
/// the numbers of all versions that ever existed.
pub fn kept(
    places: &dyn Places,
    name: &DatasetName,
    taken: &[String],
    wanted: Version,
) -> Result<(Version, String), Error> {
    if taken.iter().any(|text| text.parse::<Version>() == Ok(wanted)) {
        return Err(Refused::NumberTaken { name: name.clone(), wanted }.into());
    }
    let table = table_name(name, &wanted.to_string());
    match places.has_table(&table)? {
        true => Err(Refused::TableInTheWay(table).into()),
        false => Ok((wanted, table)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing tables.
    struct Tables<'t>(&'t [&'t str]);

    impl Places for Tables<'_> {
        fn has_table(&self, table: &str) -> Result<bool, Error> {
            Ok(self.0.contains(&table))
        }
    }

    #[test]
    fn a_copied_version_keeps_a_number_below_the_highest() {
        let name =
            DatasetName { namespace: LOCAL.into(), project: LOCAL.into(), name: "pets".into() };
        let taken = ["2.0.0".to_owned(), "odd".to_owned()];
        let kept = |tables: &[&str], wanted: &str| {
            kept(&Tables(tables), &name, &taken, wanted.parse().expect("a version"))
        };
        let table = "ds_local_local_pets_1_0_0";
        let (version, own) = kept(&[], "1.0.0").expect("it is free");
        assert_eq!((version.to_string().as_str(), own.as_str()), ("1.0.0", table));
        assert!(matches!(kept(&[table], "1.0.0"), Err(Error::Refused(Refused::TableInTheWay(_)))));
        assert!(matches!(kept(&[], "2.0.0"), Err(Error::Refused(Refused::NumberTaken { .. }))));
    }

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
