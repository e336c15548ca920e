//! Validates a request: the types, the columns, the file, and the rows to compute.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::schema::{FileColumn, Layout, Scalar, Schema, Signal, SignalKind, signature};
use dcfs_data::catalog::VersionInfo;
use dcfs_data::runs::{self, key};
use roaring::RoaringTreemap;

use super::Counts;
use super::delta::{Compared, Side, Step};
use super::each::Words;
use super::group::Groups;
use super::identity::{Identity, Recipe, listed};
use super::local::Folder;
use super::program::{Call, Program, invalid};
use super::silent::{self, Digest};
use super::task::Types;
use super::worker::Hello;
use super::{Edited, Input, Request, Shape, printed, short};
use crate::save::{self, Chosen};

/// The name of the column that says why a row has no answer.
const ERROR: &str = "error";

/// The part of an identity that a delta ignores.
const INPUT_VERSION: &str = "the input version";

/// The plan of a run, without the rows.
#[derive(Debug)]
pub struct Plan {
    pub types: Types,
    /// The file that the program gets, or that its words name.
    pub file: Option<FileColumn>,
    /// Whether its bytes are fetched: an address needs none.
    pub needs_bytes: bool,
    /// The columns passed to it: leaves or models, by dotted names.
    pub columns: Vec<String>,
    /// For one process per row.
    pub words: Words,
    /// The signals that the new version adds to those of its input.
    pub signals: Vec<Signal>,
    /// The signals of the input that rows keep; `None` for all.
    pub only: Option<Vec<String>>,
    /// The column that says why a row failed, if failed rows are kept.
    pub error: Option<String>,
    /// The shape of the new version.
    pub layout: Layout,
    pub identity: Identity,
}

impl Plan {
    /// Validates a request.
    ///
    /// # Errors
    /// An invalid request: no types, unknown or conflicting columns, an ambiguous file.
    pub fn new(
        input: &Input<'_>,
        request: &Request,
        program: &Program,
        hello: &Hello,
    ) -> Result<Self> {
        shaped(request, program, hello)?;
        let signals = signals(request, program, hello)?;
        let adds_path = !request.stdin && !request.no_file;
        let words = match program.call {
            Call::Each { .. } => Words::new(&program.words, adds_path)?,
            _ => Words::new(&[], false)?,
        };
        let columns = columns(&input.schema, request, &words, hello)?;
        let file = file(input, request, program, &words, hello)?;
        let mut added = signals.clone();
        let error = request.keeps_errors.then(|| error_column(&input.schema, &signals));
        if let Some(name) = &error {
            // All are NULL in a failed row.
            added.iter_mut().for_each(|signal| signal.optional = true);
            added.push(Signal::optional(name.clone(), SignalKind::Scalar(Scalar::Text)));
        }
        let only = match (&request.only, request.shape) {
            // The common values of a group's rows are kept, if they are columns of their own.
            (_, Shape::Agg) => {
                input.schema.select(&names(&request.by), &[])?;
                let is_whole = |name: &&String| {
                    input.schema.signals.iter().any(|signal| signal.name == **name)
                };
                Some(request.by.iter().filter(is_whole).cloned().collect())
            }
            (Some(only), _) => Some(only.clone()),
            (None, Shape::Gen) => Some(Vec::new()),
            (None, Shape::Map) => None,
        };
        for name in only.iter().flatten() {
            if !input.schema.signals.iter().any(|signal| signal.name == *name) {
                input.schema.select(&[name], &[])?;
                return Err(invalid(format!(
                    "`--only {name}`: a column as a whole is kept, not a field of it"
                )));
            }
        }
        let layout = input.catalog.layout(&input.of)?.with(&added, only.as_deref())?;
        let mut identity = Identity::default();
        identity.add("the command (`map`, `gen` or `agg`)", request.shape.text());
        if request.shape == Shape::Agg {
            identity.add("the grouping (`--by`)", request.by.join(","));
        }
        identity.add(INPUT_VERSION, input.of.uuid.clone());
        identity.add("the filter", request.filter.clone().unwrap_or_default());
        // Whether failed rows are kept may change from one attempt to the next.
        identity.add("the types (`--out`)", printed(&signals));
        identity.add("the program's command", program.command());
        identity.add("the columns handed over", columns.join(","));
        identity
            .add("the file column", file.as_ref().map_or_else(String::new, ToString::to_string));
        let kept = only.as_ref().map_or_else(|| "*".into(), |only| only.join(","));
        identity.add("the columns kept (`--only`)", kept);
        let is_many = match request.shape {
            Shape::Map => false,
            Shape::Gen => true,
            Shape::Agg => hello.is_many,
        };
        let types = Types { signals, is_many };
        let needs_bytes = match program.call {
            Call::Each { stdin } => stdin || words.need_file(),
            _ => file.is_some(),
        };
        Ok(Self {
            types,
            file,
            needs_bytes,
            columns,
            words,
            signals: added,
            only,
            error,
            layout,
            identity,
        })
    }
}

