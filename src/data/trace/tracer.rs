//! Walks from a row back to the storage.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value as Json;

use super::conditions::{form, is_equal, same_object};
use super::step::{Computed, Digest, From, Passed, Step, Stored};
use crate::catalog::{Catalog, Details, VersionInfo};
use crate::lost;
use crate::pack::{Ordinals, Pack};
use crate::query::{self, Queries, Version};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::{Column, Expr, Query};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::provenance::Provenance;
use dcfs_core::render::rows::json;
use dcfs_core::schema::{FileColumn, Schema, ValueType};
use dcfs_core::secrets::masked;
use dcfs_core::time::Timestamp;

/// The most versions in a chain: a longer one is not a real one.
const MOST_STEPS: usize = 100;

/// The most parents of a version that are searched.
const MOST_PARENTS: usize = 20;

/// The most bytes of a value that are reported, and of a script.
const LONGEST_VALUE: usize = 200;
const LONGEST_SCRIPT: usize = 400;

/// The most columns of a step reported with their values.
const MOST_COLUMNS: usize = 40;

/// Opens or builds the pack of a version. May block.
pub type PackOf<'p> = dyn Fn(&VersionInfo) -> Result<Arc<Pack>> + 'p;

/// Follows rows through the versions of one catalog.
pub struct Tracer<'t> {
    catalog: &'t Arc<Catalog>,
    packs: &'t PackOf<'t>,
    queries: Queries,
    versions: Vec<VersionInfo>,
    left: usize,
}

/// A version with its schema and pack, loaded.
struct Known {
    of: VersionInfo,
    schema: Schema,
    pack: Arc<Pack>,
}

