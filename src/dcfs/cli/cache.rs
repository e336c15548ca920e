//! `dcfs cache`: cached objects and what hosts share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::access;
use super::options::parse_duration;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::sharing;
use super::{CatalogArg, places};
use crate::session::{self, Who};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::{self, count, counted};
use dcfs_core::shared::Listed;
use dcfs_data::pack::home;
use dcfs_data::pack::shared::{self, Swept, Tier};
use dcfs_store as store;
use dcfs_store::upkeep::{self, Usage};

/// Show, check or remove cached objects, and what hosts share
#[derive(Debug, clap::Args)]
pub struct Cache {
    #[command(subcommand)]
    work: Work,
    /// The cache directory [default: $XDG_CACHE_HOME/dcfs]
    #[arg(long, value_name = "DIR", global = true)]
    cache_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Work {
    /// Print the number and size of cached objects, and of generated tables and differences
    Status,
    /// Remove everything that no mount has open; packed versions stay
    Clear,
    /// Read everything and compare it with its checksums; damaged blocks are fetched again later
    Verify,
    /// Show and clean the folder that hosts share, `[shared]` of config.toml
    #[command(subcommand)]
    Shared(SharedWork),
}

#[derive(Clone, Debug, clap::Subcommand)]
enum SharedWork {
    /// Print the shared parts of each version, and their sizes
    Status(SharedPlace),
    /// Remove what is no longer useful: files of removed versions, and files that no version needs
    Gc {
        #[command(flatten)]
        place: SharedPlace,
        /// Keep files younger than this, because a host may be writing them: e.g. 30m
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1d")]
        older_than: Duration,
        /// Also remove files of versions that this catalog does not know, if no other catalog shares there
        #[arg(long)]
        unknown: bool,
        /// Remove only small objects of stores, those written longer than this ago, e.g. 30d: a host that needs one
        /// fetches it again
        #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "older_than")]
        objects_older_than: Option<Duration>,
    },
}

/// The catalog and the folder.
#[derive(Clone, Debug, clap::Args)]
struct SharedPlace {
    #[command(flatten)]
    catalog: CatalogArg,
    /// Settings file [default: DCFS_CONFIG, then $XDG_CONFIG_HOME/dcfs/config.toml, then /etc/dcfs/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SharedPlace {
    fn tier(&self) -> Result<Arc<Tier>> {
        let catalog = Arc::new(self.catalog.open()?);
        let settings = access::settings(self.config.as_deref())?;
        let config = store::Config { settings, ..store::Config::new(session::TIMEOUT) };
        session::tier(config, &catalog, Who::Reader)?.ok_or_else(sharing::none_named)
    }

