//! Catalogs built in SQLite, table for table as DataChain 0.62 writes them, hostile ones included.
//!
//! ```ignore
//! let catalog = CatalogBuilder::new(dir.path());
//! catalog
//!     .dataset("pets")
//!     .version("1.0.0")
//!     .file_column("file")
//!     .column("info.width", "INTEGER", "int")
//!     .rows([row().file(file("s3://bucket", "cat.jpg").size(9)).cell(400)])
//!     .save();
//! ```
//!
//! Dotted names make models: `info.width` above is a field of a model `Info`, whose columns are `info__width`.
//! The cells of a row are in the order in which the columns were added.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ToSql, params, params_from_iter};
use serde_json::{Map, Value, json};

pub use super::cells::{Cell, FileCells, Row, file, row};
use super::cells::{FILE, NOW};

/// A catalog on disk, open for writing as DataChain opens it.
pub struct CatalogBuilder {
    connection: Connection,
    path: PathBuf,
}

impl CatalogBuilder {
    /// Makes `dir/.datachain/db` with its fixed tables and no dataset, or opens the one there is.
    pub fn new(dir: &Path) -> Self {
        let folder = dir.join(".datachain");
        fs::create_dir_all(&folder).expect("a folder");
        Self::at(&folder.join("db"))
    }

    /// The same at any path.
    pub fn at(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        connection.pragma_update(None, "journal_mode", "wal").expect("a log");
        connection.pragma_update(None, "foreign_keys", false).expect("anything goes");
        let catalog = Self { connection, path: path.to_owned() };
        if !catalog.connection.table_exists(None, "meta").expect("an answer") {
            catalog.sql(include_str!("../../../src/data/catalog/write/tables.sql"));
            catalog.sql("INSERT INTO meta VALUES (1, 1)");
        }
        catalog
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The writer's own connection, for anything that the builder does not support.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs statements verbatim.
    pub fn sql(&self, statements: &str) {
        self.connection.execute_batch(statements).unwrap_or_else(|e| panic!("{statements}: {e}"));
    }

    /// Begins a dataset of `local.local`, or continues the existing one.
    pub fn dataset(&self, name: &str) -> DatasetBuilder<'_> {
        DatasetBuilder {
            catalog: self,
            namespace: "local".into(),
            project: "local".into(),
            name: name.into(),
            description: None,
            attrs: "[]".into(),
        }
    }

    /// Removes a version like DataChain: its rows are deleted, its number stays taken.
    pub fn remove(&self, version: i64) {
        let table = self.table(version).replace('"', "\"\"");
        self.sql(&format!(
            "UPDATE datasets_versions SET status = 7, removed_at = '{NOW}' WHERE id = {version};
             DROP TABLE \"{table}\";
             UPDATE datasets_versions SET status = 8 WHERE id = {version};"
        ));
    }

    /// The name of the table that holds the rows of a version.
    pub fn table(&self, version: i64) -> String {
        let sql = "SELECT n.name || '_' || p.name || '_' || d.name || '_' || \
                   replace(v.version, '.', '_') FROM datasets_versions v \
                   JOIN datasets d ON d.id = v.dataset_id JOIN projects p ON p.id = d.project_id \
                   JOIN namespaces n ON n.id = p.namespace_id WHERE v.id = ?1";
        let name: String =
            self.connection.query_row(sql, [version], |row| row.get(0)).expect("a version");
        let kind = if name.contains("://") { "src" } else { "ds" };
        format!("{kind}_{name}")
    }

    /// The key that `find` finds, or that of the row that `insert` creates; both take `values`, and `insert`
    /// also a uuid after them.
    fn find_or_insert(&self, find: &str, insert: &str, values: &[&dyn ToSql]) -> i64 {
        let found = self.connection.query_row(find, values, |row| row.get(0));
        found.unwrap_or_else(|_| {
            let uuid = uuid();
            let values: Vec<&dyn ToSql> = values.iter().copied().chain([&uuid as _]).collect();
            self.connection.execute(insert, &values[..]).expect(insert);
            self.connection.last_insert_rowid()
        })
    }
}

