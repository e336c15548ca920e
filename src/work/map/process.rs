//! One process of a program: in a process group that is killed with it, with the last lines of its
//! standard error.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dcfs_core::error::{Error, Kind, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

/// The most lines of standard error shown in a message, and the most bytes of each.
const LINES: usize = 20;
const LONGEST: u64 = 2000;

/// How long a program may live after closing its output, and an output may stay open after its
/// program is gone.
pub const GRACE: Duration = Duration::from_secs(1);

/// The log of all output of programs.
pub type Log = Arc<Mutex<Said>>;

/// The output of programs: buffered until the run has a log.
#[derive(Default)]
pub struct Said {
    held: Vec<u8>,
    to: Option<Box<dyn Write + Send>>,
}

/// The most bytes buffered.
const HELD: usize = 1 << 20;

impl Said {
    /// Writes the buffered output, and everything from here on, into a log.
    pub fn goes_to(&mut self, mut log: Box<dyn Write + Send>) {
        log.write_all(&std::mem::take(&mut self.held)).ok();
        self.to = Some(log);
    }

    fn say(&mut self, bytes: &[u8]) {
        match &mut self.to {
            Some(log) => drop(log.write_all(bytes)),
            None if self.held.len() < HELD => self.held.extend_from_slice(bytes),
            None => {}
        }
    }
}

/// The last lines of a process's standard error.
pub type Tail = Arc<Mutex<VecDeque<String>>>;

/// The running process groups, to be killed if this process has to end at once.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Kills every program that was started, with its children.
pub fn kill_all() {
    for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        killpg(Pid::from_raw(*group), Signal::SIGKILL).ok();
    }
}

/// A process with its children, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    tail: Tail,
    listener: Option<JoinHandle<()>>,
}

/// Whether a program was started.
#[derive(Debug)]
pub enum Started {
    Well(Box<Process>),
    /// Its arguments are longer than the system allows.
    TooLong,
}

impl Process {
    /// Starts a program. Its standard input is a pipe if `stdin`, else empty.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn start(
        words: &[OsString],
        variables: &[(&str, String)],
        stdin: Stdio,
        log: &Log,
    ) -> Result<Started> {
        let (first, rest) = words.split_first().expect("a program has a name");
        let mut command = Command::new(first);
        command.args(rest).envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::ArgumentListTooLong => {
                return Ok(Started::TooLong);
            }
            Err(error) => {
                let message = format!("cannot start `{}`: {error}", first.to_string_lossy());
                return Err(Error::new(Kind::Stopped, message));
            }
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if let Some(group) = group {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).insert(group.as_raw());
        }
        let tail = Tail::default();
        let stderr = child.stderr.take();
        let listener =
            stderr.map(|stderr| tokio::spawn(listen(stderr, Arc::clone(&tail), Arc::clone(log))));
        Ok(Started::Well(Box::new(Self { child, group, tail, listener })))
    }

    /// Takes the pipes; only the first call returns them.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>) {
        (self.child.stdin.take(), self.child.stdout.take())
    }

    /// Waits for its end, and kills its remaining children.
    pub async fn wait(&mut self) -> Option<ExitStatus> {
        let status = self.child.wait().await.ok();
        self.kill();
        if let Some(listener) = self.listener.take() {
            // A child may hold the pipe open for longer.
            tokio::time::timeout(GRACE, listener).await.ok();
        }
        status
    }

    /// As [`Process::wait`], for at most `limit`; `None` if that ran out, and it was killed.
    pub async fn ended_by(&mut self, limit: Option<Duration>) -> Option<ExitStatus> {
        let Some(limit) = limit else { return self.wait().await };
        match tokio::time::timeout(limit, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                None
            }
        }
    }

    /// As [`Process::wait`], for a process whose output has ended: killed if it does not exit by
    /// itself.
    pub async fn end(&mut self) -> Option<ExitStatus> {
        match tokio::time::timeout(GRACE, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                self.wait().await
            }
        }
    }

    /// Sends SIGTERM to the group.
    pub fn terminate(&self) {
        if let Some(group) = self.group {
            killpg(group, Signal::SIGTERM).ok();
        }
    }

    /// Kills the group.
    pub fn kill(&self) {
        if let Some(group) = self.group {
            killpg(group, Signal::SIGKILL).ok();
        }
    }

    /// The last lines of its standard error, preceded by a line break; empty if there are none.
    pub fn said(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().fold(String::new(), |text, line| text + "\n    " + line)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(group) = self.group {
            GROUPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&group.as_raw());
        }
    }
}

/// How a process ended, for people.
pub fn ending(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exit code {code}"),
        Some((None, Some(signal))) => match Signal::try_from(signal) {
            Ok(known) => format!("signal {signal}, {}", known.as_str()),
            Err(_) => format!("signal {signal}"),
        },
        _ => "no exit code".to_owned(),
    }
}

/// Keeps the last lines, and writes all of them into the log.
async fn listen(stderr: impl AsyncRead + Unpin, tail: Tail, log: Log) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        log.lock().unwrap_or_else(PoisonError::into_inner).say(&line);
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}
