//! `dcfs knowledge`: pages about the catalog as files, search in them, and notes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use clap::Subcommand;

use super::access::AccessArgs;
use super::asking::AskingArgs;
use super::complete;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{naming, usage, warn};
use crate::{sample, session};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::{DatasetName, DatasetRef};
use dcfs_core::time::Timestamp;
use dcfs_core::version::Requirement;
use dcfs_data::knowledge::folder::{self, How, Outcome};
use dcfs_data::knowledge::{Hit, Knowledge};
use dcfs_store::Stores;

/// Time limit for reading the beginning of one file for a page.
const PATIENCE: Duration = Duration::from_secs(10);

/// Write pages about the datasets: an index, and for each its contents, origin, statistics and code
///
/// In the layout of DataChain's knowledge base, generated only from facts. Only pages that changed are
/// written. `## Session Context` of a page and all of notes/, docs/ and memory/ are yours: they are kept
/// verbatim. A page that was edited elsewhere is kept as PAGE.orig; one that another program wrote is left
/// alone. In a mount the same pages are in knowledge/. For a listing, a few files are opened to show their
/// first lines.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true)]
pub struct KnowledgeCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// Folder of the pages [default: dc-knowledge beside .datachain]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
    /// Read no objects: pages about listings then show no headers and first lines
    #[arg(long)]
    no_samples: bool,
    /// Write nothing; exit with 3 if a page is missing or stale
    #[arg(long)]
    check: bool,
    /// Also regenerate pages that another program wrote; those are kept as PAGE.orig
    #[arg(long, conflicts_with = "check")]
    take_over: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "Examples:
  dcfs knowledge                          write or refresh dc-knowledge/
  dcfs knowledge --check                  in CI: is it up to date?
  dcfs knowledge search cats with width   pages, notes and scripts with these words
  dcfs knowledge note pets 'labels of 1.0.0 are wrong'";

#[derive(Debug, Subcommand)]
enum Action {
    /// Search pages, notes and scripts
    Search(Search),
    /// Add a line to the notes about a dataset, or about the whole catalog
    Note(Note),
}

#[derive(Debug, clap::Args)]
struct Search {
    /// Words to find; each matches words that begin with it
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Number of pages to print
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Note {
    /// The dataset, e.g. `pets`, and the note; just the note if it is about the whole catalog
    #[arg(value_names = ["NAME", "TEXT"], num_args = 1..=2, required = true, add = complete::names_alone())]
    words: Vec<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Folder of the pages [default: dc-knowledge beside .datachain]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    asking: AskingArgs,
}

impl KnowledgeCommand {
    /// Runs the requested operation.
    pub fn run(self, out: &mut Output) -> Result<()> {
        match &self.action {
            Some(Action::Search(search)) => search.run(out),
            Some(Action::Note(note)) => note.run(out),
            None => self.refresh(out),
        }
    }

    fn refresh(&self, out: &mut Output) -> Result<()> {
        let (catalog, cache_dir) = (self.access.catalog.clone(), self.access.cache_dir.clone());
        let (knowledge, folder) = open(&AskingArgs { catalog, cache_dir }, self.folder.as_deref())?;
        let knowledge = if self.no_samples { knowledge } else { self.looking(knowledge)? };
        let how = How { is_check: self.check, takes_over: self.take_over };
        let progress = Progress::new(Unit::Objects).labelled("pages");
        let told = |done, all| {
            progress.set_total(all as u64);
            progress.reach(done as u64);
        };
        let outcome = folder::refresh(&knowledge, &folder, how, &told);
        progress.clear();
        let outcome = outcome?;
        match self.json {
            true => out.json(&outcome)?,
            false => self.print(&outcome, &folder, out)?,
        }
        let stale = outcome.written.len() + outcome.removed.len();
        if !self.check || stale == 0 {
            return Ok(());
        }
        out.flush()?;
        let message = format!(
            "{stale} pages of `{}` are stale; `dcfs knowledge` writes them",
            folder.display()
        );
        Err(Error::new(Kind::Stale, message))
    }

