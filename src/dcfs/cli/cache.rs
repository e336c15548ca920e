//! `dcfs cache`: what is kept of fetched objects.

use std::path::PathBuf;

use serde::Serialize;

use super::output::Output;
use super::places;
use super::progress::{Progress, Unit};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::{self, count, counted};
use dcfs_data::pack::home;
use dcfs_store::upkeep::{self, Usage};

/// See, check or remove what is kept of fetched objects
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

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Work {
    /// How many objects, and tables and differences that were made, are kept, and how much room they take
    Status,
    /// Remove all that no mount has open; packed versions stay
    Clear,
    /// Read everything and compare it with its checksums; what is damaged is fetched again later
    Verify,
}

#[derive(Debug, Serialize)]
struct Status {
    folder: PathBuf,
    objects: u64,
    bytes: u64,
    /// Tables and differences that were made, which count against a quarter of `--cache-size`.
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
    /// Does the work and prints what came of it. What is damaged is no error: it is mended.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let folder = self.cache_dir.unwrap_or_else(places::cache);
        let failed = |error: std::io::Error| {
            let message = format!("the cache in `{}`: {error}", folder.display());
            Error::new(Kind::Broken, message)
        };
        match self.work {
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
