//! The rows of many filters in one process, for `tests/cluster/test_pushed.py`: on a server, of the part that is sent to it; in a
//! file, of all of it. And the answers to many statements.
//!
//!     pushed CATALOG DATASET CACHE
//!     pushed CATALOG --statements CACHE
//!     pushed CATALOG --sqlite CACHE
//!
//! Reads filters, one JSON string per line. Prints one JSON object for each: `ids`, the `sys__id` of its rows, or `error`; and on
//! a server `sent`, the part that is sent, or null. Of a statement, which `--sqlite` leaves to SQLite: `rows`, each as text that
//! tells every value from every other, `columns`, their types, and `sent`, whether no pack was opened.

use std::cell::Cell as Flag;
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use dcfs_core::expr;
use dcfs_core::schema::{Leaf, Schema};
use dcfs_data::catalog::{Catalog, Matching, VersionInfo};
use dcfs_data::pack::{Limits, Pack, Packs};
use dcfs_data::query::{Queries, Version};
use dcfs_data::sql::question::{self, Question, pack_of};
use dcfs_data::sql::{Limits as StatementLimits, Seen, Shape};
use dcfs_data::usage::Usage;
use serde_json::{Value as Json, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Asked {
    catalog: Arc<Catalog>,
    of: VersionInfo,
    schema: Schema,
    /// `None` on a server.
    pack: Option<Arc<Pack>>,
    queries: Queries,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [catalog, dataset, cache] = &arguments[..] else {
        return Err("see tests/cluster/pushed.rs".into());
    };
    let catalog = Arc::new(Catalog::open(Path::new(catalog))?);
    if dataset.starts_with("--") {
        let packs = Packs::new(catalog.clone(), cache.into(), Limits::default());
        return each(&|text| statement(&catalog, &packs, text, dataset != "--sqlite"));
    }
    let of = catalog.find(&dataset.parse()?)?;
    let schema = catalog.schema(&of)?;
    let pack = match catalog.fetched(&of, &[]) {
        Some(_) => None,
        None => Some(pack_of(&Packs::new(catalog.clone(), cache.into(), Limits::default()), &of)?),
    };
    let asked = Asked { catalog, of, schema, pack, queries: Queries::for_a_command() };
    each(&|text| asked.rows(text))
}

/// Answers every line.
fn each(answer: &dyn Fn(&str) -> Result<Json>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let told = answer(&text).unwrap_or_else(|error| json!({"error": error.to_string()}));
        writeln!(out, "{told}")?;
    }
    Ok(())
}

fn statement(catalog: &Arc<Catalog>, packs: &Packs, text: &str, by_kernels: bool) -> Result<Json> {
    let question = Question::read(catalog, Usage::off(), text)?;
    let is_packed = Flag::new(false);
    let pack = |of: &VersionInfo| {
        is_packed.set(true);
        pack_of(packs, of)
    };
    let (mut engine, bound) =
        question.engine(&pack, StatementLimits::default(), by_kernels, &|_| {})?;
    let answer = engine.prepare(bound)?;
    let results = question::results(&answer.columns(), bound.results.as_deref());
    let (mut rows, mut seen) = (Vec::new(), vec![Seen::default(); results.len()]);
    answer.rows(&mut |cells| {
        seen.iter_mut().zip(cells).for_each(|(seen, cell)| seen.add(*cell));
        rows.push(format!("{cells:?}"));
        Ok(ControlFlow::Continue(()))
    })?;
    let origins = question.origins();
    let schema = Shape::new(&results, &origins).schema_of(&seen);
    let told = |leaf: &Leaf<'_>| format!("{} {}", leaf.name, leaf.field.type_text);
    let columns: Vec<String> = schema.leaves().iter().map(told).collect();
    Ok(json!({"rows": rows, "columns": columns, "sent": !is_packed.get()}))
}

impl Asked {
    fn rows(&self, text: &str) -> Result<Json> {
        let Self { catalog, of, schema, pack, queries } = self;
        let query = expr::check(text, schema)?;
        if let Some(pack) = pack {
            let version = Version { catalog, of, pack, each: &|_| {} };
            let rows = queries.select(version, &query, None)?.rows;
            let known = pack.ids()?;
            let ids = rows.iter().filter_map(|row| Some(known.get(row)?.key()));
            return Ok(json!({"ids": ids.collect::<Vec<_>>()}));
        }
        let filter = query.filter.ok_or("no condition")?;
        let Some(split) = catalog.split(of, &filter, &|_| false) else {
            return Ok(json!({"sent": null}));
        };
        let Some(Matching::Ids(ids)) = catalog.matching(of, &split.sql, None)? else {
            return Err("no ids".into());
        };
        let is_whole = split.rest.is_none();
        Ok(
            json!({"sent": split.sent.to_string(), "whole": is_whole, "ids": ids.iter().collect::<Vec<_>>()}),
        )
    }
}
