//! A statement over the versions of a catalog: the version behind each of its tables, and the
//! engine that runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::about;
use super::kernel::{self, Taking};
use super::nearest;
use super::served;
use super::{AnswerColumn, BytesOf, Engine, Limits, Origin, TableColumns};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Pack, Packs};
use crate::usage::{self, How, Usage, Use};
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::{self, Group};
use dcfs_core::id::VersionId;
use dcfs_core::name::DatasetRef;
use dcfs_core::render::numbers::bytes;
use dcfs_core::schema::Schema;
use dcfs_core::sql::{Bound, Grouped, Hint, Known, ResultColumn, SqlColumn, Statement, Table};
use dcfs_core::time::Timestamp;

/// A statement whose tables have been resolved.
pub struct Question {
    catalog: Arc<Catalog>,
    statement: Statement,
    found: Vec<Found>,
    bound: Bound,
    usage: Usage,
}

/// Progress of packing columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A version of this many rows begins.
    Begins { rows: u64 },
    /// This many of its rows are done.
    Rows(u64),
}

/// A resolved table of the statement.
struct Found {
    known: Known,
    /// `None` for a table about the catalog itself.
    version: Option<(VersionInfo, Origin)>,
}

impl Question {
    /// Parses a statement and resolves its tables.
    ///
    /// # Errors
    /// An invalid statement, with a caret; a dataset that does not exist, with the nearest names.
    pub fn read(catalog: &Arc<Catalog>, usage: Usage, text: &str) -> Result<Self> {
        let statement = Statement::read(text)?;
        let found = find_all(catalog, &statement)?;
        let known: Vec<Known> = found.iter().map(|found| found.known.clone()).collect();
        let bound = statement.bind(&known)?;
        Ok(Self { catalog: catalog.clone(), statement, found, bound, usage })
    }

    /// Records in the usage statistics that the statement was run.
    pub fn note(&self, now: Timestamp) {
        let names: Vec<String> = self.versions().map(|of| of.dataset.to_string()).collect();
        let grouped = self.bound.grouped.as_ref().ok();
        let on = || grouped.iter().flat_map(|grouped| &grouped.on);
        let on: Vec<String> =
            on().flat_map(|(left, right)| [left.name.clone(), right.name.clone()]).collect();
        for (number, found) in self.found.iter().enumerate() {
            let Some((of, origin)) = &found.version else { continue };
            let own = of.dataset.to_string();
            let with = names.iter().filter(|name| **name != own).cloned().collect();
            let filter = grouped.and_then(|grouped| grouped.filters.get(number)?.as_deref());
            let query = filter.and_then(|filter| expr::check(filter, &origin.schema).ok());
            let columns = query.map(|query| usage::named(&query)).unwrap_or_default();
            let used = Use { columns, with, on: on.clone(), ..Use::new(How::Sql, own, of.version) };
            self.usage.note(used, now);
        }
    }

    /// The versions it reads, in the order of its tables.
    pub fn versions(&self) -> impl Iterator<Item = &VersionInfo> {
        self.found.iter().filter_map(|found| found.version.as_ref().map(|(of, _)| of))
    }

    /// The origin of each of its tables, for the shape of the result.
    pub fn origins(&self) -> Vec<Option<Origin>> {
        let origin = |found: &Found| found.version.as_ref().map(|(_, origin)| origin.clone());
        self.found.iter().map(origin).collect()
    }

