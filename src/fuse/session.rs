//! Mounting, and serving until unmounted: by `dcfs unmount`, `fusermount3 -u`, or a signal.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fuser::{Config, MountOption, Session, SessionACL};
use nix::unistd::{getegid, geteuid};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime::Handle;

use super::Door;
use super::mountpoint::{self, Error};
use super::mounts::SOURCE_PREFIX;
use crate::vfs::Vfs;

/// Threads that read requests. Two answer a look-up in a third of the time of one (19 us against
/// 68 us, `docs/benchmarks.md`), for the second is awake while the first answers.
const THREADS: usize = 2;

/// How long a signalled mount waits for those who use it before it leaves them.
const GRACE: Duration = Duration::from_secs(5);

/// Where and how to mount.
#[derive(Clone, Debug)]
pub struct Options {
    /// Canonical, as [`mountpoint::prepare`] gives it.
    pub mountpoint: PathBuf,
    /// The catalog's file: the source that `/proc/mounts` and `df` show.
    pub catalog: PathBuf,
    /// Let other users in.
    pub allow_other: bool,
}

/// Mounts `vfs` and serves it until it is unmounted. `ready` is called once the mount answers.
///
/// # Errors
/// The kernel or the helper refuses.
pub fn serve(
    vfs: Arc<Vfs>,
    runtime: Handle,
    options: &Options,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let door = Door::new(vfs, runtime, (geteuid().as_raw(), getegid().as_raw()));
    let session = Session::new(door, &options.mountpoint, &config(options)).map_err(refused)?;
    unmount_on_signals(options.mountpoint.clone()).map_err(Error::Refused)?;
    let mountpoint = options.mountpoint.clone();
    thread::spawn(move || {
        // The session answers from here on; its first answer is proof.
        if std::fs::metadata(&mountpoint).is_ok() {
            ready();
        }
    });
    session.run().map_err(Error::Refused)
}

fn config(options: &Options) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source(&options.catalog)),
        MountOption::Subtype("dcfs".into()),
        MountOption::RO,
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    // Some containers let a process have `/dev/fuse` only once (hf-mount#174).
    config.clone_fd = File::options().read(true).write(true).open("/dev/fuse").is_ok();
    config
}

/// The mount's source. The helper takes options in one list, where a comma would end ours.
fn source(catalog: &Path) -> String {
    let path = catalog.to_string_lossy();
    if geteuid().is_root() {
        return format!("{SOURCE_PREFIX}{path}");
    }
    format!("{SOURCE_PREFIX}{}", path.replace('\\', "\\\\").replace(',', "\\,"))
}

fn refused(cause: std::io::Error) -> Error {
    match cause.to_string() {
        text if text.contains("user_allow_other") => Error::AllowOther,
        _ => Error::Refused(cause),
    }
}

/// SIGINT and SIGTERM unmount; whoever is still inside after [`GRACE`] is left with ENOTCONN.
fn unmount_on_signals(mountpoint: PathBuf) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            tracing::info!("signal {signal}: unmounting `{}`", mountpoint.display());
            leave(&mountpoint);
        }
    });
    Ok(())
}

fn leave(mountpoint: &Path) {
    match mountpoint::detach(mountpoint, false) {
        Ok(()) => {}
        Err(Error::InUse(_)) => {
            tracing::warn!("`{}` is in use; detached from those who use it", mountpoint.display());
            mountpoint::detach(mountpoint, true).ok();
            let since = Instant::now();
            thread::spawn(move || {
                thread::sleep(GRACE.saturating_sub(since.elapsed()));
                std::process::exit(0);
            });
        }
        Err(error) => tracing::error!("{error}"),
    }
}