/// A uuid that is unique in this process, also for catalogs created again.
fn uuid() -> String {
    static MADE: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-4000-8000-{:012x}", MADE.fetch_add(1, Ordering::Relaxed))
}

/// A dataset under construction.
pub struct DatasetBuilder<'c> {
    catalog: &'c CatalogBuilder,
    namespace: String,
    project: String,
    name: String,
    description: Option<String>,
    attrs: String,
}

impl<'c> DatasetBuilder<'c> {
    /// In another namespace or project than `local.local`.
    pub fn in_project(self, namespace: &str, project: &str) -> Self {
        Self { namespace: namespace.into(), project: project.into(), ..self }
    }

    pub fn description(self, text: &str) -> Self {
        Self { description: Some(text.into()), ..self }
    }

    /// Sets the JSON list of attributes, verbatim.
    pub fn attrs(self, json: &str) -> Self {
        Self { attrs: json.into(), ..self }
    }

    /// Begins a version: complete, without columns and rows.
    pub fn version(self, version: &str) -> VersionBuilder<'c> {
        VersionBuilder {
            dataset: self,
            version: version.into(),
            status: 4,
            uuid: None,
            script: String::new(),
            job: None,
            parents: Vec::new(),
            columns: Vec::new(),
            signals: Tree::default(),
            texts: None,
            rows: Vec::new(),
        }
    }

    fn key(&self) -> i64 {
        let catalog = self.catalog;
        let namespace = catalog.find_or_insert(
            "SELECT id FROM namespaces WHERE name = ?1",
            "INSERT INTO namespaces (name, uuid) VALUES (?1, ?2)",
            &[&self.namespace],
        );
        let project = catalog.find_or_insert(
            "SELECT id FROM projects WHERE namespace_id = ?1 AND name = ?2",
            "INSERT INTO projects (namespace_id, name, uuid) VALUES (?1, ?2, ?3)",
            &[&namespace, &self.project],
        );
        let dataset = catalog.find_or_insert(
            "SELECT id FROM datasets WHERE project_id = ?1 AND name = ?2",
            "INSERT INTO datasets (project_id, name, uuid, status,
                 error_message, error_stack, script_output, sources, query_script)
             VALUES (?1, ?2, ?3, 4, '', '', '', '', '')",
            &[&project, &self.name],
        );
        let sql = "UPDATE datasets SET description = ?2, attrs = ?3 WHERE id = ?1";
        let values = params![dataset, self.description, self.attrs];
        catalog.connection.execute(sql, values).expect("a dataset");
        dataset
    }
}

/// One column of a row table: its name, its declared type, its `schema` entry.
struct Column {
    name: String,
    declared: String,
    stored: &'static str,
}

/// Signals and models by their dotted names.
#[derive(Default)]
struct Tree(BTreeMap<String, Node>);

enum Node {
    Leaf(String),
    Model(Tree),
}

impl Tree {
    fn insert(&mut self, dotted: &str, type_text: &str) {
        match dotted.split_once('.') {
            None => {
                self.0.insert(dotted.into(), Node::Leaf(type_text.into()));
            }
            Some((first, rest)) => {
                let node =
                    self.0.entry(first.into()).or_insert_with(|| Node::Model(Self::default()));
                match node {
                    Node::Model(tree) => tree.insert(rest, type_text),
                    Node::Leaf(_) => panic!("`{first}` is a column already"),
                }
            }
        }
    }

    /// `{field: type}`; models are named by their path from the top and put into `custom`.
    fn fields(&self, above: &str, custom: &mut Map<String, Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        for (name, node) in &self.0 {
            let type_text = match node {
                Node::Leaf(type_text) => type_text.clone(),
                Node::Model(tree) => {
                    let model = format!("{above}M_{name}");
                    let fields = tree.fields(&model, custom);
                    let told = json!({"schema_version": 2, "name": model, "fields": fields,
                        "bases": [], "hidden_fields": []});
                    custom.insert(model.clone(), told);
                    model
                }
            };
            fields.insert(name.clone(), type_text.into());
        }
        fields
    }
}

