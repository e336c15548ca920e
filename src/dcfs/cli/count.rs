//! `dcfs count`: the number of rows of a version, of those that pass a filter, or of each value.

use serde::Serialize;

use super::asking::{Asked, AskingArgs};
use super::complete;
use super::output::Output;
use super::{terminal, usage, warn};
use dcfs_core::error::Result;
use dcfs_core::expr::{Query, Val};
use dcfs_core::name::{DatasetRef, nearest};
use dcfs_core::render::grid::{self, Column};
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{FoldKind, Known, SqlColumn};
use dcfs_core::time::Timestamp;
use dcfs_data::sql::kernel;

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
            self.by.iter().map(|name| key(&known, name)).collect::<Result<_>>()?;
        let pack = asked.pack()?;
        let selected = query.map(|query| asked.select(&pack, query)).transpose()?;
        let within = selected.as_ref().map(|selected| &*selected.rows);
        let version = (&*asked.catalog, &asked.of);
        let folds = [(FoldKind::Rows, None)];
        let groups = kernel::of_rows(version, &pack, within, &keys, &folds)?;
        let groups = groups.ok_or_else(|| {
            let names = self.by.join(", ");
            usage(format!("`{names}` has so many different values that counting them needs too much memory; \
                           `dcfs sql 'select {names}, count(*) from ... group by all'` counts them on the disk"))
        })?;
        let rows = |values: &[Val<'_>]| match values.first() {
            Some(Val::Int(rows)) => rows.unsigned_abs(),
            _ => 0,
        };
        let mut counted: Vec<(Vec<Val<'static>>, u64)> =
            groups.into_iter().map(|(keys, values)| (keys, rows(&values))).collect();
        let total: u64 = counted.iter().map(|(_, rows)| rows).sum();
        // Groups are sorted by value; the sort is stable, so that order remains among equal counts.
        counted.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        let all = counted.len();
        counted.truncate(if self.limit == 0 { all } else { self.limit });
        match self.json {
            true => tell_json(&keys, &counted, total, out),
            false => tell_grid(&keys, &counted, total, all, out),
        }
    }
}

/// A column that rows can be grouped by.
fn key(known: &Known, name: &str) -> Result<SqlColumn> {
    if let Some(column) = known.find(name) {
        return match column.value.is_scalar() {
            true => Ok(column.clone()),
            false => Err(usage(format!(
                "`{name}` holds lists, JSON or bytes, which cannot be counted by value"
            ))),
        };
    }
    let names = || known.columns.iter().map(|column| column.name.as_str());
    let near = match known.model(name).first() {
        Some(first) => vec![first.name.clone()],
        None => nearest::to(name, names()),
    };
    let ending = format!(".{name}");
    let near = match near.is_empty() {
        true => {
            names().filter(|known| known.ends_with(&ending)).take(3).map(str::to_owned).collect()
        }
        false => near,
    };
    let hint = nearest::hint(&near, "`dcfs schema` lists what there is");
    Err(usage(format!("no column `{name}` to count by{hint}")))
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

fn tell_json(
    keys: &[SqlColumn],
    counted: &[(Vec<Val<'static>>, u64)],
    total: u64,
    out: &mut Output,
) -> Result<()> {
    let one = |(values, rows): &(Vec<Val<'static>>, u64)| {
        let mut object = serde_json::Map::new();
        for (key, value) in keys.iter().zip(values) {
            object.insert(key.name.clone(), json(key, value));
        }
        object.insert("rows".into(), (*rows).into());
        object.insert("share".into(), share(*rows, total).into());
        serde_json::Value::Object(object)
    };
    out.json(&counted.iter().map(one).collect::<Vec<_>>())
}

fn share(rows: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { rows as f64 / total as f64 }
}

fn tell_grid(
    keys: &[SqlColumn],
    counted: &[(Vec<Val<'static>>, u64)],
    total: u64,
    all: usize,
    out: &mut Output,
) -> Result<()> {
    let column = |name: &str, value: &ValueType| Column {
        signal: name.to_owned(),
        field: String::new(),
        column: String::new(),
        value: value.clone(),
    };
    let mut columns: Vec<Column> = keys.iter().map(|key| column(&key.name, &key.value)).collect();
    columns.extend([column("rows", &ValueType::Int), column("share", &ValueType::Float)]);
    let rows: Vec<Vec<String>> = counted
        .iter()
        .map(|(values, rows)| {
            let mut texts: Vec<String> = columns
                .iter()
                .zip(values)
                .map(|(column, value)| column.text(value.into()))
                .collect();
            texts.extend([rows.to_string(), format!("{:.2}%", share(*rows, total) * 100.0)]);
            texts
        })
        .collect();
    let layout = grid::Layout::fit(&columns, &rows, terminal::width(&std::io::stdout()));
    out.text(&layout.header(&columns))?;
    rows.iter().try_for_each(|row| out.text(&layout.line(row)))?;
    if counted.len() < all {
        out.line("")?;
        out.line(format_args!("[{} of {all} values]", counted.len()))?;
    }
    Ok(())
}