/// `error`, or another name if that is taken: by an earlier step, or by an answer.
fn error_column(schema: &Schema, signals: &[Signal]) -> String {
    let is_taken = |name: &str| {
        schema.signals.iter().any(|signal| signal.name.eq_ignore_ascii_case(name))
            || signals.iter().any(|signal| signal.name.eq_ignore_ascii_case(name))
    };
    let first = signals.first().map_or("row", |signal| &signal.name);
    let own = [ERROR.to_owned(), format!("{first}_{ERROR}")];
    let more = (2..).map(|n| format!("{first}_{ERROR}{n}"));
    own.into_iter().chain(more).find(|name| !is_taken(name)).unwrap_or_default()
}

/// Checks that the program gives what the command expects.
fn shaped(request: &Request, program: &Program, hello: &Hello) -> Result<()> {
    if request.shape == Shape::Agg {
        return grouped(request, program);
    }
    let is_gen = request.shape == Shape::Gen;
    let name = program.name();
    if hello.is_many && !is_gen {
        return Err(invalid(format!(
            "`{name}` yields many values for a row; run it by `dcfs gen`"
        )));
    }
    if hello.is_named && is_gen && !hello.is_many {
        return Err(invalid(format!(
            "`{name}` returns one value for a row; run it by `dcfs map`, or let it yield"
        )));
    }
    if let Call::Step(step) = program.call
        && step.is_many() != is_gen
    {
        let (what, how) = if is_gen { ("one value", "map") } else { ("many values", "gen") };
        return Err(invalid(format!(
            "the step `{name}` gives {what} for a row; run it by `dcfs {how}`"
        )));
    }
    if request.out.is_some() && matches!(program.call, Call::Step(_)) {
        return Err(invalid(format!("the step `{name}` has types of its own; leave `--out` out")));
    }
    if request.batch > 1 && matches!(program.call, Call::Each { .. } | Call::Step(_)) {
        return Err(invalid(
            "`--batch` is for programs that stay (`--worker`) and for Python functions",
        ));
    }
    if request.batch > 1 && is_gen {
        return Err(invalid("`--batch` is for `dcfs map`"));
    }
    Ok(())
}

/// Checks that groups can be passed to a program this way.
fn grouped(request: &Request, program: &Program) -> Result<()> {
    let other = [
        (
            matches!(program.call, Call::Step(_)),
            "`--step`: a step sees one file; `dcfs map` or `dcfs gen` runs it",
        ),
        (request.stdin, "`--stdin`: a group has many files; `{}` stands for all their paths"),
        (request.batch > 1, "`--batch`: the rows of a group are handed over together as it is"),
        (
            request.only.is_some(),
            "`--only`: the columns of `--by` are kept, and no others have one value in a group",
        ),
        (
            request.delta.is_some() || request.retry_errors,
            "`--delta` and `--retry-errors` are for `dcfs map` and `dcfs gen`; groups are computed anew",
        ),
    ];
    match other.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, why)) => Err(invalid(why)),
        None => Ok(()),
    }
}

