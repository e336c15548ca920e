//! Annotations of columns: `dcfs_annotations`, a table of dcfs's own, because DataChain has no
//! column for them.
//!
//! DataChain leaves tables alone that it does not know. Rows are found by the dataset's full name
//! and the dotted name of the column, so that they apply to every version; a rename by dcfs moves
//! them along.

use super::naming::now;
use crate::catalog::ask::{Ask, Bound, Write, bound};
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;
use dcfs_core::annotation::{Annotation, Annotations, LONGEST};
use dcfs_core::name::DatasetName;

const TABLE: &str = "dcfs_annotations";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS dcfs_annotations (\
    dataset TEXT NOT NULL, name TEXT NOT NULL, description TEXT, owner TEXT, caveat TEXT, \
    said_at DATETIME, said_by TEXT, PRIMARY KEY (dataset, name))";

/// The most columns of one dataset that are read: more than people describe in any schema.
const MOST: i64 = 10_000;

/// Annotates a column; `by` is the author.
pub fn say(
    write: &dyn Write,
    dataset: &DatasetName,
    column: &str,
    said: &Annotation,
    by: &str,
) -> Result<(), Error> {
    if !Columns::of(write, TABLE)?.exist() {
        write.define(CREATE)?;
    }
    let was = read(write, dataset)?.remove(column).unwrap_or_default();
    let annotation = was.with(said);
    let dataset = dataset.whole();
    let sql = "DELETE FROM dcfs_annotations WHERE dataset = ?1 AND name = ?2";
    write.run(sql, bound![&dataset, column])?;
    if annotation.is_empty() {
        return Ok(());
    }
    let Annotation { description, owner, caveat } = &annotation;
    write.run(
        "INSERT INTO dcfs_annotations (dataset, name, description, owner, caveat, said_at, said_by) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        bound![
            &dataset,
            column,
            description.as_deref(),
            owner.as_deref(),
            caveat.as_deref(),
            &now(),
            by
        ],
    )?;
    Ok(())
}

/// All annotations of a dataset. Anybody may have written anything into the table.
pub fn read(tables: &dyn Ask, dataset: &DatasetName) -> Result<Annotations, Error> {
    let columns = Columns::of(tables, TABLE)?;
    if columns.require(&["dataset", "name"]).is_err() {
        return Ok(Annotations::new());
    }
    let list = ["name", "description", "owner", "caveat"].map(|name| columns.or_null("t", name));
    let sql = format!(
        "SELECT {} FROM {TABLE} t WHERE t.dataset = ?1 ORDER BY t.name LIMIT {MOST}",
        list.join(", ")
    );
    let mut found = Annotations::new();
    for mut row in tables.ask(&sql, &[Bound::Text(&dataset.whole())])? {
        let [name, description, owner, caveat] = [0, 1, 2, 3].map(|at| row.take(at).map(bounded));
        found.insert(name.unwrap_or_default(), Annotation { description, owner, caveat });
    }
    Ok(found)
}

/// Moves the annotations along with a dataset's name.
pub fn rename(write: &dyn Write, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
    if Columns::of(write, TABLE)?.has("dataset") {
        let (from, to) = (from.whole(), to.whole());
        // Of a dataset that once had the name, and is gone.
        let sql = "DELETE FROM dcfs_annotations WHERE dataset = ?2 \
                   AND name IN (SELECT name FROM dcfs_annotations WHERE dataset = ?1)";
        write.run(sql, bound![&from, &to])?;
        let sql = "UPDATE dcfs_annotations SET dataset = ?2 WHERE dataset = ?1";
        write.run(sql, bound![&from, &to])?;
    }
    Ok(())
}

fn bounded(text: String) -> String {
    if text.len() > LONGEST { text.chars().take(LONGEST).collect() } else { text }
}
