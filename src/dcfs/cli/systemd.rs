//! Notifications of a mount in the foreground to systemd (`Type=notify`): sd_notify(3), datagrams to the socket
//! that `NOTIFY_SOCKET` names.
//!
//! Without that variable nothing is sent. The watchdog (`WatchdogSec=`) is notified as long as the mount
//! responds, so one that hangs is restarted.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::output::sanitized;

/// The service manager that started this process, if it wants notifications.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The watchdog's period.
    watchdog: Option<Duration>,
}

impl Notify {
    /// Reads the environment.
    pub fn from_environment() -> Arc<Self> {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        // The watchdog may belong to a process around this one.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Arc::new(Self {
            socket: socket.and_then(|name| socket_to(name).ok()),
            watchdog: watchdog.map(Duration::from_micros),
        })
    }

    /// Reports that the mount is ready, and starts the watchdog notifications.
    pub fn ready(self: &Arc<Self>, status: &str, mountpoint: PathBuf) {
        self.send(&format!("READY=1\n{}", said(status)));
        let Some(every) = self.watchdog.filter(|_| self.socket.is_some()) else { return };
        let notify = Arc::clone(self);
        thread::spawn(move || {
            loop {
                // If the mount hangs, this call blocks, and systemd receives no more notifications.
                if std::fs::metadata(&mountpoint).is_ok() {
                    notify.send("WATCHDOG=1");
                }
                // Half of the period, as sd_watchdog_enabled(3) recommends.
                thread::sleep(every / 2);
            }
        });
    }

    /// Reports that settings are being reloaded, for the duration of `reload`.
    pub fn reloading(&self, reload: impl FnOnce()) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
        reload();
        self.send("READY=1");
    }

    /// Reports that it is being unmounted.
    pub fn stopping(&self) {
        self.send(&format!("STOPPING=1\n{}", said("unmounting")));
    }

    fn send(&self, text: &str) {
        if let Some((socket, to)) = &self.socket {
            // A missing receiver is not the mount's fault.
            socket.send_to_addr(text.as_bytes(), to).ok();
        }
    }
}

/// `STATUS=` must be one line.
fn said(status: &str) -> String {
    let mut line = "STATUS=".to_owned();
    let _ = write!(line, "{}", sanitized(status).replace('\n', " "));
    line
}

/// A datagram socket, and the address `name`: a path, or an abstract name after `@`.
fn socket_to(name: OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(
        name: &str,
        listener: &UnixDatagram,
    ) -> (Arc<Notify>, impl Fn() -> String + use<>) {
        let socket = socket_to(name.into()).ok();
        let listener = listener.try_clone().expect("a socket");
        listener.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let heard = move || {
            let mut text = [0; 512];
            let length = listener.recv(&mut text).expect("a message");
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        (Arc::new(Notify { socket, watchdog: Some(Duration::from_millis(20)) }), heard)
    }

    #[test]
    fn who_listens_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("bound");
        let (notify, heard) = listening(path.to_str().expect("UTF-8"), &listener);
        notify.stopping();
        assert_eq!(heard(), "STOPPING=1\nSTATUS=unmounting");
        notify.reloading(|| {});
        assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(heard(), "READY=1");
        notify.ready("a\nREADY=0", folder.path().to_owned());
        assert_eq!(heard(), "READY=1\nSTATUS=a READY=0");
        assert_eq!([heard(), heard()], ["WATCHDOG=1", "WATCHDOG=1"]);
    }

    #[test]
    fn a_name_may_be_abstract() {
        let name = format!("dcfs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixDatagram::bind_addr(&address).expect("bound");
        let (notify, heard) = listening(&format!("@{name}"), &listener);
        notify.stopping();
        assert!(heard().starts_with("STOPPING=1"));
    }
}