    /// Removes objects, and shows how many.
    fn removing(
        &self,
        work: impl FnOnce(&Arc<Tier>, &dyn Fn(&Listed)) -> Result<Swept>,
    ) -> Result<Swept> {
        let tier = self.tier()?;
        let progress = Progress::new(Unit::Objects).labelled("removing");
        work(&tier, &|object| {
            progress.add_bytes(object.size);
            progress.add(1);
        })
    }
}

impl SharedWork {
    fn run(&self, json: bool, out: &mut Output) -> Result<()> {
        match self {
            Self::Status(place) => {
                let status = shared::status(&place.tier()?)?;
                if json {
                    return out.json(&status);
                }
                out.line(format!("`{}`:", status.prefix))?;
                for (version, of) in &status.versions {
                    let held = numbers::objects(of.held.objects, of.held.bytes);
                    let names = counted(of.names.len() as u64, "name");
                    out.line(format!("{version}: {held}; {names} in the catalog"))?;
                }
                let rest =
                    [("removed versions", status.removed), ("unknown versions", status.unknown)];
                for (whose, held) in rest.iter().filter(|(_, held)| held.objects > 0) {
                    let held = numbers::objects(held.objects, held.bytes);
                    out.line(format!("of {whose}: {held}; see `dcfs cache shared gc`"))?;
                }
                if status.objects.objects > 0 {
                    let held = numbers::objects(status.objects.objects, status.objects.bytes);
                    out.line(format!("small objects of stores: {held}"))?;
                }
                Ok(())
            }
            Self::Gc { place, objects_older_than: Some(age), unknown, .. } => {
                let swept =
                    place.removing(|tier, each| shared::sweep_small(tier, *age, *unknown, each))?;
                say(swept, json, out, |swept, out| {
                    let stays = numbers::objects(swept.stays.objects, swept.stays.bytes);
                    out.line(format!("small objects: removed {}; {stays} are newer", gone(swept)))
                })
            }
            Self::Gc { place, older_than, unknown, .. } => {
                let swept = place
                    .removing(|tier, each| shared::sweep(tier, *older_than, *unknown, each))?;
                say(swept, json, out, |swept, out| {
                    let stays = numbers::objects(swept.stays.objects, swept.stays.bytes);
                    out.line(format!("removed {}; {stays} are needed or new", gone(swept)))?;
                    match swept.unknown.objects {
                        0 => Ok(()),
                        _ => {
                            let held = numbers::objects(swept.unknown.objects, swept.unknown.bytes);
                            out.line(format!(
                                "{held} of versions that this catalog does not know stay; `--unknown` removes them"
                            ))
                        }
                    }
                })
            }
        }
    }
}

/// What was removed from the shared folder, and what could not be.
fn gone(swept: &Swept) -> String {
    let removed = numbers::objects(swept.removed.objects, swept.removed.bytes);
    match swept.failed.objects {
        0 => removed,
        failed => format!("{removed}; {} could not be removed", counted(failed, "object")),
    }
}

/// Prints what was removed, then fails if something could not be.
fn say(
    mut swept: Swept,
    json: bool,
    out: &mut Output,
    lines: impl FnOnce(&Swept, &mut Output) -> Result<()>,
) -> Result<()> {
    let error = swept.error.take();
    match json {
        true => out.json(&swept)?,
        false => lines(&swept, out)?,
    }
    out.flush()?;
    error.map_or(Ok(()), Err)
}

#[derive(Debug, Serialize)]
struct Status {
    folder: PathBuf,
    objects: u64,
    bytes: u64,
    /// Size of generated tables and differences, which are limited to a quarter of `--cache-size`.
    tables: u64,
    tables_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Cleared {
    removed: u64,
    removed_bytes: u64,
    in_use: u64,
    in_use_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Verified {
    objects: u64,
    blocks: u64,
    damaged: u64,
}

impl Cache {
    /// Does the work and prints the result. Damage is no error: it is repaired.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let folder = self.cache_dir.unwrap_or_else(places::cache);
        let failed = |error: std::io::Error| {
            let message = format!("the cache in `{}`: {error}", folder.display());
            Error::new(Kind::Broken, message)
        };
        match self.work {
            Work::Shared(work) => work.run(self.json, out),
            Work::Status => {
                let Usage { objects, bytes } = upkeep::usage(&folder);
                let made = home::kept(&folder.join("packs"));
                let tables = made.len() as u64;
                let tables_bytes = made.iter().map(|file| file.bytes).sum();
                if self.json {
                    let status = Status { folder, objects, bytes, tables, tables_bytes };
                    return out.json(&status);
                }
                out.line(format!(
                    "{} in `{}`",
                    numbers::objects(objects, bytes),
                    folder.display()
                ))?;
                match tables {
                    0 => Ok(()),
                    _ => out.line(format!(
                        "tables and differences that were made: {}, {}",
                        count(tables),
                        numbers::bytes(tables_bytes)
                    )),
                }
            }
            Work::Clear => {
                let upkeep::Cleared { removed, in_use } = upkeep::clear(&folder).map_err(failed)?;
                if self.json {
                    return out.json(&Cleared {
                        removed: removed.objects,
                        removed_bytes: removed.bytes,
                        in_use: in_use.objects,
                        in_use_bytes: in_use.bytes,
                    });
                }
                out.line(format!("removed {}", numbers::objects(removed.objects, removed.bytes)))?;
                match in_use.objects {
                    0 => Ok(()),
                    n => out.line(format!(
                        "{} {}",
                        numbers::objects(in_use.objects, in_use.bytes),
                        numbers::verb(
                            n,
                            "stays: a mount has it open",
                            "stay: a mount has them open"
                        )
                    )),
                }
            }
            Work::Verify => {
                let progress = Progress::new(Unit::Bytes).labelled("reading");
                progress.set_total(upkeep::usage(&folder).bytes);
                let verified = upkeep::verify(&folder, &mut |bytes| progress.add(bytes));
                progress.clear();
                let upkeep::Verified { objects, blocks, damaged } = verified.map_err(failed)?;
                if self.json {
                    return out.json(&Verified { objects, blocks, damaged });
                }
                let (objects, blocks) = (counted(objects, "object"), counted(blocks, "block"));
                match damaged {
                    0 => out.line(format!("{objects}, {blocks}: all whole")),
                    _ => out.line(format!(
                        "{objects}, {blocks}: {} damaged, fetched again when read",
                        count(damaged)
                    )),
                }
            }
        }
    }
}
