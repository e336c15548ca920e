//! `query`: runs one SELECT, like `dcfs sql`.

use std::ops::ControlFlow;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answer, Fitting};
use super::server::{Server, blocking};
use dcfs_core::error::Result;
use dcfs_core::render::grid;
use dcfs_core::render::rows::Format;
use dcfs_core::render::stranger::visible;
use dcfs_core::time::Timestamp;
use dcfs_data::sql::lines::Lines;
use dcfs_data::sql::question::{self, Question};
use dcfs_data::sql::{Limits, Shape};

/// Limit of returned rows.
pub const MOST_ROWS: usize = 100;

/// Limit of a cell in the text, in characters; the data contains more of it.
const WIDEST: usize = 120;

const NARROW: &str =
    "narrow it: aggregate (group by, count), add a condition, or order by ... limit n";

/// The arguments of `query`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    sql: String,
    limit: Option<usize>,
}

/// The rows of a statement, as many as fit, and their total number.
pub async fn answer(server: &Server, arguments: Arguments) -> Result<Answer> {
    let setup = server.setup();
    blocking(move || {
        let question = Question::read(&setup.catalog, setup.usage.clone(), &arguments.sql)?;
        question.note(Timestamp::of_system(SystemTime::now()));
        let packs = |of: &_| question::pack_of(&setup.packs, of);
        let (mut engine, bound) = question.engine(&packs, Limits::default(), true, &|_| {})?;
        let origins = question.origins();
        let ready = engine.prepare(bound)?;
        let results = question::results(&ready.columns(), bound.results.as_deref());
        let shape = Shape::new(&results, &origins);
        let schema = shape.schema();
        let columns = grid::columns(&schema);
        let number = |name: &str| name.parse::<usize>().unwrap_or_default();
        let numbers: Vec<usize> = columns.iter().map(|column| number(&column.column)).collect();
        let lines = Lines::new(&shape, Format::Jsonl);
        let mut rows = Fitting::new(arguments.limit.unwrap_or(MOST_ROWS).clamp(1, MOST_ROWS));
        let names: Vec<String> =
            columns.iter().map(|column| visible(&column.title(), WIDEST)).collect();
        rows.line(&names.join(" | "));
        ready.rows(&mut |cells| {
            rows.item(|| {
                let texts = columns.iter().zip(&numbers).map(|(column, at)| {
                    visible(&column.text(cells.get(*at).copied().unwrap_or_default()), WIDEST)
                });
                let texts: Vec<String> = texts.collect();
                let mut line = Vec::new();
                lines.write(&mut line, cells);
                // JSON has no infinity: then the text is the value.
                let value = serde_json::from_slice(&line).unwrap_or_else(|_| {
                    let named = names.iter().cloned().zip(texts.iter().cloned().map(Value::from));
                    Value::Object(named.collect())
                });
                (texts.join(" | "), value)
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows.answer("rows", "rows", NARROW))
    })
    .await
}