/// A version under construction.
pub struct VersionBuilder<'c> {
    dataset: DatasetBuilder<'c>,
    version: String,
    status: i64,
    uuid: Option<Cell>,
    script: String,
    job: Option<(String, String)>,
    parents: Vec<Option<i64>>,
    columns: Vec<Column>,
    signals: Tree,
    texts: Option<(Cell, Cell)>,
    rows: Vec<Row>,
}

impl VersionBuilder<'_> {
    /// 4 is COMPLETE, 1 CREATED, 7 REMOVING, 8 REMOVED.
    pub fn status(self, status: i64) -> Self {
        Self { status, ..self }
    }

    pub fn uuid(self, uuid: impl Into<Cell>) -> Self {
        Self { uuid: Some(uuid.into()), ..self }
    }

    /// The text of the script that saved it.
    pub fn script(self, text: &str) -> Self {
        Self { script: text.into(), ..self }
    }

    /// The job that saved it: its name and Python's version.
    pub fn job(self, name: &str, python: &str) -> Self {
        Self { job: Some((name.into(), python.into())), ..self }
    }

    /// A parent version; `None` for one deleted for good.
    pub fn parent(mut self, version: impl Into<Option<i64>>) -> Self {
        self.parents.push(version.into());
        self
    }

    /// A File with all its eight columns.
    pub fn file_column(mut self, name: &str) -> Self {
        self.signals.insert(name, "File@v1");
        let prefix = name.replace('.', "__");
        self.columns.extend(FILE.iter().map(|(field, declared, _, stored)| Column {
            name: format!("{prefix}__{field}"),
            declared: (*declared).into(),
            stored,
        }));
        self
    }

    /// A column: `info.width`, `INTEGER`, `int`.
    pub fn column(mut self, name: &str, declared: &str, type_text: &str) -> Self {
        self.signals.insert(name, type_text);
        self.bare_column(&name.replace('.', "__"), declared)
    }

    /// A column of the table that is in no model.
    pub fn bare_column(mut self, name: &str, declared: &str) -> Self {
        self.columns.push(Column {
            name: name.into(),
            declared: declared.into(),
            stored: "String",
        });
        self
    }

    /// `feature_schema` and `schema` verbatim, instead of those that fit the columns.
    pub fn schema_texts(self, features: impl Into<Cell>, types: impl Into<Cell>) -> Self {
        Self { texts: Some((features.into(), types.into())), ..self }
    }

    pub fn rows(mut self, rows: impl IntoIterator<Item = Row>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Writes it, rows first, in one transaction. Returns the version's key.
    pub fn save(self) -> i64 {
        let catalog = self.dataset.catalog;
        let transaction = catalog.connection.unchecked_transaction().expect("a transaction");
        let version = self.insert_version();
        if self.status == 4 {
            self.insert_rows(&catalog.table(version));
        }
        self.insert_job(version);
        self.insert_parents(version);
        transaction.commit().expect("a commit");
        version
    }

    fn insert_version(&self) -> i64 {
        let catalog = self.dataset.catalog;
        let (features, types) = self.texts.clone().unwrap_or_else(|| self.texts_that_fit());
        let uuid = self.uuid.clone().unwrap_or_else(|| uuid().into());
        let sql =
            "INSERT INTO datasets_versions (dataset_id, version, status, uuid, feature_schema,
                schema, query_script, num_objects, size, created_at, finished_at, error_message,
                error_stack, script_output, sources, pending_metadata_drop)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, '', '', '', '', 0)";
        let values = params![
            self.dataset.key(),
            self.version,
            self.status,
            uuid,
            features,
            types,
            self.script,
            self.rows.len() as i64,
            self.size(),
            NOW,
        ];
        catalog.connection.execute(sql, values).expect("a version");
        catalog.connection.last_insert_rowid()
    }

    /// The sum over all cells of columns that end in `__size`.
    fn size(&self) -> i64 {
        let is_size = |(at, _): &(usize, &Cell)| {
            self.columns.get(*at).is_some_and(|column| column.name.ends_with("__size"))
        };
        let cells = self.rows.iter().flat_map(|row| row.cells.iter().enumerate().filter(is_size));
        let sizes = cells.filter_map(|(_, cell)| match cell {
            Cell::Int(size) => Some(*size),
            _ => None,
        });
        sizes.fold(0, i64::saturating_add)
    }

    fn texts_that_fit(&self) -> (Cell, Cell) {
        let mut custom = Map::new();
        let mut features = self.signals.fields("", &mut custom);
        let file =
            FILE.iter().map(|(field, _, type_text, _)| ((*field).to_owned(), (*type_text).into()));
        let hidden: Vec<&str> = FILE
            .iter()
            .map(|(field, ..)| *field)
            .filter(|f| !["path", "size"].contains(f))
            .collect();
        let file = json!({"schema_version": 2, "name": "File@v1",
            "fields": file.collect::<Map<_, _>>(), "hidden_fields": hidden,
            "bases": [["File", "datachain.lib.file", "File@v1"]]});
        custom.insert("File@v1".into(), file);
        features.insert("_custom_types".into(), custom.into());
        let types = self.columns.iter().map(|c| (c.name.clone(), json!({"type": c.stored})));
        let types: Map<String, Value> = types.collect();
        (Value::from(features).to_string().into(), Value::from(types).to_string().into())
    }

    fn insert_rows(&self, table: &str) {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let declared: String = self
            .columns
            .iter()
            .map(|column| format!(", {} {}", quote(&column.name), column.declared))
            .collect();
        let table = quote(table);
        let connection = &self.dataset.catalog.connection;
        let create = format!(
            "CREATE TABLE {table} (sys__id INTEGER NOT NULL, \
             sys__rand INTEGER DEFAULT (abs(random())) NOT NULL{declared}, PRIMARY KEY (sys__id))"
        );
        connection.execute(&create, []).expect("a table");
        let names: String = self.columns.iter().map(|c| format!(", {}", quote(&c.name))).collect();
        let marks = ", ?".repeat(self.columns.len());
        let insert = format!("INSERT INTO {table} (sys__id{names}) VALUES (?{marks})");
        let mut insert = connection.prepare(&insert).expect("a statement");
        for row in &self.rows {
            assert_eq!(row.cells.len(), self.columns.len(), "cells of {row:?}");
            let id = Cell::from(row.id);
            insert
                .execute(params_from_iter(std::iter::once(&id).chain(&row.cells)))
                .expect("a row");
        }
    }

    fn insert_job(&self, version: i64) {
        let Some((name, python)) = &self.job else { return };
        let id = format!("job-{version}");
        let connection = &self.dataset.catalog.connection;
        let sql =
            "INSERT INTO jobs (id, name, python_version, status, created_at, query, query_type,
                workers, error_message, error_stack, params, metrics, is_remote_execution)
            VALUES (?1, ?2, ?3, 5, ?4, '', 1, 1, '', '', '{}', '{}', 0)";
        connection.execute(sql, params![id, name, python, NOW]).expect("a job");
        let sql = "INSERT INTO dataset_version_jobs (dataset_version_id, job_id, is_creator)
            VALUES (?1, ?2, 1)";
        connection.execute(sql, params![version, id]).expect("a link");
    }

    fn insert_parents(&self, version: i64) {
        let connection = &self.dataset.catalog.connection;
        let sql = "INSERT INTO datasets_dependencies (source_dataset_id, source_dataset_version_id,
                dataset_id, dataset_version_id)
            SELECT dataset_id, id, (SELECT dataset_id FROM datasets_versions WHERE id = ?2), ?2
            FROM datasets_versions WHERE id = ?1";
        for parent in &self.parents {
            connection.execute(sql, params![version, parent]).expect("a parent");
        }
    }
}
