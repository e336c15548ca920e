//! `dcfs index`: makes a dataset from the objects in a bucket or a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use super::access::{self, AccessArgs};
use super::complete;
use super::interrupt::{self, Interrupt};
use super::naming::{self, DescriptionArgs, Numbering};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::{command_line, places, remembered, warn};
use crate::fuse::mounts::{self, Mount};
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::name::DatasetName;
use dcfs_core::render::numbers::{count, counted, objects, verb};
use dcfs_data::catalog::{self, Saved};
use dcfs_store::list::{Origin, Totals};
use dcfs_work::author;
use dcfs_work::index::{self, Counts, Delta, Desk, Indexed, Phase, Report, Request, Watch, With};

/// Make a dataset of the objects in a bucket or a folder
///
/// Lists storage and saves one row for each object, as `read_storage(...).save(...)` of DataChain does; Python
/// opens it with `read_dataset`. The catalog is created if there is none. A listing of a bucket that dcfs or
/// DataChain made in the last four hours is reused, unless `--update` or `--delta` is given; local folders are
/// listed again, unless `--reuse` is given. Without `--with`, the next version of a dataset has the columns of
/// the last one, computed again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Index {
    /// Places to list: s3://, gs://, az://, file:// or a path, with `*`, `?`, `[0-9]`, `**`, `{a,b}` and
    /// `{1..9}`; quote patterns, or the shell expands them
    #[arg(value_name = "URI", required = true)]
    uris: Vec<String>,
    /// Name of the dataset
    #[arg(long, value_name = "NAME", value_parser = naming::dataset, add = complete::names_alone())]
    save: DatasetName,
    /// A column to add: `image` (info.width, info.height and info.format, read from the headers of pictures),
    /// or `path:PATTERN` (columns from the path, e.g. `path:{breed}_{n:int}`); repeatable. `none`: no columns,
    /// whatever the last version has
    #[arg(long, value_name = "COLUMN")]
    with: Vec<With>,
    /// List again, even if a recent listing exists
    #[arg(long)]
    update: bool,
    /// Reuse a listing of the last four hours, also for a local folder
    #[arg(long, conflicts_with_all = ["update", "delta"])]
    reuse: bool,
    /// Save a version even if it has no rows
    #[arg(long)]
    allow_empty: bool,
    /// Compare with the latest version, and compute only new and changed rows; always lists again
    #[arg(long)]
    delta: bool,
    /// With --delta: keep the rows of objects that changed or are gone, as DataChain does
    #[arg(long, requires = "delta")]
    keep_deleted: bool,
    #[command(flatten)]
    numbering: Numbering,
    #[command(flatten)]
    described: DescriptionArgs,
    /// Pictures to read in parallel: most of the time is spent waiting for a store
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

const EXAMPLES: &str = "Examples:
  dcfs index ./photos --save photos
  dcfs index 's3://bucket/train/**/*.{jpg,png}' --save train --anon
  dcfs index s3://bucket/pets/ --save pets --with image --with 'path:{breed}_{n:int}'
  dcfs index s3://bucket/pets/ --save pets --delta       what is new since the last version";

impl Index {
    /// Lists, saves, and prints the result.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let folder = std::env::current_dir().map_err(|error| Error::new(Kind::Broken, error))?;
        let (path, is_there) = catalog::locate_or_new(self.access.catalog.catalog.as_deref())?;
        let mut request = self.request(&folder)?;
        let settings = access::settings(self.access.config.as_deref())?;
        let stores = Arc::new(self.access.stores(settings));
        stores.check()?;
        let sources = request.origins.iter().map(Origin::source);
        request.provenance.settings = remembered::settings(&stores, sources);
        let cache = self.access.cache_dir.clone().unwrap_or_else(places::cache);
        places::scratch(&cache)?;
        let runtime = session::runtime()?;
        let steps = Steps::new();
        let indexed = {
            let mut desk = Desk::new((&path, is_there), &cache, (&stores, &runtime), &steps)?;
            index::index(&mut desk, request)?
        };
        steps.clear();
        if indexed.saved.is_none() && self.numbering.is_said() {
            warn("no version was made, so `--version` and `--bump` did nothing");
        }
        match self.json {
            true => out.json(&shown(&indexed)),
            false => tell(&indexed, out),
        }
    }

    fn request(&self, folder: &Path) -> Result<Request> {
        let mut origins: Vec<Origin> = Vec::new();
        let mut groups = Vec::new();
        for uri in &self.uris {
            let group = Origin::parse(uri, folder)?.into_iter();
            groups.push(group.map(|origin| place(&mut origins, origin)).collect());
        }
        let shown = shown_by_dcfs();
        let origins = origins.into_iter().map(|origin| origin.without(shown.clone())).collect();
        Ok(Request {
            origins,
            groups,
            name: self.save.clone(),
            with: self.with.clone(),
            update: self.update || self.delta,
            reuse: self.reuse,
            allows_empty: self.allow_empty,
            delta: self.delta.then_some(Delta { keeps_deleted: self.keep_deleted }),
            number: self.numbering.number(),
            description: self.described.description.clone(),
            attrs: self.described.attrs().map(<[_]>::to_vec),
            jobs: self.jobs.into(),
            provenance: author::ask(&command_line(), None),
        })
    }
}