fn names(columns: &[String]) -> Vec<&str> {
    columns.iter().map(String::as_str).collect()
}

/// The types of the answers: as typed, else as the program declares.
fn signals(request: &Request, program: &Program, hello: &Hello) -> Result<Vec<Signal>> {
    let name = program.name();
    let Some(text) = &request.out else {
        if let Call::Step(step) = program.call {
            return step.signals();
        }
        return hello.out.clone().ok_or_else(|| match (&program.call, &hello.why) {
            (_, Some(why)) => invalid(why.clone()),
            (Call::Function { .. }, _) => invalid(format!(
                "what `{name}` returns is not annotated; annotate it (`-> float`), or use `--out '{name}: float'`"
            )),
            _ => invalid("the types of the answers are missing; use e.g. `--out 'seconds: float'`"),
        });
    };
    let path = text.strip_prefix('@');
    let text = match path {
        None => text.clone(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| invalid(format!("`--out @{path}`: {error}")))?,
    };
    if text.trim_start().starts_with('{')
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&text)
    {
        return Ok(signature::of_json(&fields)?);
    }
    // Only names, for the values of a function.
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_names = names.iter().all(|name| !name.contains(':'));
    match (&hello.out, is_names && hello.is_named) {
        (Some(out), true) if out.len() == names.len() => {
            let typed: Vec<String> = out
                .iter()
                .zip(&names)
                .map(|(signal, name)| {
                    let mark = if signal.optional { "?" } else { "" };
                    format!("{name}: {}{mark}", signature::kind(&signal.kind))
                })
                .collect();
            Ok(signature::parse(&typed.join(", "))?)
        }
        (Some(out), true) => Err(invalid(format!(
            "`--out {text}` names {} columns, and `{name}` returns {}",
            names.len(),
            out.len()
        ))),
        _ => Ok(signature::parse(&text)?),
    }
}

/// The columns passed to the program.
fn columns(
    schema: &Schema,
    request: &Request,
    words: &Words,
    hello: &Hello,
) -> Result<Vec<String>> {
    let mut columns = request.columns.clone();
    columns.extend(words.columns());
    for name in &hello.needs {
        if schema.select(&[name], &[]).is_err() {
            let there: Vec<String> =
                schema.signals.iter().map(|signal| format!("`{}`", signal.name)).collect();
            return Err(invalid(format!(
                "the function wants `{name}`, and the dataset has no such column; it has {}",
                listed(&there)
            )));
        }
        columns.push(name.clone());
    }
    let is_there = |name: &&String| schema.select(&[name], &[]).is_ok();
    columns.extend(hello.takes.iter().filter(is_there).cloned());
    let mut seen = HashSet::new();
    columns.retain(|name| seen.insert(name.clone()));
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    schema.select(&names, &[])?;
    Ok(columns)
}

/// The file passed to the program; `None` if there is none.
fn file(
    input: &Input<'_>,
    request: &Request,
    program: &Program,
    words: &Words,
    hello: &Hello,
) -> Result<Option<FileColumn>> {
    let is_wanted = match program.call {
        Call::Each { stdin } => stdin || words.name_object(),
        Call::Stays => hello.wants_file.unwrap_or(true),
        Call::Step(_) => true,
        Call::Function { .. } => hello.wants_file.unwrap_or(false),
    };
    if request.no_file {
        if is_wanted && !matches!(program.call, Call::Stays) {
            return Err(invalid("the program wants the file, and `--no-file` gives none"));
        }
        return Ok(None);
    }
    if !is_wanted {
        return Ok(None);
    }
    let files: Vec<&FileColumn> = input.schema.listed_files().collect();
    let names: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
    match (&request.file, &files[..]) {
        (Some(name), _) => match files.iter().find(|file| file.name == *name) {
            Some(file) => Ok(Some((*file).clone())),
            None => Err(invalid(format!(
                "`{name}` is not a File column; there {} {}",
                if files.len() == 1 { "is" } else { "are" },
                if names.is_empty() { "none".into() } else { listed(&names) }
            ))),
        },
        (None, [only]) => Ok(Some((*only).clone())),
        (None, []) if matches!(program.call, Call::Stays) && hello.wants_file.is_none() => Ok(None),
        (None, []) => Err(invalid(
            "the dataset has no File column; `--no-file` passes only columns (`--with-columns`)",
        )),
        (None, _) => Err(invalid(format!(
            "the dataset has {} File columns; say which by `--file`: {}",
            files.len(),
            listed(&names)
        ))),
    }
}

