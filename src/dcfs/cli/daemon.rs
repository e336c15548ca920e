//! The process behind a mount, in the foreground or re-executed in the background.
//!
//! The program never forks: threads do not survive a fork. The parent starts itself again with `--report`, a
//! pipe as stdout and the log as stderr, and waits for one line of JSON on the pipe: that the mount is ready,
//! or why not. Then the child closes the pipe and the parent returns.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::mount::{Mount, Plan};
use super::registry::{self, Note};
use super::systemd::Notify;
use super::{access, log, metrics, places};
use crate::fuse::session::{self, Watcher};
use crate::session::Who;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_vfs::Vfs;
use dcfs_vfs::views::Bounds;

/// The child's report to the parent.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Mounted,
    Failed { kind: u8, message: String },
}

/// Mounts and serves in this process; the log is stderr.
pub fn foreground(plan: &Plan) -> Result<()> {
    log::to_stderr();
    let (catalog, mountpoint) = (plan.access.catalog.clone(), plan.mountpoint.clone());
    // If the terminal hangs up, the mount ends; without a terminal, SIGHUP comes from an administrator.
    let hangs_up = std::io::stdin().is_terminal();
    serve(plan, None, hangs_up, move || {
        tracing::info!("{} is mounted at {}", catalog.display(), mountpoint.display());
    })
}

/// Starts the background process and waits until its mount is ready.
///
/// # Errors
/// The child's, or that it died without a report.
pub fn spawn(plan: &Plan) -> Result<()> {
    let path = registry::log_of(&plan.mountpoint);
    places::private(path.parent().unwrap_or(&path))?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Error::new(Kind::Broken, format!("cannot {what}: {error}"))
    };
    let stderr =
        log::open(&path).map_err(|e| failed(&format!("write the log `{}`", path.display()), &e))?;
    let program = std::env::current_exe().map_err(|e| failed("find this program", &e))?;
    let mut child = Command::new(program)
        .args(&plan.arguments)
        .envs(absolute_paths())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(|e| failed("start the background process", &e))?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line).ok();
    }
    match serde_json::from_str(&line) {
        Ok(Report::Mounted) => Ok(()),
        Ok(Report::Failed { kind, message }) => Err(Error::new(kind_of(kind), message)),
        Err(_) => {
            let status = child.wait().map(|s| s.to_string()).unwrap_or_default();
            let message =
                format!("the mount ended before it answered ({status}); see {}", path.display());
            Err(Error::new(Kind::Broken, message))
        }
    }
}

/// Variables with a path, which the background process would resolve against another folder.
fn absolute_paths() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let names = [
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CA_BUNDLE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_CONFIG_DIR",
        "AZURE_FEDERATED_TOKEN_FILE",
        "CLOUDSDK_CONFIG",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSL_CERT_FILE",
    ];
    names.into_iter().filter_map(|name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        let is_relative = path.is_relative() && !path.starts_with("~") && path != Path::new("");
        Some((name, std::path::absolute(path).ok()?)).filter(|_| is_relative)
    })
}

/// Runs the background process.
pub fn child(command: Mount) -> Result<()> {
    close_inherited();
    // Detaches from the terminal's signals. Fails only if that is done already.
    nix::unistd::setsid().ok();
    let plan = match command.plan() {
        Ok(plan) => plan,
        Err(error) => {
            log::to_stderr();
            return failed(error);
        }
    };
    let path = registry::log_of(&plan.mountpoint);
    let log = log::to_file(&path);
    // All paths are absolute by now; the current folder may be unmounted or removed.
    std::env::set_current_dir("/").ok();
    serve(&plan, log, false, || tell(&Report::Mounted)).or_else(failed)
}

/// Closes files inherited from the caller's shell: otherwise a lock or a pipe of a script would never end.
fn close_inherited() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map(|entries| {
            entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
        })
        .unwrap_or_default();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The descriptor of the listing itself is among them, and closed already.
        nix::unistd::close(fd).ok();
    }
}

fn failed(error: Error) -> Result<()> {
    tracing::error!("{error}");
    tell(&Report::Failed { kind: error.kind().codes().1, message: error.to_string() });
    Err(error)
}

/// Writes one line for the parent, then closes stdout, so that the parent's reader ends.
fn tell(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    std::io::stdout().write_all(&line).ok();
    std::io::stdout().flush().ok();
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        nix::unistd::dup2_stdout(null).ok();
    }
}