impl<'t> Tracer<'t> {
    /// A tracer over the versions that exist now.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub fn new(catalog: &'t Arc<Catalog>, packs: &'t PackOf<'t>) -> Result<Self> {
        let versions = catalog.versions()?;
        let queries = Queries::for_a_command();
        Ok(Self { catalog, packs, queries, versions, left: MOST_STEPS })
    }

    /// The row of a version that `wanted` names: by its number, the path of its file, or its file
    /// name if only one file has it.
    ///
    /// # Errors
    /// There is none; several files have the name.
    pub fn row(&self, of: &VersionInfo, wanted: &str) -> Result<RowId> {
        let known = self.known(of)?;
        let named = query::of_file(self.version(&known), wanted)?;
        let numbered = || wanted.parse().ok().map(RowId::new);
        let ids = known.pack.ids()?;
        let there = numbered().filter(|id| ids.find(*id).is_some());
        named.and_then(|row| ids.get(row)).or(there).ok_or_else(|| {
            let message = format!(
                "`{of}` has no file `{wanted}`, and no row of that number; name a path in the version, or a `sys__id`"
            );
            Error::new(Kind::Missing, message)
        })
    }

    /// The chain of one row.
    ///
    /// # Errors
    /// Errors of the catalog and the packs.
    pub fn trace(&mut self, of: &VersionInfo, row: RowId) -> Result<Step> {
        let known = self.known(of)?;
        self.step(&known, row, 1)
    }

    fn known(&self, of: &VersionInfo) -> Result<Known> {
        let (schema, pack) = (self.catalog.schema(of)?, (self.packs)(of)?);
        Ok(Known { of: of.clone(), schema, pack })
    }

    fn version<'k>(&'k self, known: &'k Known) -> Version<'k> {
        Version { catalog: self.catalog, of: &known.of, pack: &known.pack, each: &|_| {} }
    }

    fn step(&mut self, known: &Known, row: RowId, rows: u64) -> Result<Step> {
        self.left = self.left.saturating_sub(1);
        let details = self.catalog.details(&known.of)?;
        let by = details.provenance.as_ref();
        let parents = self.parents(known)?;
        let saved = known.of.finished_at.or(known.of.created_at);
        let objects = self.objects(known, row)?;
        let mut step = Step {
            dataset: known.of.to_string(),
            row: row.key(),
            rows,
            uri: objects.first().map(|(_, object)| masked(&object.to_string())),
            saved_at: saved.map(Timestamp::rfc3339),
            by: by.and_then(Provenance::author),
            at: by.and_then(Provenance::place),
            commit: by.and_then(|by| by.git.as_ref()?.commit.clone()),
            command: command(&details),
            passed: None,
            computed: None,
            from: Vec::new(),
        };
        step.computed = self.computed(known, row, &parents, by)?;
        for parent in &parents {
            let from = match parent {
                Source::Known(parent) => self.from(known, row, &objects, parent, by, &mut step)?,
                Source::Listing(storage, listed) => stored(storage, *listed, &objects),
                Source::TooMany(more) => {
                    let dataset = format!("{more} more versions");
                    Some(From::Lost { dataset, why: "they are too many to look into".into() })
                }
                Source::Gone(dataset) => {
                    Some(From::Lost { dataset: dataset.clone(), why: "it was removed".into() })
                }
            };
            step.from.extend(from);
        }
        Ok(step)
    }

    /// The row of a parent, and the condition that it passed.
    fn from(
        &mut self,
        known: &Known,
        row: RowId,
        objects: &[(FileColumn, Object)],
        parent: &Known,
        by: Option<&Provenance>,
        step: &mut Step,
    ) -> Result<Option<From>> {
        let found = self.matching(known, row, objects, parent)?;
        let ids = parent.pack.ids()?;
        let Some(first) = found.min().and_then(|first| ids.get(first)) else {
            let dataset = parent.of.to_string();
            let why = "no row of it names the same object or has equal values".into();
            return Ok(Some(From::Lost { dataset, why }));
        };
        if let Some(filter) = by.and_then(filter).filter(|_| step.passed.is_none()) {
            step.passed = self.passed(parent, first, &filter)?;
        }
        if self.left == 0 {
            let (dataset, why) = (parent.of.to_string(), "the chain is longer than shown".into());
            return Ok(Some(From::Lost { dataset, why }));
        }
        Ok(Some(From::Row(Box::new(self.step(parent, first, found.len())?))))
    }

    /// The sources of a version. A storage takes the place of its listing.
    fn parents(&self, known: &Known) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        let parents = self.catalog.parents(known.of.id)?;
        let more = parents.len().saturating_sub(MOST_PARENTS);
        for parent in parents.into_iter().take(MOST_PARENTS) {
            let Some((name, version)) = &parent.dataset else {
                sources.push(Source::Gone("a version that was deleted for good".into()));
                continue;
            };
            if let Some(uri) = name.listed_uri() {
                sources.push(Source::Listing(masked(&uri), self.listed(name)?));
                continue;
            }
            let is_it = |of: &&VersionInfo| Some(of.id) == parent.id;
            sources.push(
                match self.versions.iter().find(is_it).filter(|of| of.id != known.of.id) {
                    Some(of) => Source::Known(Box::new(self.known(of)?)),
                    None => Source::Gone(format!("{name}@{version}")),
                },
            );
        }
        if more > 0 {
            sources.push(Source::TooMany(more));
        }
        Ok(sources)
    }

    fn listed(&self, name: &dcfs_core::name::DatasetName) -> Result<Option<Timestamp>> {
        Ok(self.catalog.latest(name)?.and_then(|of| of.finished_at))
    }

    /// The objects that a row names.
    fn objects(&self, known: &Known, row: RowId) -> Result<Vec<(FileColumn, Object)>> {
        let mut found = Vec::new();
        for column in known.schema.listed_files() {
            let object = self.catalog.object(&known.of, column, row)?;
            found.extend(object.filter(Object::is_named).map(|object| (column.clone(), object)));
        }
        Ok(found)
    }

    /// The rows of `parent` that a row may have come from.
    fn matching(
        &self,
        known: &Known,
        row: RowId,
        objects: &[(FileColumn, Object)],
        parent: &Known,
    ) -> Result<Ordinals> {
        let mut found = Ordinals::new();
        let mut pairs: Vec<(&FileColumn, &FileColumn, &Object)> = Vec::new();
        for theirs in parent.schema.listed_files() {
            pairs.extend(objects.iter().map(|(ours, object)| (theirs, ours, object)));
        }
        // Columns of one name first: in a join, others may name the same object by chance.
        pairs.sort_by_key(|(theirs, ours, _)| theirs.name != ours.name);
        for (theirs, _, object) in pairs {
            found = self.select(parent, same_object(theirs, object))?;
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() && !objects.is_empty() && parent.schema.listed_files().next().is_some()
        {
            return Ok(found);
        }
        if found.len() == 1 {
            return Ok(found);
        }
        let equal = self.equal_values(known, row, parent)?;
        if equal.is_empty() {
            return Ok(found);
        }
        let narrowed = self.select(parent, equal)?;
        Ok(match found.is_empty() {
            true => narrowed,
            false if (&narrowed & &found).is_empty() => found,
            false => narrowed & found,
        })
    }

    /// Conditions for the parent's row to have the same values in shared columns.
    fn equal_values(&self, known: &Known, row: RowId, parent: &Known) -> Result<Vec<Expr>> {
        let ours = known.schema.leaves();
        let mut shared = Vec::new();
        for theirs in parent.schema.leaves() {
            let Some(form) = form(theirs.value) else { continue };
            let same = ours.iter().find(|o| o.name == theirs.name && o.value == theirs.value);
            if let Some(same) = same.filter(|_| !theirs.hidden) {
                let (name, column) = (theirs.name.clone(), theirs.column.to_owned());
                let value = theirs.value.clone();
                shared.push((same.column.to_owned(), Column { name, column, value, form }));
            }
        }
        let columns: Vec<String> = shared.iter().map(|(column, _)| column.clone()).collect();
        let mut conditions = Vec::new();
        self.cells(known, row, &columns, &mut |number, cell| {
            let column = Arc::new(shared[number].1.clone());
            conditions.extend(is_equal(column, cell));
        })?;
        Ok(conditions)
    }

    fn select(&self, parent: &Known, conditions: Vec<Expr>) -> Result<Ordinals> {
        let filter = match conditions.len() {
            0 => return Ok(Ordinals::new()),
            1 => conditions.into_iter().next(),
            _ => Some(Expr::And(conditions)),
        };
        let query = Query { filter, ..Query::default() };
        let selected = self.queries.select(self.version(parent), &query, None)?;
        Ok((*selected.rows).clone())
    }

    /// Whether, and with which values, a row of the parent passes the filter of the child.
    fn passed(&self, parent: &Known, row: RowId, filter: &str) -> Result<Option<Passed>> {
        // An SQL statement is recorded in the same place, and is not a filter.
        let Ok(query) = lost::check(self.catalog, &parent.of, &parent.schema, filter) else {
            return Ok(None);
        };
        let selected = self.queries.select(self.version(parent), &query, None)?;
        let ordinal = parent.pack.ordinal(row)?;
        let passes = ordinal.is_some_and(|row| selected.rows.contains(row));
        let place = |ranking: &Arc<query::Ranking>| {
            ranking.rows.iter().position(|ranked| Some(ranked.row) == ordinal)
        };
        let rank = selected.ranking.as_ref().and_then(place).map(|place| place as u64 + 1);
        let columns = query.columns();
        let names: Vec<String> = columns.iter().map(|column| column.column.clone()).collect();
        let mut values = BTreeMap::new();
        self.cells(parent, row, &names, &mut |number, cell| {
            values.insert(columns[number].name.clone(), value(cell, &columns[number].value));
        })?;
        Ok(Some(Passed { filter: query.to_string(), values, passes, rank }))
    }

    /// The values of a row that no parent has.
    fn computed(
        &self,
        known: &Known,
        row: RowId,
        parents: &[Source],
        by: Option<&Provenance>,
    ) -> Result<Option<Computed>> {
        let mut leaves = known.schema.leaves();
        leaves.retain(|leaf| !leaf.hidden && !is_of_file(&known.schema, &leaf.name));
        for parent in parents {
            let Source::Known(parent) = parent else { continue };
            let theirs = parent.schema.leaves();
            leaves.retain(|leaf| theirs.iter().all(|other| other.name != leaf.name));
        }
        leaves.truncate(MOST_COLUMNS);
        if leaves.is_empty() {
            return Ok(None);
        }
        let names: Vec<String> = leaves.iter().map(|leaf| leaf.column.to_owned()).collect();
        let mut values = BTreeMap::new();
        self.cells(known, row, &names, &mut |number, cell| {
            values.insert(leaves[number].name.clone(), value(cell, leaves[number].value));
        })?;
        let types = leaves.iter().map(|leaf| (leaf.name.clone(), leaf.field.type_text.clone()));
        let recipe = by.and_then(|by| by.recipe.as_ref());
        let program = recipe.and_then(|recipe| recipe["program"].as_str()).map(str::to_owned);
        let digests = recipe.and_then(|recipe| recipe["programs"].as_array()).into_iter().flatten();
        let digest = |made: &Json| {
            Some(Digest { digest: made["digest"].as_str()?.into(), rows: made["rows"].as_u64()? })
        };
        let digests = digests.filter_map(digest).collect();
        Ok(Some(Computed { values, types: types.collect(), program, digests }))
    }

    /// The cells of one row, in the order of `columns`.
    fn cells(
        &self,
        known: &Known,
        row: RowId,
        columns: &[String],
        each: &mut dyn FnMut(usize, Cell<'_>),
    ) -> Result<()> {
        let mut found = |_: RowId, cells: &dyn dcfs_core::cell::Cells| {
            (0..columns.len()).for_each(|number| each(number, cells.cell(number)));
            Ok(ControlFlow::Break(()))
        };
        self.catalog.cells(&known.of, columns, &mut std::iter::once(row..=row), &mut found)
    }
}

/// A source of a version.
enum Source {
    Known(Box<Known>),
    /// A storage, and when it was last listed.
    Listing(String, Option<Timestamp>),
    Gone(String),
    /// The number of versions beyond those that are searched.
    TooMany(usize),
}

/// The object of the row that is in a storage.
fn stored(
    storage: &str,
    listed: Option<Timestamp>,
    objects: &[(FileColumn, Object)],
) -> Option<From> {
    let is_below = |object: &&Object| masked(&object.to_string()).starts_with(storage);
    let mut all = objects.iter().map(|(_, object)| object);
    let object = all.clone().find(is_below).or_else(|| all.next())?;
    Some(From::Storage(Stored {
        storage: storage.to_owned(),
        uri: masked(&object.to_string()),
        size: object.size,
        etag: object.etag.clone(),
        version: object.version.clone(),
        last_modified: object.last_modified.map(Timestamp::rfc3339),
        listed_at: listed.map(Timestamp::rfc3339),
    }))
}

/// The filter that made a version: from its recipe, or from the command.
fn filter(by: &Provenance) -> Option<String> {
    let of_recipe = by.recipe.as_ref().and_then(|recipe| recipe["filter"].as_str());
    of_recipe.map(str::to_owned).or_else(|| by.filter.clone())
}

fn command(details: &Details) -> Option<String> {
    let by = details.provenance.as_ref().map(Provenance::script).filter(|text| !text.is_empty());
    by.or_else(|| {
        let script = masked(details.script.trim());
        let start: String = script.chars().take(LONGEST_SCRIPT).collect();
        let dots = if start.len() < script.len() { "\n..." } else { "" };
        (!script.is_empty()).then(|| start + dots)
    })
}

/// Whether a leaf is a part of a File.
fn is_of_file(schema: &Schema, name: &str) -> bool {
    schema
        .files
        .iter()
        .any(|file| name.strip_prefix(file.name.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

/// A cell as JSON; a long one is truncated.
fn value(cell: Cell<'_>, value: &ValueType) -> Json {
    let mut text = Vec::new();
    json::cell(&mut text, cell, value);
    let shortened = || {
        let start: String = String::from_utf8_lossy(&text).chars().take(LONGEST_VALUE).collect();
        Json::String(start + "...")
    };
    if text.len() > LONGEST_VALUE {
        return shortened();
    }
    serde_json::from_slice(&text).unwrap_or_else(|_| shortened())
}
