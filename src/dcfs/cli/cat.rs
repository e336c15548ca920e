//! `dcfs cat`: the bytes of files of the mount, without a mount.

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::{AccessArgs, ReadAhead};
use super::copy;
use super::output::Output;
use super::progress::{Progress, Unit};
use super::remembered;
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::numbers::counted;
use dcfs_data::catalog::Catalog;
use dcfs_vfs::{Attr, FileKind, Vfs};

/// Print files of datasets, without a mount
///
/// Paths are those of the mount, with or without `datasets/` in front.
#[derive(Debug, clap::Args)]
pub struct Cat {
    /// Files, e.g. `pets@1.0.0/images/a.jpg` or `pets/_lineage.md`
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    ahead: ReadAhead,
}

impl Cat {
    /// Prints the files in order; if one fails, that is reported, and the others follow.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let access = self.ahead.with(self.access.clone().resolve()?);
        let vfs = access.vfs(session::PATIENT, &[])?;
        let runtime = session::runtime()?;
        let printed = runtime.block_on(print(&vfs, &self.paths, out));
        runtime.shutdown_background();
        // Hints are only for runs with errors.
        if printed.is_err() && !out.has_failed() {
            let stores = self.access.stores(access.reach.settings.clone());
            let catalog = Catalog::open(&access.catalog)?;
            remembered::advise_all(&catalog, &stores);
        }
        printed
    }
}

async fn print(vfs: &Arc<Vfs>, paths: &[PathBuf], out: &mut Output) -> Result<()> {
    let progress = progress();
    let mut worst: Option<Kind> = None;
    let mut printed = 0;
    for path in paths {
        match print_one(vfs, path, &progress, out).await {
            Ok(()) => printed += 1,
            // Printing failed: a closed pipe, a full disk.
            Err(error) if out.has_failed() => return Err(error),
            Err(error) => {
                out.flush()?;
                let message = format!("`{}`: {error}", path.display());
                if paths.len() == 1 {
                    return Err(Error::new(error.kind(), message));
                }
                progress.say(&message);
                let kinds = worst.into_iter().chain([error.kind()]);
                worst = kinds.max_by_key(|kind| kind.codes().1);
            }
        }
    }
    match worst {
        Some(kind) => Err(Error::new(
            kind,
            format!("printed {printed} of {}", counted(paths.len() as u64, "file")),
        )),
        None => Ok(()),
    }
}

/// A progress bar only if stdout is not the terminal: otherwise the two would mix.
fn progress() -> Progress {
    match io::stdout().is_terminal() {
        true => Progress::hidden(Unit::Bytes),
        false => Progress::new(Unit::Bytes),
    }
}

async fn print_one(
    vfs: &Arc<Vfs>,
    path: &Path,
    progress: &Progress,
    out: &mut Output,
) -> Result<()> {
    let found: Attr = vfs.find(path.as_os_str().as_bytes()).await?;
    if found.kind == FileKind::Directory {
        return Err(copy::Error::IsDirectory.into());
    }
    progress.add_total(found.size);
    let poured = vfs.pour(&found, |bytes| {
        progress.add(bytes.len() as u64);
        out.raw(&bytes)
    });
    poured.await?;
    Ok(())
}