    /// The engine that runs it, and the statement to prepare on it; `packs` gives the pack of a version,
    /// and may block. Columns that are not packed yet are packed, and `each` is called with the
    /// progress. Kernels group and join where they can, unless `by_kernels` is false.
    ///
    /// # Errors
    /// Errors of the packs and the catalog; [`super::Error`] for its limits.
    pub fn engine(
        &self,
        packs: &PacksOf<'_>,
        limits: Limits,
        by_kernels: bool,
        each: &(dyn Fn(Step) + Sync),
    ) -> Result<(Engine, &Bound)> {
        let (catalog, bound) = (&self.catalog, &self.bound);
        let grouped = match (&bound.grouped, by_kernels) {
            (Ok(grouped), true) => match self.served(grouped, &limits)? {
                Some(groups) => Some(groups),
                None => groups(catalog, packs, &self.found, grouped, &limits)?,
            },
            _ => None,
        };
        let (engine, bound) = match (grouped, &bound.grouped) {
            (Some(groups), Ok(grouped)) => {
                let engine = Engine::new(limits, Vec::new())?;
                let keys: Vec<_> = grouped.keys.iter().map(|(_, key)| &key.value).collect();
                engine.groups(&groups, &keys, grouped.folds.len())?;
                (engine, &grouped.bound)
            }
            _ => {
                let tables = tables(catalog, packs, &self.found, &bound.columns, each)?;
                let engine = Engine::new(limits, tables)?;
                for (number, pairs) in bound.nearest.iter().enumerate() {
                    let side = |table: usize| -> Result<(&VersionInfo, Arc<Pack>)> {
                        match &self.found[table].version {
                            Some((of, _)) => Ok((of, packs(of)?)),
                            None => Err(Error::new(
                                Kind::Invalid,
                                "`nearest` is between columns of datasets",
                            )),
                        }
                    };
                    let (to, of) = (side(pairs.to.0)?, side(pairs.of.0)?);
                    let sides = [(to.0, &to.1), (of.0, &of.1)];
                    nearest::fill(&engine, number, pairs, catalog, sides, limits)?;
                }
                (engine, bound)
            }
        };
        for (number, (table, found)) in self.statement.tables().iter().zip(&self.found).enumerate()
        {
            if found.version.is_none() {
                let rows = about::rows(catalog, &self.usage, &table.name)?;
                engine.plain(number, &found.known, rows)?;
            }
        }
        Ok((engine, bound))
    }

    /// The versions behind its tables; `None` if one is about the catalog itself.
    fn datasets(&self) -> Option<Vec<(&VersionInfo, &Schema)>> {
        let versions = self.found.iter().map(|found| found.version.as_ref());
        versions.map(|of| of.map(|(of, origin)| (of, &origin.schema))).collect()
    }

    /// The groups that the catalog's database engine makes; `None` if the kernels have to.
    fn served(&self, grouped: &Grouped, limits: &Limits) -> Result<Option<Vec<Group>>> {
        match self.datasets() {
            Some(of) => served::groups(&self.catalog, &of, grouped, limits),
            None => Ok(None),
        }
    }

    /// The approximate bytes of the columns that would be fetched; `None` for a catalog in a file.
    fn fetched(&self) -> Option<u64> {
        let mut wanted: BTreeMap<VersionId, (&VersionInfo, BTreeSet<&str>)> = BTreeMap::new();
        for (found, columns) in self.found.iter().zip(&self.bound.columns) {
            let Some((of, _)) = &found.version else { continue };
            let (_, known) = wanted.entry(of.id).or_insert_with(|| (of, BTreeSet::new()));
            known.extend(columns.iter().map(|of| of.column.as_str()));
        }
        let bytes = wanted.into_values().map(|(of, known)| {
            let known: Vec<&str> = known.into_iter().collect();
            self.catalog.fetched(of, &known)
        });
        bytes.sum()
    }

    /// Lines that describe what would run.
    pub fn explain(&self) -> Vec<String> {
        let (statement, found, bound) = (&self.statement, &self.found, &self.bound);
        let mut lines = Vec::new();
        for (table, found) in statement.tables().iter().zip(found) {
            match &found.version {
                Some((of, _)) => lines.push(format!("{} is {of}", table.name)),
                None => lines.push(format!("{} is a table of the catalog", table.name)),
            }
        }
        for pairs in &bound.nearest {
            let alias = |table: usize| &statement.tables()[table].alias;
            lines.push(format!(
                "kernels find the {} nearest rows by {}.{} for each row of {} by {}",
                pairs.k,
                alias(pairs.of.0),
                pairs.of.1.name,
                alias(pairs.to.0),
                pairs.to.1.name
            ));
        }
        match &bound.grouped {
            Ok(grouped) => self.explain_groups(grouped, &mut lines),
            Err(why) => {
                lines.push(format!("SQLite runs over packed columns, for {why}"));
                self.explain_fetched(false, &mut lines);
                lines.push(format!("  {}", bound.sql));
            }
        }
        lines
    }

