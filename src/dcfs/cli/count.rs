//! `dcfs count`: the number of rows of a version, of those that pass a filter, or of each value.

use serde::Serialize;

use super::asking::{Asked, AskingArgs};
use super::complete;
use super::output::Output;
use super::{terminal, warn};
use dcfs_core::error::Result;
use dcfs_core::expr::{Query, Val};
use dcfs_core::name::DatasetRef;
use dcfs_core::render::grid::{self, Column};
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{Known, SqlColumn};
use dcfs_core::time::Timestamp;
use dcfs_data::sql::counts::{self, Counts, share};

/// Print the number of rows of a dataset, or of those that pass a filter; with --by, the number for each value
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Count {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    #[command(flatten)]
    asking: AskingArgs,
    /// Only the rows that pass this filter, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Count the rows of each value of these columns, most first, e.g. `label` or `file.parent,file.ext`
    #[arg(long, value_name = "C,..", value_delimiter = ',', add = complete::columns())]
    by: Vec<String>,
    /// Values to print with --by, 0 for all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "by")]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "Examples:
  dcfs count pets --where 'info.width > 400'
  dcfs count pets --by label
  dcfs count pets --by file.parent,file.ext --where 'file.size > 1000' --limit 10
`dcfs sql` adds up more than rows: 'select label, avg(info.width) from pets group by label'";

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Counted {
    dataset: String,
    /// The filter in its printed form; null for all rows.
    filter: Option<String>,
    rows: u64,
}

impl Count {
    /// Counts, and prints the number.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let asked = self.asking.ask(&self.dataset)?;
        let query = self.filter.as_deref().map(|filter| asked.check(filter)).transpose()?;
        if !self.by.is_empty() {
            return self.by_value(&asked, query.as_ref(), out);
        }
        let rows = match &query {
            Some(query) => {
                let pack = asked.pack()?;
                let rows = asked.select(&pack, query)?.rows.len();
                if let Some(why) = (rows == 0).then(|| asked.why_empty(&pack, query)).flatten() {
                    warn(why);
                }
                rows
            }
            None => asked.catalog.extent(&asked.of)?.0,
        };
        if !self.json {
            return out.line(rows);
        }
        let filter = query.map(|query| query.to_string());
        out.json(&Counted { dataset: asked.of.to_string(), filter, rows })
    }

    /// Counts the rows of each value.
    fn by_value(&self, asked: &Asked, query: Option<&Query>, out: &mut Output) -> Result<()> {
        let known = Known::of(&asked.schema);
        let keys: Vec<SqlColumn> =
            self.by.iter().map(|name| counts::key(&known, name)).collect::<Result<_>>()?;
        let pack = asked.pack()?;
        let selected = query.map(|query| asked.select(&pack, query)).transpose()?;
        let within = selected.as_ref().map(|selected| &*selected.rows);
        let version = (&*asked.catalog, &asked.of);
        let mut counts = counts::count(version, &pack, within, keys, Vec::new())?;
        let all = counts.groups.len();
        counts.groups.truncate(if self.limit == 0 { all } else { self.limit });
        match self.json {
            true => tell_json(&counts, out),
            false => tell_grid(&counts, all, out),
        }
    }
}

/// A value as JSON.
fn json(column: &SqlColumn, value: &Val<'_>) -> serde_json::Value {
    match (value, &column.value) {
        (Val::Null, _) => serde_json::Value::Null,
        (Val::Int(n), ValueType::Bool) => (*n != 0).into(),
        (Val::Int(n), _) => (*n).into(),
        (Val::Real(x), _) => {
            serde_json::Number::from_f64(*x).map_or_else(|| x.to_string().into(), Into::into)
        }
        (Val::Text(text), ValueType::Time) => {
            let text = String::from_utf8_lossy(text);
            Timestamp::parse(&text)
                .map_or_else(|| text.clone().into(), |time| time.to_string().into())
        }
        (Val::Text(text), _) => String::from_utf8_lossy(text).into(),
    }
}

fn tell_json(counts: &Counts, out: &mut Output) -> Result<()> {
    let one = |(values, rows, _): &(Vec<Val<'static>>, u64, Vec<Val<'static>>)| {
        let mut object = serde_json::Map::new();
        for (key, value) in counts.keys.iter().zip(values) {
            object.insert(key.name.clone(), json(key, value));
        }
        object.insert("rows".into(), (*rows).into());
        object.insert("share".into(), share(*rows, counts.total).into());
        serde_json::Value::Object(object)
    };
    out.json(&counts.groups.iter().map(one).collect::<Vec<_>>())
}

fn tell_grid(counts: &Counts, all: usize, out: &mut Output) -> Result<()> {
    let column = |name: &str, value: &ValueType| Column {
        signal: name.to_owned(),
        field: String::new(),
        column: String::new(),
        value: value.clone(),
    };
    let mut columns: Vec<Column> =
        counts.keys.iter().map(|key| column(&key.name, &key.value)).collect();
    columns.extend([column("rows", &ValueType::Int), column("share", &ValueType::Float)]);
    let rows: Vec<Vec<String>> = counts
        .groups
        .iter()
        .map(|(values, rows, _)| {
            let mut texts: Vec<String> = columns
                .iter()
                .zip(values)
                .map(|(column, value)| column.text(value.into()))
                .collect();
            texts.extend([rows.to_string(), format!("{:.2}%", share(*rows, counts.total) * 100.0)]);
            texts
        })
        .collect();
    let layout = grid::Layout::fit(&columns, &rows, terminal::width(&std::io::stdout()));
    out.text(&layout.header(&columns))?;
    rows.iter().try_for_each(|row| out.text(&layout.line(row)))?;
    if counts.groups.len() < all {
        out.line("")?;
        out.line(format_args!("[{} of {all} values]", counts.groups.len()))?;
    }
    Ok(())
}