/// The mountpoints of dcfs: their contents are in storage already.
fn shown_by_dcfs() -> Vec<PathBuf> {
    let mounts = mounts::all().unwrap_or_default().into_iter();
    mounts.filter(Mount::is_dcfs).map(|mount| mount.mountpoint).collect()
}

/// The index of an origin in the list, added if it is new.
fn place(origins: &mut Vec<Origin>, origin: Origin) -> usize {
    origins.iter().position(|other| *other == origin).unwrap_or_else(|| {
        origins.push(origin);
        origins.len() - 1
    })
}

/// Progress of the work, a step at a time.
struct Steps {
    progress: Progress,
    /// Whether the listing has been saved to the catalog, for the message on interruption.
    is_listing_kept: Arc<AtomicBool>,
    /// Whether the current step comes after the listings.
    is_past_listing: AtomicBool,
    _interrupt: Interrupt,
}

impl Steps {
    fn new() -> Self {
        let is_listing_kept = Arc::new(AtomicBool::new(false));
        let is_kept = Arc::clone(&is_listing_kept);
        let said = move || match is_kept.load(Relaxed) {
            true => "no version was saved; the listing is kept".to_owned(),
            false => "nothing was saved".to_owned(),
        };
        Self {
            progress: Progress::new(Unit::Objects).labelled("listing"),
            is_listing_kept,
            is_past_listing: AtomicBool::new(false),
            _interrupt: interrupt::says(said),
        }
    }

    fn clear(&self) {
        self.progress.clear();
    }
}

impl Watch for Steps {
    fn listed(&self, objects: u64, bytes: u64) {
        // Several addresses are listed and saved one after another.
        if self.is_past_listing.swap(false, Relaxed) {
            self.progress.begin("listing", Unit::Objects, None);
        }
        self.progress.add_bytes(bytes);
        self.progress.add(objects);
    }

    fn begins(&self, phase: Phase, rows: Option<u64>) {
        let label = match phase {
            Phase::Keeping => "keeping the listing",
            Phase::Writing => "writing",
            Phase::Pictures => "reading pictures",
        };
        self.is_listing_kept.fetch_or(phase != Phase::Keeping, Relaxed);
        self.is_past_listing.store(true, Relaxed);
        self.progress.begin(label, Unit::Rows, rows);
    }

    fn wrote(&self, rows: u64) {
        self.progress.add(rows);
    }
}

