//! Mounting, and serving until unmounted: by `dcfs unmount`, `fusermount3 -u`, or a signal.
//!
//! Other events are reported to the caller's [`Watcher`].

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fuser::{Config, INodeNo, MountOption, Notifier, Session, SessionACL};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid};
use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU};
use signal_hook::iterator::Signals;
use tokio::runtime::Handle;

use super::mountpoint::{self, DEVICE, Error};
use super::mounts::{self, FSTYPE, SOURCE_PREFIX};
use super::{Door, Look};
use dcfs_vfs::{IdleView, Vfs};

/// Threads that read requests. Two answer a lookup in a third of the time of one (19 us against 68 us,
/// `docs/benchmarks.md`), because the second is awake while the first answers.
const THREADS: usize = 2;

/// The kernel's readahead in KiB: its largest request. More brings nothing.
const READ_AHEAD: &str = "1024";

/// Interval between checks for too many filter directories.
const EVICT: Duration = Duration::from_secs(1);

/// Time for the kernel to send the forget requests that an invalidation causes.
const FORGET: Duration = Duration::from_millis(20);

/// Interval at which registrations of closed files are dropped in the kernel.
const SWEEP: Duration = Duration::from_secs(30);

/// How long a mount waits for its users after a signal before it detaches.
const GRACE: Duration = Duration::from_secs(5);

/// Mountpoint and mount options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Canonical, as returned by [`mountpoint::prepare`].
    pub mountpoint: PathBuf,
    /// The catalog's file: the source in `/proc/mounts` and `df`.
    pub catalog: PathBuf,
    /// Give other users access.
    pub allow_other: bool,
    /// Support extended attributes.
    pub xattr: bool,
    /// The owner and permissions of files.
    pub look: Look,
    /// SELinux labels: `context` and the like, as in mount(8).
    pub labels: Vec<(&'static str, String)>,
}

impl Options {
    /// The labels as mount options; quoted, because a label may contain commas.
    fn labels(&self) -> impl Iterator<Item = String> + '_ {
        self.labels.iter().map(|(name, label)| format!("{name}=\"{label}\""))
    }
}

/// Callbacks of a mount.
pub trait Watcher: Send + Sync + 'static {
    /// The mount is ready.
    fn ready(&self);
    /// A signal requested an unmount.
    fn stopping(&self);
    /// SIGHUP was received. Returns whether the mount continues; otherwise it is unmounted.
    fn goes_on_after_hangup(&self) -> bool;
}

/// Whether this kernel has SELinux: one without it refuses mounts with labels.
pub fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Mounts `vfs` and serves it until it is unmounted.
///
/// # Errors
/// The kernel or the helper refuses.
pub fn serve(
    vfs: Arc<Vfs>,
    runtime: Handle,
    options: &Options,
    watcher: Arc<dyn Watcher>,
) -> Result<(), Error> {
    let views = Arc::downgrade(&vfs);
    let door = Door::new(vfs, runtime, options.look, options.xattr, options.allow_other);
    let modes = Arc::downgrade(&door.modes());
    // Before mounting, so that no signal can leave a dead mount behind.
    let signals = catch_signals().map_err(Error::Refused)?;
    let session = mount(door, options)?;
    let notifier = session.notifier();
    thread::spawn(move || {
        let mut asked = Vec::new();
        while let Some(vfs) = views.upgrade() {
            asked = evict(&vfs, &notifier, &asked);
            drop(vfs);
            thread::sleep(if asked.is_empty() { EVICT } else { FORGET });
        }
    });
    thread::spawn(move || {
        while let Some(modes) = modes.upgrade() {
            modes.sweep();
            drop(modes);
            thread::sleep(SWEEP);
        }
    });
    let own = Own::of(&options.mountpoint);
    read_ahead(&own);
    obey_signals(signals, own.clone(), Arc::clone(&watcher));
    let mountpoint = options.mountpoint.clone();
    thread::spawn(move || {
        // The session is serving by now; a successful answer proves it.
        if std::fs::metadata(&mountpoint).is_ok() {
            watcher.ready();
        }
    });
    session.run().map_err(|error| {
        // Nobody serves any more: an empty directory is better than one where every access fails.
        own.detach(true).ok();
        Error::Refused(error)
    })
}

/// Evicts filter directories: drops those of `asked` that the kernel has forgotten, and asks it to forget the
/// names of the least recently used ones. Runs in a thread of its own: the kernel may have to wait for a lookup
/// in the same directory.
fn evict(vfs: &Vfs, notifier: &Notifier, asked: &[IdleView]) -> Vec<IdleView> {
    asked.iter().for_each(|view| vfs.evict(view));
    let idle = vfs.idle_views();
    for view in &idle {
        if let Some((around, name)) = &view.name {
            // A name that the kernel does not know is forgotten already.
            notifier.inval_entry(INodeNo(*around), OsStr::from_bytes(name)).ok();
        }
    }
    idle
}

/// Sets the kernel's readahead to its largest request; without the permission to do so, reads have half the
/// speed (2,174 against 4,061 MiB/s from memory, `docs/benchmarks.md`).
fn read_ahead(own: &Own) {
    let Some(device) = &own.device else { return };
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&path, READ_AHEAD) {
        tracing::debug!("cannot write `{path}`: {error}; readahead stays at the kernel's 128 KiB");
    }
}

/// The mount of this process, distinguishable from a later one at the same place.
#[derive(Clone, Debug)]
struct Own {
    mountpoint: PathBuf,
    device: Option<String>,
}