/// The rows to compute, and the sources of the new version.
pub enum Rows {
    /// All chosen rows.
    All,
    /// Rows that the last version does not have.
    Delta(Delta),
    /// All chosen rows, in groups.
    Groups(Groups),
}

/// A delta.
pub struct Delta {
    pub compared: Compared,
    pub counts: Counts,
    /// The rows of the input to compute.
    todo: RoaringTreemap,
    /// Digests of input rows known to give no row.
    pub silent: Vec<Digest>,
}

impl Rows {
    /// The number of rows or groups to compute, if `all` rows are chosen.
    pub fn count(&self, all: u64) -> u64 {
        match self {
            Self::All => all,
            Self::Delta(delta) => delta.todo.len(),
            Self::Groups(groups) => groups.0.len() as u64,
        }
    }

    /// The rows to compute, in order.
    ///
    /// # Errors
    /// Errors of fetching the ids of rows.
    pub fn ranges<'r>(
        &'r self,
        chosen: &Chosen<'r>,
    ) -> Result<Box<dyn Iterator<Item = RangeInclusive<RowId>> + 'r>> {
        Ok(match (self, chosen) {
            (Self::All, Chosen::All) => Box::new(std::iter::once(RowId::ALL)),
            (Self::All, Chosen::Some(pack, selected)) => Box::new(save::ids(pack, selected)?),
            (Self::Delta(delta), _) => Box::new(delta.todo.iter().map(|number| {
                let row = runs::row(number);
                row..=row
            })),
            (Self::Groups(groups), _) => {
                Box::new(groups.0.iter().map(|group| group.id()..=group.id()))
            }
        })
    }
}

/// Decides which rows to compute.
///
/// # Errors
/// A delta from a version that is no base for one; errors of the catalog.
pub fn rows(
    input: &Input<'_>,
    request: &Request,
    plan: &Plan,
    (last, made): (Option<&VersionInfo>, Option<&Recipe>),
    (digest, folder): (&str, &Folder),
) -> Result<Rows> {
    if request.shape == Shape::Agg {
        let mut ranges = Rows::All.ranges(&input.chosen)?;
        let of = (&*input.catalog, &input.of, &*input.schema);
        return Ok(Rows::Groups(Groups::read(of, &request.by, &mut ranges)?));
    }
    if request.delta.is_none() && !request.retry_errors {
        return Ok(Rows::All);
    }
    let Some(last) = last else { return Ok(Rows::All) };
    let flag = if request.delta.is_some() { "--delta" } else { "--retry-errors" };
    let Some(made) = made else {
        return Err(invalid(format!(
            "`{flag}`: `{last}` was not made by `dcfs {}`, so there is nothing to compare with; leave `{flag}` out",
            request.shape.text()
        )));
    };
    let mut differs: Vec<String> = plan.identity.differs(&made.parts);
    differs.retain(|part| part != INPUT_VERSION);
    if differs.is_empty() && made.out != printed(&plan.signals) {
        differs.push("what becomes of rows that fail (`--on-error`)".into());
    }
    if !differs.is_empty() {
        return Err(invalid(format!(
            "`{flag}`: {} differ from how `{last}` was made; leave `{flag}` out to compute all again",
            listed(&differs)
        )));
    }
    if made.latest() != Some(digest) && request.edited.is_none() {
        let programs: Vec<String> = made
            .programs
            .iter()
            .map(|program| format!("{} ({} rows)", short(&program.digest), program.rows))
            .collect();
        return Err(invalid(format!(
            "the program has changed (now {}) since `{last}` was made by {}; `--keep` computes only what is new or \
             changed, `--fresh` computes all {} rows again",
            short(digest),
            listed(&programs),
            input.rows
        )));
    }
    if request.delta.is_some() && request.edited == Some(Edited::Fresh) {
        return Ok(Rows::All);
    }
    let delta = compare(input, request, plan, (last, made), folder)?;
    Ok(Rows::Delta(delta))
}

