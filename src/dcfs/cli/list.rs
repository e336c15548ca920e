//! `dcfs list`: the objects in a bucket or a folder, as rows would record them. Hidden: it saves nothing.

use std::fmt::Write as _;

use serde_json::json;
use tokio::sync::mpsc;

use super::access::{self, AccessArgs};
use super::output::Output;
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_store::Stores;
use dcfs_store::list::{How, Listed, Origin, Totals};

/// Limit of batches in flight: a slow reader slows the listing.
const WAITING: usize = 16;

/// List a bucket or a folder, as JSON lines
#[derive(Debug, clap::Args)]
pub struct List {
    /// The place to list, e.g. `s3://bucket/images/**/*.jpg`
    uri: String,
    /// Print the whole listing, including old versions and objects that the patterns exclude
    #[arg(long)]
    all: bool,
    /// Request current objects only
    #[arg(long)]
    current: bool,
    /// One request after another
    #[arg(long)]
    sequential: bool,
    /// Print only totals
    #[arg(long)]
    totals: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl List {
    pub fn run(self, out: &mut Output) -> Result<()> {
        let folder = std::env::current_dir().map_err(|error| Error::new(Kind::Broken, error))?;
        let settings = access::settings(self.access.config.as_deref())?;
        let stores = self.access.stores(settings);
        stores.check()?;
        let runtime = session::runtime()?;
        let origins = Origin::parse(&self.uri, &folder)?;
        runtime.block_on(async {
            for origin in origins {
                let origin = stores.settle(origin).await?;
                let totals = self.list(&stores, &origin, out).await?;
                let name = origin.listing_name(totals.is_current);
                let line = json!({"source": origin.source(), "prefix": origin.prefix(), "listing": name, "totals": totals});
                out.json_text(&line.to_string())?;
                out.raw(b"\n")?;
            }
            Ok(())
        })
    }

    async fn list(&self, stores: &Stores, origin: &Origin, out: &mut Output) -> Result<Totals> {
        let how =
            How { is_current: self.current, is_sequential: self.sequential, ..How::default() };
        let (to, from) = mpsc::channel(WAITING);
        let listing = async {
            let done = stores.list(origin, how, &to).await;
            drop(to);
            done
        };
        // If printing fails, the listing ends because its reader is gone.
        let printing = async {
            let mut from = from;
            while let Some(rows) = from.recv().await {
                self.print(origin, &rows, out)?;
            }
            Ok(())
        };
        let (done, printed) = futures_util::future::join(listing, printing).await;
        printed.and(done)
    }

    fn print(&self, origin: &Origin, rows: &[Listed], out: &mut Output) -> Result<()> {
        if self.totals {
            return Ok(());
        }
        let mut text = String::new();
        let is_wanted = |row: &&Listed| self.all || row.is_latest && origin.selects(&row.path);
        for row in rows.iter().filter(is_wanted) {
            let line = json!({
                "path": row.path,
                "size": row.size,
                "version": row.version,
                "etag": row.etag,
                "is_latest": row.is_latest,
                "last_modified": row.last_modified.fixed(),
            });
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{line}");
        }
        out.json_text(&text)
    }
}
