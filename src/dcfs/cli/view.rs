//! `dcfs view`: shows a dataset in a browser.

use std::sync::Arc;

use serde_json::json;

use super::access::AccessArgs;
use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use crate::session;
use crate::view::{self, Near, Thumbs, View as Shown};
use dcfs_core::error::Result;
use dcfs_core::name::DatasetRef;
use dcfs_data::pack::{Limits, Packs};
use dcfs_data::query::Queries;

/// Look at a dataset in a browser: its pictures, filters, column statistics, single rows
///
/// Serves a page only to this machine (127.0.0.1, a token in the address) until it is stopped. The page sends
/// no requests to other hosts, and changes nothing without `--write`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct View {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Initial filter of the page, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true, add = complete::filters())]
    filter: Option<String>,
    /// Port to listen on; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Let the page save a filter as a dataset
    #[arg(long)]
    write: bool,
    /// Print the address as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

const HELP: &str = "Examples:
  dcfs view pets
  dcfs view pets --where 'label = pug order by score desc'
  ssh -L 8000:127.0.0.1:8000 host dcfs view pets --port 8000     from another machine";

impl View {
    /// Serves the page until the process ends.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let (catalog, cache_dir) = (self.access.catalog.clone(), self.access.cache_dir.clone());
        let asked = AskingArgs { catalog, cache_dir }.ask(&self.dataset)?;
        if let Some(filter) = &self.filter {
            asked.check(filter)?;
        }
        let pack = asked.pack()?;
        let access = self.access.resolve()?;
        let shown = Shown {
            catalog: asked.catalog.clone(),
            of: asked.of.clone(),
            schema: asked.schema.clone(),
            pack,
            queries: Queries::for_a_command(),
            stores: Arc::new(access.stores(&[])?),
            filter: self.filter,
            thumbs: Arc::new(Thumbs::new(&access.cache)?),
        };
        let packs = Packs::new(asked.catalog.clone(), access.cache.clone(), Limits::default());
        let title = shown.of.to_string();
        let near = Arc::new(Near::new(Arc::new(shown), Arc::new(packs), self.write));
        session::runtime()?.block_on(async {
            let listening = view::listen(self.port).await?;
            let url = listening.url();
            match self.json {
                true => out.json_line(&json!({ "url": url }))?,
                false => out.line(format_args!("{title} is shown at {url}   (Ctrl-C ends it)"))?,
            }
            out.flush()?;
            listening.serve(near).await;
            Ok(())
        })
    }
}