/// Prints the result for people. The reuse of a listing is reported beside it.
fn tell(indexed: &Indexed, out: &mut Output) -> Result<()> {
    for (at, listing) in indexed.listings.iter().enumerate() {
        let is_told = indexed.listings[..at].iter().any(|other| other.of == listing.of);
        told_of(listing, is_told);
    }
    if let Some(kept) = &indexed.kept_columns {
        let (of, with) = (&kept.of, kept.with.join(" --with "));
        warn(format_args!(
            "the columns of `{of}` are kept (--with {with}); `--with none` saves without them"
        ));
    }
    let computed = &indexed.computed;
    let (counts, last) = (indexed.counts, indexed.last.as_ref());
    if last.is_some() {
        out.line(told_counts(counts))?;
    }
    if computed.no_images > 0 {
        let is = verb(computed.no_images, "is no image", "are no images");
        out.line(format!("{} {is}", count(computed.no_images)))?;
    }
    if computed.replaced > 0 {
        let was = verb(computed.replaced, "was", "were");
        let what = "replaced or deleted after the listing; `--delta` looks again";
        out.line(format!("{} {was} {what}", count(computed.replaced)))?;
    }
    if computed.unreadable > 0 {
        let have =
            verb(computed.unreadable, "could not be read and has", "could not be read and have");
        out.line(format!(
            "{} {have} no `info` (`--where \"info is null\"` lists them)",
            count(computed.unreadable)
        ))?;
        for why in &computed.unreadable_first {
            warn(why);
        }
    }
    if let Some(path) = &computed.unmatched_path {
        let n = computed.unmatched;
        let have = verb(n, "has a path that does not match", "have paths that do not match");
        out.line(format!("{} {have}, e.g. `{path}`", count(n)))?;
    }
    match (&indexed.saved, last) {
        (Some(saved), _) => out.line(format!("saved {}: {}", version(saved), size(saved))),
        (None, Some(last)) if indexed.is_described => {
            let name = &last.dataset;
            out.line(format!(
                "nothing new; {last} is as it was, and `{name}` has a new description"
            ))
        }
        (None, Some(last)) => out.line(format!("nothing new; {last} is as it was")),
        (None, None) => Ok(()),
    }
}

/// What a delta found, of objects, rows or files.
pub fn told_counts(counts: Counts) -> String {
    let [unchanged, new] = [counts.unchanged, counts.new].map(count);
    let [changed, gone] = [counts.changed, counts.gone].map(count);
    format!("{unchanged} unchanged, {new} new, {changed} changed, {gone} gone")
}

fn told_of(listing: &Report, is_told: bool) {
    let of = &listing.of;
    if let Some(age) = listing.age_seconds.filter(|_| !is_told).map(duration) {
        warn(format_args!(
            "the listing of `{of}`, made {age} ago, is reused; `--update` lists again"
        ));
    }
    if listing.objects == 0 {
        warn(format_args!("`{of}` is empty: what the last version had of it is gone"));
    }
    let left_out = left_out(listing);
    if !left_out.is_empty() && !is_told {
        warn(format_args!("left out of `{of}`: {}", left_out.join(", ")));
    }
    let outside = listing.kinds.outside_links;
    if outside > 0 && !is_told {
        let lead = verb(
            outside,
            "leads to a file outside of it: it is a row",
            "lead to files outside of it: they are rows",
        );
        let n = counted(outside, "link");
        let read = "and read where a mount may open what is there (`--local-root`)";
        warn(format_args!("{n} of `{of}` {lead}, {read}"));
    }
}

/// The numbers of objects that no row can name, by reason.
fn left_out(listing: &Report) -> Vec<String> {
    let Totals { keys, not_utf8, folder_links, broken_links, special, .. } = listing.kinds;
    let special_kind = match listing.of.starts_with("az://") {
        true => ["folder listed as a blob", "folders listed as blobs"],
        false => ["pipe, socket or device", "pipes, sockets or devices"],
    };
    let kinds = [
        (folder_links, ["link to a folder", "links to folders"]),
        (broken_links, ["link to nothing", "links to nothing"]),
        (special, special_kind),
        (not_utf8, ["name that is not UTF-8", "names that are not UTF-8"]),
        (keys, ["key with `//` or a slash at the end", "keys with `//` or a slash at the end"]),
    ];
    let some = kinds.into_iter().filter(|(n, _)| *n > 0);
    some.map(|(n, [one, more])| format!("{} {}", count(n), verb(n, one, more))).collect()
}

fn version(saved: &Saved) -> String {
    format!("{}@{}", saved.dataset, saved.version)
}

fn size(saved: &Saved) -> String {
    objects(saved.rows, saved.size.unwrap_or(0))
}

/// Formats as `8 s`, `12 min`, `3 h 20 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The result as JSON.
fn shown(indexed: &Indexed) -> Value {
    let mut shown = json!(indexed);
    let saved = indexed.saved.as_ref();
    let last = indexed.last.as_ref().map(ToString::to_string);
    shown["dataset"] = json!(saved.map(version).or_else(|| last.clone()));
    shown["is_new"] = json!(saved.is_some());
    shown["rows"] = json!(saved.map(|saved| saved.rows));
    shown["bytes"] = json!(saved.map(|saved| saved.size));
    shown["before"] = json!(last);
    shown
}