    /// Describes who joins and groups, and by what.
    fn explain_groups(&self, grouped: &Grouped, lines: &mut Vec<String>) {
        let of = self.datasets().unwrap_or_default();
        let question = served::question(&self.catalog, &of, grouped);
        let is_served = matches!(question, Some(Ok(_)));
        let (kernels, group) = match is_served {
            true => ("the server", "the server groups"),
            false => ("kernels", "kernels over packed columns group"),
        };
        for (left, right) in &grouped.on {
            let kind = grouped.join.word();
            let space = if kind.is_empty() { "" } else { " " };
            lines.push(format!(
                "{kernels} {kind}{space}join{} on {} = {}",
                if is_served { "s" } else { "" },
                left.name,
                right.name
            ));
        }
        let keys: Vec<&str> = grouped.keys.iter().map(|(_, key)| key.name.as_str()).collect();
        lines.push(format!("{group} by ({})", keys.join(", ")));
        for (table, filter) in self.statement.tables().iter().zip(&grouped.filters) {
            if let Some(filter) = filter {
                lines.push(format!("  where, of {}, {filter}", table.alias));
            }
        }
        if let Some(Err(stays)) = question {
            lines.push(format!("  the server is not asked: {stays}"));
        }
        self.explain_fetched(is_served, lines);
        lines.push("SQLite runs over the groups".to_owned());
        lines.push(format!("  {}", grouped.bound.sql));
    }

    /// Says how many bytes that fetches from the server, or saves.
    fn explain_fetched(&self, is_served: bool, lines: &mut Vec<String>) {
        // The server has no sizes of small tables.
        if let Some(size) = self.fetched().filter(|size| *size > 0) {
            let size = bytes(size);
            lines.push(match is_served {
                true => format!("  instead of fetching {size} of columns"),
                false => format!("  fetches up to {size} of columns (less what is already here)"),
            });
        }
    }
}

/// The groups of a statement that the kernels can answer; `None` if there prove to be too many, or
/// a condition is not a filter.
fn groups(
    catalog: &Arc<Catalog>,
    packs: &PacksOf<'_>,
    found: &[Found],
    grouped: &Grouped,
    limits: &Limits,
) -> Result<Option<Vec<Group>>> {
    let mut ready = Vec::new();
    for (found, filter) in found.iter().zip(&grouped.filters) {
        let Some((of, origin)) = &found.version else { return Ok(None) };
        let filter = match filter.as_deref().map(|filter| expr::check(filter, &origin.schema)) {
            Some(Err(_)) => return Ok(None),
            Some(Ok(query)) => Some(query),
            None => None,
        };
        ready.push((of, packs(of)?, filter));
    }
    let taking = |(of, pack, filter)| Taking { catalog, of, pack, filter };
    let taking: Vec<Taking<'_>> =
        ready.iter().map(|(of, pack, filter)| taking((*of, pack, filter.as_ref()))).collect();
    kernel::groups(&taking, grouped, limits)
}

/// The columns of the tables, packed if they were not yet.
fn tables(
    catalog: &Arc<Catalog>,
    packs: &PacksOf<'_>,
    found: &[Found],
    columns: &[Vec<SqlColumn>],
    each: &(dyn Fn(Step) + Sync),
) -> Result<Vec<Option<Arc<TableColumns>>>> {
    let mut tables = Vec::new();
    for (found, columns) in found.iter().zip(columns) {
        let Some((of, _)) = &found.version else {
            tables.push(None);
            continue;
        };
        let pack: Arc<Pack> = packs(of)?;
        each(Step::Begins { rows: pack.row_count().into() });
        let wanted: Vec<_> = columns.iter().map(TableColumns::form).collect();
        let held = pack
            .packed(catalog, of, &wanted.iter().collect::<Vec<_>>(), &|rows| {
                each(Step::Rows(rows))
            })?
            .hold(&pack, &wanted);
        tables.push(Some(Arc::new(TableColumns::new(
            columns.clone(),
            held,
            bytes_of(catalog, of),
        ))));
    }
    Ok(tables)
}

/// Returns the packs of versions. May block.
pub type PacksOf<'p> = dyn Fn(&VersionInfo) -> Result<Arc<Pack>> + 'p;