impl Own {
    fn of(mountpoint: &Path) -> Self {
        let device = mounts::at(mountpoint).ok().flatten().map(|mount| mount.device);
        Self { mountpoint: mountpoint.to_path_buf(), device }
    }

    /// Unmounts, if the mount there is still ours.
    fn detach(&self, lazy: bool) -> Result<(), Error> {
        match mounts::at(&self.mountpoint).ok().flatten() {
            Some(mount) if Some(&mount.device) == self.device.as_ref() => {
                mountpoint::detach(&self.mountpoint, lazy)
            }
            _ => Ok(()),
        }
    }
}

/// Mounts: by the system call if this process may, else by `fusermount3`.
///
/// fuser's own system call would mount as type `fuse`, and `df -t fuse.dcfs`, fstab and `dcfs status`
/// would not know the mount.
fn mount(door: Door, options: &Options) -> Result<Session<Door>, Error> {
    let config = config(options);
    match mount_directly(options) {
        Ok(device) => {
            let acl = config.acl;
            Session::from_fd(door, device, acl, config).map_err(|error| {
                mountpoint::detach(&options.mountpoint, true).ok();
                Error::Refused(error)
            })
        }
        Err(Errno::EPERM) => Session::new(door, &options.mountpoint, &config).map_err(refused),
        Err(errno) => Err(Error::Refused(errno.into())),
    }
}

/// The mount system call, as in the kernel's `Documentation/filesystems/fuse.rst`.
fn mount_directly(options: &Options) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let device = nix::fcntl::open(DEVICE, flags, Mode::empty())?;
    let data = data(options, device.as_raw_fd());
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    let mut source = OsString::from(SOURCE_PREFIX);
    source.push(&options.catalog);
    nix::mount::mount(
        Some(source.as_os_str()),
        &options.mountpoint,
        Some(FSTYPE),
        flags,
        Some(data.as_str()),
    )?;
    Ok(device)
}

/// The options of the mount system call.
fn data(options: &Options, device: RawFd) -> String {
    let mut data = format!(
        "fd={device},rootmode=40000,user_id={},group_id={},default_permissions",
        geteuid(),
        getegid(),
    );
    if options.allow_other {
        data += ",allow_other";
    }
    for label in options.labels() {
        data.push(',');
        data += &label;
    }
    data
}

/// The options of `fusermount3`.
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
    config.mount_options.extend(options.labels().map(MountOption::CUSTOM));
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    // Some containers let a process open `/dev/fuse` only once (hf-mount#174).
    config.clone_fd = mountpoint::device().is_ok();
    config
}

/// The mount's source. The helper takes options in one list, in which a comma would end it.
fn source(catalog: &Path) -> String {
    let path = catalog.to_string_lossy();
    format!("{SOURCE_PREFIX}{}", path.replace('\\', "\\\\").replace(',', "\\,"))
}

fn refused(cause: std::io::Error) -> Error {
    match cause.to_string() {
        text if text.contains("user_allow_other") => Error::AllowOther,
        _ => Error::Refused(cause),
    }
}

/// Signals that would end this process silently and have no meaning for it: `kill -USR1` must not leave a dead
/// mount behind, and a log that reaches a file size limit is a write error.
const UNHEARD: [i32; 8] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGXFSZ,
];

/// Catches all signals that would end this process and can be caught, except those of a crash; a terminal can
/// still stop it (Ctrl-Z). They get handlers rather than being ignored, because child processes would inherit
/// ignored signals.
fn catch_signals() -> std::io::Result<Signals> {
    let mut all = vec![SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, libc::SIGSTKFLT];
    all.extend(UNHEARD);
    all.extend(libc::SIGRTMIN()..=libc::SIGRTMAX());
    Signals::new(all)
}

/// SIGINT, SIGQUIT, SIGTERM and the like unmount; users that remain after [`GRACE`] get ENOTCONN. So does
/// SIGHUP, unless `watcher` continues. All other signals are ignored.
fn obey_signals(mut signals: Signals, own: Own, watcher: Arc<dyn Watcher>) {
    thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP if watcher.goes_on_after_hangup() => {}
                SIGABRT | SIGHUP | SIGINT | SIGQUIT | SIGTERM | SIGXCPU => {
                    watcher.stopping();
                    tracing::info!("signal {signal}: unmounting `{}`", own.mountpoint.display());
                    leave(&own);
                }
                other => tracing::debug!("ignoring signal {other}"),
            }
        }
    });
}

/// Unmounts and ends: at once if the mount is idle, else after [`GRACE`].
fn leave(own: &Own) {
    match own.detach(false) {
        Ok(()) => {}
        Err(Error::InUse(_)) => {
            tracing::warn!("`{}` is in use; detached while in use", own.mountpoint.display());
            own.detach(true).ok();
        }
        Err(error) => tracing::error!("{error}"),
    }
    thread::spawn(|| {
        // A mount that was detached before is only held by open files.
        thread::sleep(GRACE);
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_reach_the_kernel_in_quotes() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2".to_owned();
        let options = Options {
            mountpoint: "/mnt".into(),
            catalog: "/db".into(),
            allow_other: true,
            xattr: false,
            look: Look { uid: 0, gid: 0, file_mode: 0o444, dir_mode: 0o555 },
            labels: vec![("context", label.clone())],
        };
        let end = format!(",default_permissions,allow_other,context=\"{label}\"");
        assert!(data(&options, 7).starts_with("fd=7,") && data(&options, 7).ends_with(&end));
        let told = config(&options).mount_options;
        assert!(told.contains(&MountOption::CUSTOM(format!("context=\"{label}\""))));
    }
}
