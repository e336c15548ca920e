//! Whether the process that asked is being killed. The kernel makes it wait for its answer all the same, and `fuser` does not
//! support FUSE_INTERRUPT; `/proc` shows the pending signals of a thread.

use std::fs;
use std::time::Duration;

/// Time between two looks. A request that is answered sooner costs none.
const LOOK: Duration = Duration::from_millis(300);

/// The bit of SIGKILL in the masks of pending signals. Any signal that ends a process sets it for each of its threads.
const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// Waits until the thread `pid` is being killed; for ever if that is unknown (a thread of another namespace has no number).
pub async fn until(pid: u32) {
    loop {
        tokio::time::sleep(LOOK).await;
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        if status.is_ok_and(|status| is_pending(&status)) {
            return;
        }
    }
}

fn is_pending(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")))
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & KILL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_is_read_of_the_status() {
        let status = |own, shared| {
            format!("Name:\tls\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n")
        };
        let none = "0000000000000000";
        for (own, shared, want) in [
            (none, none, false),
            ("0000000000000100", none, true),
            (none, "0000000000000102", true),
            (none, "0000000000000002", false),
            ("x", "", false),
        ] {
            assert_eq!(is_pending(&status(own, shared)), want, "{own} {shared}");
        }
        assert!(!is_pending(&fs::read_to_string("/proc/self/status").expect("our own")));
    }
}