/// The pack of a version, for commands, which have no runtime.
///
/// # Errors
/// As [`Packs::get`].
pub fn pack_of(packs: &Packs, of: &VersionInfo) -> Result<Arc<Pack>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Error::new(Kind::Broken, error))?;
    runtime.block_on(packs.get(of))
}

/// Reads columns of bytes, which are not packed.
fn bytes_of(catalog: &Arc<Catalog>, of: &VersionInfo) -> BytesOf {
    let (catalog, of) = (catalog.clone(), of.clone());
    BytesOf(Box::new(move |id, column| {
        let mut found = None;
        let columns = [column.to_owned()];
        catalog.cells(&of, &columns, &mut std::iter::once(id..=id), &mut |_, cells| {
            if let Cell::Blob(bytes) = cells.cell(0) {
                found = Some(bytes.to_vec());
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }))
}

/// Resolves every table of the statement.
fn find_all(catalog: &Catalog, statement: &Statement) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for table in statement.tables() {
        found.push(match about::columns(&table.name) {
            Some(columns) => Found { known: Known::plain(columns), version: None },
            None => dataset(catalog, statement, table)?,
        });
    }
    Ok(found)
}

fn dataset(catalog: &Catalog, statement: &Statement, table: &Table) -> Result<Found> {
    let wrong = |error: &dyn std::fmt::Display, kind| {
        let mut message = error.to_string();
        if table.name.starts_with("catalog.") {
            message = format!(
                "`{}` is none of catalog.datasets, .versions, .columns, .dependencies, .usage, .runs",
                table.name
            );
        }
        Error::new(kind, statement.wrong_table(table, message))
    };
    let of = match table.is_listing {
        true => listing(catalog, statement, table)?,
        false => {
            let wanted: DatasetRef = table
                .name
                .parse()
                .map_err(|error: dcfs_core::name::Error| wrong(&error, Kind::Invalid))?;
            catalog.find(&wanted).map_err(|error| wrong(&error, error.kind()))?
        }
    };
    let schema = catalog.schema(&of)?;
    let known = Known::of(&schema);
    let layout = catalog.layout(&of)?;
    let origin = Origin { known: known.clone(), schema, layout, is_outer: table.is_outer };
    Ok(Found { known, version: Some((of, origin)) })
}

/// The newest listing of an address.
fn listing(catalog: &Catalog, statement: &Statement, table: &Table) -> Result<VersionInfo> {
    let plain = |address: &str| address.trim_end_matches('/').to_owned();
    let found = catalog.listings()?;
    let uri = |of: &VersionInfo| of.dataset.listed_uri().map(|uri| plain(&uri));
    let wanted = plain(&table.name);
    let alike = found.iter().filter(|of| uri(of).as_deref() == Some(wanted.as_str()));
    if let Some(of) = alike.max_by_key(|of| of.finished_at) {
        return Ok(of.clone());
    }
    let covering = found
        .iter()
        .filter_map(uri)
        .filter(|uri| wanted.strip_prefix(uri.as_str()).is_some_and(|rest| rest.starts_with('/')));
    let hint = match covering.max_by_key(String::len) {
        Some(uri) => format!("`listing('{uri}/')` holds it"),
        None => {
            let known: Vec<String> = found.iter().filter_map(uri).take(5).collect();
            match known.is_empty() {
                true => "`dcfs index` makes one".to_owned(),
                false => format!("there are {}", known.join(", ")),
            }
        }
    };
    let message = format!("there is no listing of `{}`; {hint}", table.name);
    Err(Error::new(Kind::Missing, statement.wrong_table(table, message)))
}

/// The columns of a result: as they were bound, else as SQLite reports them.
pub fn results(columns: &[AnswerColumn], bound: Option<&[ResultColumn]>) -> Vec<ResultColumn> {
    let told = columns.iter().enumerate().map(|(at, (name, origin))| {
        let hint =
            bound.filter(|bound| bound.len() == columns.len()).map(|bound| bound[at].hint.clone());
        let hint = match (hint, origin) {
            (None | Some(Hint::None), Some((table, column))) => {
                Hint::Column(*table, column.clone())
            }
            (hint, _) => hint.unwrap_or(Hint::None),
        };
        ResultColumn { name: name.clone(), hint }
    });
    told.collect()
}
