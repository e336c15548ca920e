//! `dcfs explain`: the meaning of a filter, or the mistake in it.

use std::sync::Arc;

use serde::Serialize;

use super::asking::{Asked, AskingArgs};
use super::complete;
use super::output::Output;
use dcfs_core::error::Result;
use dcfs_core::expr::{Query, Type};
use dcfs_core::name::DatasetRef;
use dcfs_core::render::numbers::{bytes, count, counted};
use dcfs_data::pack::Pack;
use dcfs_data::query::{Version, told};

/// The filter language, for help texts.
pub const LANGUAGE: &str = "Filters read as what follows WHERE in SQL, over dotted columns (docs/filters.md):
  info.width > 400 and file.path not ilike \"%cocker_spaniel%\"
  label in (pug, beagle) and score between 0.5 and 0.9 and mask.path is not null
  file.ext = jpg and length(tags) > 2 and not contains(tags, \"draft\")
  order by cosine_distance(emb, row(17)) limit 10
  rand < 0.1                             a sample, the same each time

Operators: = != < <= > >=, and or not, in, between, like, ilike, glob, regexp, is null, + - * / %, ||
Functions: lower upper length replace split abs round greatest least coalesce contains any(list, condition)
           cosine_distance euclidean_distance rand
Of every file column f: f.name f.stem f.ext f.parent; inside lists and JSON: boxes[0].x, meta.key
After it: order by COLUMN [desc], limit N, offset N";

/// Print the meaning of a filter: its printed form, the columns it reads, and how many rows pass
#[derive(Debug, clap::Args)]
#[command(after_help = LANGUAGE)]
pub struct Explain {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// The filter, e.g. `info.width > 400`
    #[arg(allow_hyphen_values = true, add = complete::filters())]
    filter: String,
    #[command(flatten)]
    asking: AskingArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The explanation of a filter.
#[derive(Debug, Serialize)]
struct Explained {
    dataset: String,
    filter: String,
    columns: Vec<Read>,
    /// The part that the catalog's server evaluates, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    /// The part that is then evaluated here, over fetched columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    here: Option<String>,
    /// Approximate size in bytes of those columns that are not here yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<u64>,
    rows: u64,
    of: u64,
    /// Why no rows pass, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A column that it reads.
#[derive(Debug, Serialize)]
struct Read {
    name: String,
    holds: &'static str,
}

impl Explain {
    /// Prints the explanation.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = asked.check(&self.filter)?;
        let pack = asked.pack()?;
        let Division { sent, here, fetched } = division(&asked, &pack, &query);
        let rows = asked.select(&pack, &query)?.rows.len();
        let explained = Explained {
            dataset: asked.of.to_string(),
            filter: query.to_string(),
            columns: columns(&query),
            sent,
            here,
            fetched,
            rows,
            of: pack.row_count().into(),
            why: if rows == 0 { asked.why_empty(&pack, &query) } else { None },
        };
        if self.json { out.json(&explained) } else { explained.print(out) }
    }
}

/// The division of a filter between server and client; empty if the catalog is a file.
#[derive(Default)]
struct Division {
    sent: Option<String>,
    here: Option<String>,
    fetched: Option<u64>,
}

fn division(asked: &Asked, pack: &Arc<Pack>, query: &Query) -> Division {
    let version = Version { catalog: &asked.catalog, of: &asked.of, pack, each: &|_| {} };
    if asked.catalog.fetched(&asked.of, &[]).is_none() {
        return Division::default();
    }
    let split = query.filter.as_ref().and_then(|filter| told::split(version, filter));
    let rest = match &split {
        Some(split) => split.rest.clone(),
        None => query.filter.clone(),
    };
    let read = Query { filter: rest.clone(), order: query.order.clone(), ..Query::default() };
    let missing = read.columns().into_iter().filter(|column| !pack.is_packed(column));
    let missing: Vec<&str> = missing.map(|column| column.column.as_str()).collect();
    Division {
        sent: split.map(|split| split.sent.to_string()),
        here: rest.map(|rest| rest.to_string()),
        // The server has no row count for small tables.
        fetched: asked.catalog.fetched(&asked.of, &missing).filter(|bytes| *bytes > 0),
    }
}

fn columns(query: &Query) -> Vec<Read> {
    let mut columns: Vec<Read> = Vec::new();
    for column in query.columns() {
        if !columns.iter().any(|known| known.name == column.name) {
            let holds = Type::of(&column.value).words();
            columns.push(Read { name: column.name.clone(), holds });
        }
    }
    columns
}

impl Explained {
    fn print(&self, out: &mut Output) -> Result<()> {
        out.line(format_args!("filter   {}", self.filter))?;
        let of = |column: &Read| format!("{} ({})", column.name, column.holds);
        let columns: Vec<String> = self.columns.iter().map(of).collect();
        let columns = if columns.is_empty() { "none".into() } else { columns.join(", ") };
        out.line(format_args!("reads    {columns}"))?;
        if let Some(sent) = &self.sent {
            out.line(format_args!("server   {sent}"))?;
        }
        if let Some(here) = &self.here {
            out.line(format_args!("here     {here}"))?;
        }
        if let Some(fetched) = self.fetched {
            out.line(format_args!("fetches  {}", bytes(fetched)))?;
        }
        let (rows, of) = (count(self.rows), counted(self.of, "row"));
        out.line(format_args!("matches  {rows} of {of} of {}", self.dataset))?;
        match &self.why {
            Some(why) => out.line(format_args!("because  {why}")),
            None => Ok(()),
        }
    }
}