    /// The same pages with the first lines of some files. Stores are opened at the first of them.
    fn looking(&self, knowledge: Knowledge) -> Result<Knowledge> {
        let access = self.access.clone().resolve()?;
        let runtime = session::runtime()?;
        let stores: OnceLock<Option<Stores>> = OnceLock::new();
        Ok(knowledge.looking(move |object| {
            let stores = stores.get_or_init(|| access.stores(&[]).ok()).as_ref()?;
            runtime.block_on(async {
                let look = sample::beginning(stores, object);
                tokio::time::timeout(PATIENCE, look).await.ok().flatten()
            })
        }))
    }

    fn print(&self, outcome: &Outcome, folder: &Path, out: &mut Output) -> Result<()> {
        let Outcome { written, removed, foreign, kept, unchanged } = outcome;
        let verb = if self.check { "stale" } else { "wrote" };
        written.iter().try_for_each(|path| out.line(format_args!("{verb} {path}")))?;
        let verb = if self.check { "without a dataset" } else { "removed" };
        removed.iter().try_for_each(|path| out.line(format_args!("{verb} {path}")))?;
        for path in kept {
            warn(format_args!("a page was edited; its text is kept in {path}"));
        }
        for path in foreign {
            warn(format_args!(
                "{path} was not written by dcfs and is left alone; `--take-over` replaces it"
            ));
        }
        out.line(format_args!(
            "{}: {} written, {unchanged} as they were",
            folder.display(),
            written.len()
        ))
    }
}

impl Search {
    fn run(&self, out: &mut Output) -> Result<()> {
        let (knowledge, _) = open(&self.place.asking, self.place.folder.as_deref())?;
        let hits = knowledge.search(&self.words.join(" "), self.limit)?;
        if self.json {
            return out.json(&hits);
        }
        if hits.is_empty() {
            return Err(Error::new(Kind::Missing, "no page has any of these words"));
        }
        for Hit { path, title, snippet } in &hits {
            out.line(format_args!("{path}  {title}"))?;
            out.line(format_args!("    {snippet}"))?;
        }
        Ok(())
    }
}

impl Note {
    fn run(&self, out: &mut Output) -> Result<()> {
        let (knowledge, folder) = open(&self.place.asking, self.place.folder.as_deref())?;
        let (name, text) = match &self.words[..] {
            [name, text] => (Some(naming::dataset(name).map_err(usage)?), text),
            [text] => (None, text),
            _ => return Err(usage("give the text of the note")),
        };
        let page = name.map(|name| self.page(&knowledge, &name)).transpose()?;
        let who = std::env::var("USER").unwrap_or_default();
        let now = Timestamp::of_system(SystemTime::now());
        let file = folder::note(&folder, page.as_deref(), text, now, &who)?;
        out.line(folder.join(file).display())
    }

    fn page(&self, knowledge: &Knowledge, name: &DatasetName) -> Result<String> {
        if let Some(page) = knowledge.page_of(name)? {
            return Ok(page);
        }
        // Suggests the nearest names.
        let wanted = DatasetRef { name: name.clone(), requirement: Requirement::Latest };
        self.place.asking.catalog.open()?.find(&wanted)?;
        Err(usage(format!("`{name}` has no page: it is a calibration")))
    }
}

/// The pages of a catalog, and their folder.
fn open(asking: &AskingArgs, folder: Option<&Path>) -> Result<(Knowledge, PathBuf)> {
    let catalog = std::sync::Arc::new(asking.catalog.open()?);
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => Knowledge::default_folder(&catalog)
            .ok_or_else(|| usage("name a folder for the pages"))?,
    };
    let asking = asking.clone();
    let packs = move |of: &_| asking.ask_exactly(of)?.pack();
    Ok((Knowledge::new(catalog, packs, Some(folder.clone())), folder))
}