impl Plan {
    /// The database columns of the input that rows of the new version keep.
    pub fn kept(&self) -> Vec<String> {
        let added = Layout::of_signals(&self.signals);
        let is_added = |name: &String| added.columns.iter().any(|column| column.name == *name);
        let names = self.layout.columns.iter().map(|column| column.name.clone());
        names.filter(|name| !is_added(name)).collect()
    }
}

fn compare(
    input: &Input<'_>,
    request: &Request,
    plan: &Plan,
    (last, made): (&VersionInfo, &Recipe),
    folder: &Folder,
) -> Result<Delta> {
    let own = input.catalog.layout(&input.of)?;
    let theirs = input.catalog.layout(last)?;
    let kept = plan.kept();
    let is_in_both = |name: &String| {
        own.columns.iter().any(|column| column.name == *name)
            && theirs.columns.iter().any(|column| column.name == *name)
    };
    if kept.is_empty() {
        return Err(invalid(
            "`--delta` compares what rows keep of their input, and these keep nothing; use e.g. `--only file` from the first run on",
        ));
    }
    let root = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let seen = plan
        .columns
        .iter()
        .map(String::as_str)
        .chain(plan.file.iter().map(|file| file.name.as_str()));
    if let (Some(only), Some(unkept)) = (
        &plan.only,
        seen.map(root).find(|name| plan.only.as_ref().is_some_and(|only| !only.contains(name))),
    ) {
        let all = only.iter().chain([&unkept]).cloned().collect::<Vec<_>>().join(",");
        return Err(invalid(format!(
            "`--delta` compares what rows keep of their input, and the program sees `{unkept}`, which they do not keep; use `--only {all}` from the first run on"
        )));
    }
    if let Some(missing) = kept.iter().find(|name| !is_in_both(name)) {
        return Err(invalid(format!(
            "`--delta`: `{last}` has no column `{}`, which its input has now; leave `--delta` out to compute all again",
            missing.replace("__", ".")
        )));
    }
    let file = input
        .schema
        .listed_files()
        .next()
        .filter(|file| file.path.as_ref().is_some_and(|path| kept.contains(path)));
    let wanted: Arc<dyn Fn(RowId) -> bool + Send + Sync> = match &input.chosen {
        Chosen::All => Arc::new(|_| true),
        Chosen::Some(pack, selected) => {
            let chosen: RoaringTreemap = save::ids(pack, selected)?
                .flat_map(|range| range.start().key()..=range.end().key())
                .map(|row| key(RowId::new(row)))
                .collect();
            Arc::new(move |row| chosen.contains(key(row)))
        }
    };
    let error = plan.error.as_deref().filter(|_| request.retry_errors);
    let input_side = Side { of: &input.of, columns: &kept, file, error: None, is_wanted: wanted };
    let last_side = Side { of: last, columns: &kept, file, error, is_wanted: Arc::new(|_| true) };
    let is_many = request.shape == Shape::Gen;
    let keeps_deleted = request.delta.is_some_and(|delta| delta.0);
    let compared = Compared::new(
        &input.catalog,
        (&input_side, &last_side),
        (is_many, keeps_deleted),
        silent::read(made.silent.as_deref()),
        folder.path(),
    )?;
    let (mut todo, mut silent) = (RoaringTreemap::new(), Vec::new());
    let counts = compared.each(|step| {
        match step {
            Step::Compute(row) => drop(todo.insert(key(row))),
            Step::Nothing(held) => silent.push(held),
            Step::Keep(_) => {}
        }
        Ok(())
    })?;
    Ok(Delta { compared, counts, todo, silent })
}
