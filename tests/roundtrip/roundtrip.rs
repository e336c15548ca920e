//! Datasets of random shapes and values, written by dcfs, for DataChain to read back; see
//! `tests/python/test_roundtrip.py`.
//!
//!     roundtrip write CATALOG SEED NAME    makes a dataset, and prints its contents
//!     roundtrip read CATALOG NAME          prints the contents of a dataset of any writer
//!
//! Both print one JSON object. `signals` is `[name, type, optional]` each; `rows` are lists of values, in which
//! only values that JSON cannot express are objects: `{"float": BITS}`, `{"time": MICROSECONDS}`, `{"bytes":
//! HEX}`, `{"dict": {..}}` and `{"model": {..}}`. Properties that SQLite does not keep are not compared: NaN in
//! a column is NULL there, and zero has no sign.

mod decode;
mod draw;
mod encode;
mod value;

use std::path::Path;

use dcfs_core::name::DatasetName;
use dcfs_core::schema::Layout;
use dcfs_core::version::Bump;
use dcfs_data::catalog::{Catalog, Number, Provenance, Publication, Writer};
use serde_json::{Value as Json, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match words.as_slice() {
        ["write", catalog, seed, name] => write(Path::new(catalog), seed.parse()?, name)?,
        ["read", catalog, name] => decode::dataset(&Catalog::open(Path::new(catalog))?, name)?,
        _ => return Err("see tests/roundtrip/roundtrip.rs".into()),
    };
    println!("{told}");
    Ok(())
}

/// Saves the dataset generated from `seed`.
fn write(catalog: &Path, seed: u64, name: &str) -> Result<Json> {
    let drawn = draw::dataset(seed);
    let rows: Vec<_> = drawn.rows.iter().map(|row| encode::cells(&drawn.signals, row)).collect();
    let mut writer = Writer::open_or_create(catalog)?;
    let mut stage = writer.stage(Layout::of_signals(&drawn.signals))?;
    stage.insert(rows.iter().map(|row| row.iter().map(encode::Own::cell).collect::<Vec<_>>()))?;
    stage.publish(&Publication {
        name: &DatasetName::local(name),
        number: Number::Next(Bump::Patch),
        upon: None,
        parents: &[],
        script: "roundtrip",
        description: None,
        attrs: None,
        provenance: &Provenance::default(),
        job: None,
    })?;
    let signals: Vec<Json> = drawn.signals.iter().map(|s| value::signal(s, false)).collect();
    let stored = |row: &Vec<value::Value>| row.iter().map(|v| v.stored().json()).collect::<Json>();
    Ok(json!({"signals": signals, "rows": drawn.rows.iter().map(stored).collect::<Json>()}))
}
