//! The rows of many filters in one process, for `tests/cluster/test_pushed.py`: on a server, of the part that is sent to it; in a
//! file, of all of it.
//!
//!     pushed CATALOG DATASET CACHE
//!
//! Reads filters, one JSON string per line. Prints one JSON object for each: `ids`, the `sys__id` of its rows, or `error`; and on
//! a server `sent`, the part that is sent, or null.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use dcfs_core::expr;
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, Matching, VersionInfo};
use dcfs_data::pack::{Limits, Pack, Packs};
use dcfs_data::query::{Queries, Version};
use dcfs_data::sql::question::pack_of;
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
    let of = catalog.find(&dataset.parse()?)?;
    let schema = catalog.schema(&of)?;
    let pack = match catalog.fetched(&of, &[]) {
        Some(_) => None,
        None => Some(pack_of(&Packs::new(catalog.clone(), cache.into(), Limits::default()), &of)?),
    };
    let asked = Asked { catalog, of, schema, pack, queries: Queries::for_a_command() };
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let told = asked.rows(&text).unwrap_or_else(|error| json!({"error": error.to_string()}));
        writeln!(out, "{told}")?;
    }
    Ok(())
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