/// The error kind of a child's exit code.
fn kind_of(code: u8) -> Kind {
    let kinds = [Kind::Missing, Kind::Invalid, Kind::Stale, Kind::Busy, Kind::Denied, Kind::Full];
    kinds.into_iter().find(|kind| kind.codes().1 == code).unwrap_or(Kind::Broken)
}

/// How long an unmounted daemon waits for pending writes to the cache, which the next mount can use.
const SETTLE: Duration = Duration::from_secs(5);

/// Hooks of the process behind a mount: when the mount is ready, when it ends, and on SIGHUP.
struct Behind<F> {
    plan: Plan,
    vfs: Arc<Vfs>,
    note: Note,
    log: Option<Arc<Log>>,
    notify: Arc<Notify>,
    /// Whether SIGHUP means that the terminal is gone.
    hangs_up: bool,
    ready: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send + 'static> Watcher for Behind<F> {
    fn ready(&self) {
        self.note.write().ok();
        let status = format!("{} is mounted at {}", self.note.catalog, self.note.mountpoint);
        self.notify.ready(&status, self.plan.mountpoint.clone());
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        ready.into_iter().for_each(|ready| ready());
    }

    fn stopping(&self) {
        self.notify.stopping();
    }

    fn goes_on_after_hangup(&self) -> bool {
        if !self.hangs_up {
            self.notify.reloading(|| self.reload());
        }
        !self.hangs_up
    }
}

impl<F> Behind<F> {
    /// Reopens the log, and reads the settings of stores again. Options of `[mount]` apply to the next mount.
    fn reload(&self) {
        self.log.iter().for_each(|log| log.reopen());
        let settings = access::settings(self.plan.config.as_deref());
        match settings.and_then(|settings| self.vfs.stores().reset(settings)) {
            Ok(()) => tracing::info!("SIGHUP: the log was reopened and settings were read"),
            Err(error) => tracing::error!("SIGHUP: settings stay as they were: {error}"),
        }
    }
}

/// Sets everything up and serves until unmounted.
fn serve(
    plan: &Plan,
    log: Option<Arc<Log>>,
    hangs_up: bool,
    ready: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let runtime = crate::session::runtime()?;
    let vfs = plan.access.vfs_for(plan.access.reach.timeout, &[&plan.mountpoint], Who::Mount)?;
    if let Some(bounds) = std::env::var("DCFS_TEST_VIEWS").ok().and_then(|text| bounds(&text)) {
        vfs.bound_views(bounds);
    }
    if let Some(address) = plan.metrics {
        let vfs = vfs.clone();
        metrics::listen(address, move || vfs.stores().prometheus())?;
    }
    let options = session::Options {
        mountpoint: plan.mountpoint.clone(),
        catalog: plan.access.catalog.clone(),
        allow_other: plan.allow_other,
        xattr: plan.xattr,
        look: plan.look,
        labels: plan.labels.clone(),
    };
    let behind = Arc::new(Behind {
        plan: plan.clone(),
        vfs: vfs.clone(),
        note: note(plan, log.as_deref().map(Log::path)),
        log,
        notify: Notify::from_environment(),
        hangs_up,
        ready: Mutex::new(Some(ready)),
    });
    let served = session::serve(vfs.clone(), runtime.handle().clone(), &options, behind.clone());
    behind.stopping();
    Note::remove(&plan.mountpoint, std::process::id());
    // Recently fetched bytes are written to the cache for the next mount.
    let _ = runtime.block_on(async { tokio::time::timeout(SETTLE, vfs.settled()).await });
    // Nobody waits for tasks that still wait for a bucket.
    runtime.shutdown_background();
    tracing::info!("`{}` is unmounted", plan.mountpoint.display());
    Ok(served?)
}

fn note(plan: &Plan, log: Option<&Path>) -> Note {
    Note {
        mountpoint: plan.mountpoint.to_string_lossy().into_owned(),
        catalog: plan.access.catalog.to_string_lossy().into_owned(),
        pid: std::process::id(),
        log: log.map(Path::to_path_buf),
        cache: plan.access.cache.clone(),
        since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()),
    }
}

/// For a test: a small table of views, as `MOST,IDLE,REST`, with the times in milliseconds.
fn bounds(text: &str) -> Option<Bounds> {
    let mut numbers = text.split(',').map(|number| number.parse::<u64>().ok());
    let most = usize::try_from(numbers.next()??).ok()?;
    let mut time = || Some(Duration::from_millis(numbers.next()??));
    Some(Bounds { most, idle: time()?, rest: time()? })
}
