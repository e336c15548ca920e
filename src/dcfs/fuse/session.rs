//! Mounting, and serving until unmounted: by `dcfs unmount`, `fusermount3 -u`, or a signal.
//!
//! What else happens to the process, the caller's [`Watcher`] is told.

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

/// Threads that read requests. Two answer a look-up in a third of the time of one (19 us against
/// 68 us, `docs/benchmarks.md`), for the second is awake while the first answers.
const THREADS: usize = 2;

/// KiB that the kernel reads ahead: its largest request. More adds nothing.
const READ_AHEAD: &str = "1024";

/// How often it is looked whether there are too many directories of filters.
const EVICT: Duration = Duration::from_secs(1);

/// How long the kernel has to forget what it was asked to: it tells so in other requests.
const FORGET: Duration = Duration::from_millis(20);

/// How often the kernel is told which files were closed.
const SWEEP: Duration = Duration::from_secs(30);

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
    /// Answer for extended attributes.
    pub xattr: bool,
    /// Whose files are shown, and how.
    pub look: Look,
    /// What SELinux takes them for: `context` and its like, with a label, as mount(8) has them.
    pub labels: Vec<(&'static str, String)>,
}

impl Options {
    /// The labels as the kernel reads them; in quotes, for a label may hold commas.
    fn labels(&self) -> impl Iterator<Item = String> + '_ {
        self.labels.iter().map(|(name, label)| format!("{name}=\"{label}\""))
    }
}

/// What a mount tells the process that it is in.
pub trait Watcher: Send + Sync + 'static {
    /// The mount answers.
    fn ready(&self);
    /// A signal said to unmount.
    fn stopping(&self);
    /// SIGHUP came. Whether the mount goes on; else it is unmounted.
    fn goes_on_after_hangup(&self) -> bool;
}

/// Whether this kernel knows labels: one without SELinux refuses a mount that has any.
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
    // Before there is a mount to leave behind.
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
        // The session answers from here on; its first answer is proof.
        if std::fs::metadata(&mountpoint).is_ok() {
            watcher.ready();
        }
    });
    session.run().map_err(|error| {
        // Nobody answers any more: better an empty directory than one where every access fails.
        own.detach(true).ok();
        Error::Refused(error)
    })
}

/// Makes room for directories of filters: what the kernel has forgotten of those that it was `asked` to goes, and it is asked to
/// forget the names of some more, which were used longest ago. In a thread of its own: the kernel may have to wait for a
/// look-up in the same directory.
fn evict(vfs: &Vfs, notifier: &Notifier, asked: &[IdleView]) -> Vec<IdleView> {
    asked.iter().for_each(|view| vfs.evict(view));
    let idle = vfs.idle_views();
    for view in &idle {
        if let Some((around, name)) = &view.name {
            // One that it does not know is forgotten already.
            notifier.inval_entry(INodeNo(*around), OsStr::from_bytes(name)).ok();
        }
    }
    idle
}

/// Lets the kernel read ahead by its largest request; whoever may not reads at half the speed (2,174 against
/// 4,061 MiB/s from memory, `docs/benchmarks.md`).
fn read_ahead(own: &Own) {
    let Some(device) = &own.device else { return };
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = std::fs::write(&path, READ_AHEAD) {
        tracing::debug!("cannot write `{path}`: {error}; readahead stays at the kernel's 128 KiB");
    }
}

/// The mount of this process, told from a later one at the same place.
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

    /// Unmounts, if what is mounted there is still ours.
    fn detach(&self, lazy: bool) -> Result<(), Error> {
        match mounts::at(&self.mountpoint).ok().flatten() {
            Some(mount) if Some(&mount.device) == self.device.as_ref() => {
                mountpoint::detach(&self.mountpoint, lazy)
            }
            _ => Ok(()),
        }
    }
}

/// Mounts: by the system call where this process may, else by `fusermount3`.
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

/// What the kernel is told of a mount.
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

/// What `fusermount3` is told.
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
    // Some containers let a process have `/dev/fuse` only once (hf-mount#174).
    config.clone_fd = mountpoint::device().is_ok();
    config
}

/// The mount's source. The helper takes options in one list, where a comma would end ours.
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

/// Signals that would end this process without a word, and that mean nothing to it: nobody may leave a dead mount behind by
/// `kill -USR1`, and a log that reached a limit of file sizes is an error of writing.
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

/// Catches all signals that would end this process and can be caught, but those of a crash; a terminal may still stop it (Ctrl-Z). They have handlers, and are not ignored: programs that are run from
/// here would inherit that.
fn catch_signals() -> std::io::Result<Signals> {
    let mut all = vec![SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU, libc::SIGSTKFLT];
    all.extend(UNHEARD);
    all.extend(libc::SIGRTMIN()..=libc::SIGRTMAX());
    Signals::new(all)
}

/// SIGINT, SIGQUIT, SIGTERM and their like unmount; whoever is still inside after [`GRACE`] is left with ENOTCONN. So does SIGHUP,
/// unless `watcher` goes on. All others are told to nobody.
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
                other => tracing::debug!("signal {other} means nothing here"),
            }
        }
    });
}

/// Unmounts and ends: at once where nobody is inside, else after [`GRACE`].
fn leave(own: &Own) {
    match own.detach(false) {
        Ok(()) => {}
        Err(Error::InUse(_)) => {
            tracing::warn!(
                "`{}` is in use; detached from those who use it",
                own.mountpoint.display()
            );
            own.detach(true).ok();
        }
        Err(error) => tracing::error!("{error}"),
    }
    thread::spawn(|| {
        // One that was forced off the tree before is held only by open files.
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
