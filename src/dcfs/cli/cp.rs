//! `dcfs cp`: files and directories of the mount, without a mount.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use futures_util::future::{Either, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::oneshot;

use super::access::{AccessArgs, ReadAhead};
use super::copy::destination::Destination;
use super::copy::{Copier, Tally, measure};
use super::output::Output;
use super::progress::{Progress, Unit};
use super::warn;
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_store::put::Target;
use dcfs_vfs::Vfs;

/// Copy files of datasets out of the catalog, without a mount
///
/// Paths are those of the mount, with or without `datasets/` in front. Existing files are overwritten, each at
/// once when the new one is complete; modification times are kept.
#[derive(Debug, clap::Args)]
pub struct Cp {
    /// Files and directories to copy, e.g. `pets@1.0.0/images/a.jpg`, `pets`, 'pets@latest/_views/by/label/pug'
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Directory to copy into, or the name of the copy
    pub(super) dest: PathBuf,
    /// Copy directories, with everything that they list
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Files to copy in parallel: most of the time is spent waiting for a bucket
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(flatten)]
    pub(super) ahead: ReadAhead,
    /// Print the summary as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[arg(skip)]
    pub(super) how: How,
}

/// The treatment of existing files.
#[derive(Clone, Debug, Default)]
pub enum How {
    /// Overwrites them, like cp.
    #[default]
    Copy,
    /// Keeps unchanged files, and writes checksums of all into a folder.
    Export { sums: PathBuf },
    /// The same below an address of S3, which is the prefix of the paths of copies.
    Upload { uri: String },
}

/// How a run ended.
enum Ended {
    Done(Tally),
    /// By a signal, with the summary up to then.
    Stopped(i32, Tally),
}

impl Cp {
    /// Copies; a file that fails is reported, and the others continue.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let to = Destination::new(&self.dest, self.paths.len())?;
        let access = self.ahead.with(self.access.clone().resolve()?);
        let vfs = access.vfs(session::PATIENT, &[])?;
        let target = match &self.how {
            How::Upload { uri } => Some(Arc::new(access.stores(&[])?.target(uri)?)),
            How::Copy | How::Export { .. } => None,
        };
        let runtime = session::runtime()?;
        let progress = Arc::new(Progress::new(Unit::Bytes).labelled("copying"));
        let ended = runtime.block_on(self.copy(&vfs, to, target, &progress));
        progress.clear();
        // Nobody waits for background tasks that measure or check.
        runtime.shutdown_background();
        match ended? {
            Ended::Done(tally) => self.tell(&tally, out),
            Ended::Stopped(signal, tally) => {
                warn(format_args!("interrupted; {tally}, each of them whole"));
                // The shell sees a process killed by the signal.
                signal_hook::low_level::emulate_default_handler(signal).ok();
                Err(Error::new(Kind::Broken, "stopped"))
            }
        }
    }

    async fn copy(
        &self,
        vfs: &Arc<Vfs>,
        mut to: Destination,
        target: Option<Arc<Target>>,
        progress: &Arc<Progress>,
    ) -> Result<Ended> {
        let stopped = first_signal()?;
        if progress.is_shown() {
            let (vfs, progress, paths) = (vfs.clone(), progress.clone(), self.paths.clone());
            tokio::spawn(async move { progress.set_total(measure(&vfs, &paths).await) });
        }
        let mut copier = Copier::new(vfs.clone(), progress.clone(), self.jobs.into());
        let signal = {
            let copied = pin!(self.copied(vfs, &mut copier, &mut to, target));
            match select(copied, stopped).await {
                Either::Left((copied, _)) => {
                    copied?;
                    None
                }
                Either::Right((signal, _)) => signal.ok(),
            }
        };
        let Some(signal) = signal else { return Ok(Ended::Done(copier.finish().await?)) };
        copier.stop().await;
        Ok(Ended::Stopped(signal, copier.tally))
    }

    /// Copies everything. If the source does not exist, the checksums of an earlier export are kept.
    async fn copied(
        &self,
        vfs: &Arc<Vfs>,
        copier: &mut Copier,
        to: &mut Destination,
        target: Option<Arc<Target>>,
    ) -> Result<()> {
        if !matches!(self.how, How::Copy) {
            for path in &self.paths {
                vfs.find(path.as_os_str().as_bytes()).await?;
            }
        }
        match (&self.how, target) {
            (How::Export { sums }, _) => copier.export(sums)?,
            (How::Upload { uri }, Some(target)) => {
                copier.export_to(target, Path::new(uri)).await?;
            }
            _ => {}
        }
        copier.copy(&self.paths, to, self.recursive).await;
        Ok(())
    }

    fn tell(&self, tally: &Tally, out: &mut Output) -> Result<()> {
        if self.json {
            out.json(tally)?;
        }
        match tally.worst {
            Some(kind) => {
                out.flush()?;
                Err(Error::new(kind, tally.to_string()))
            }
            None if self.json => Ok(()),
            None => out.line(tally),
        }
    }
}

/// The first SIGINT or SIGTERM.
fn first_signal() -> Result<oneshot::Receiver<i32>> {
    let failed = |error| Error::new(Kind::Broken, error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            tell.send(signal).ok();
        }
    });
    Ok(told)
}
