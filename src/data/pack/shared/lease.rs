//! One host builds while others wait: a lease is an object that the builder creates, renews, and
//! removes at the end.
//!
//! Clocks of different hosts are never compared. A waiting host reads the lease repeatedly: if it
//! did not change for the configured time, its holder is taken for dead, and the lease is taken
//! over by a conditional write. If two hosts build anyway, no harm is done: shared objects are
//! named after their contents.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Shared;
use dcfs_core::cancel;
use dcfs_core::error::Result;
use dcfs_core::shared::Seen;

/// How often the removal of a lease is tried: without it, other hosts wait until it has expired.
const REMOVALS: usize = 3;

/// The longest pause between two reads of another host's lease.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest lease in bytes.
const LONGEST: u64 = 4096;

/// The outcome of waiting.
#[derive(Debug)]
pub enum Turn {
    /// We hold the lease: build and share.
    Ours(Lease),
    /// The wanted object exists by now.
    There,
    /// Nobody holds it: build without sharing.
    Nobody,
}

/// The right to build something, held until dropped. A thread renews it.
#[derive(Debug)]
pub struct Lease {
    end: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl Shared {
    /// Takes the lease to build `name`, or waits until its holder is done, for at most `patience`.
    pub fn turn(&self, name: &str, patience: Duration) -> Turn {
        self.wait(name, patience).unwrap_or_else(|error| {
            tracing::debug!(%error, name, "no lease to build what is shared");
            Turn::Nobody
        })
    }

    /// The lease to build `name`, if nobody holds it.
    pub fn take(&self, name: &str) -> Option<Lease> {
        if !self.may_write() {
            return None;
        }
        let (key, own) = (self.lease_key(name), Own::new());
        match self.tier.write(|objects| objects.create(&key, own.text())) {
            Ok(true) => Some(self.hold(key, own)),
            Ok(false) | Err(_) => None,
        }
    }

    fn wait(&self, name: &str, patience: Duration) -> Result<Turn> {
        let (key, began) = (self.lease_key(name), Instant::now());
        let mut last: Option<(Seen, Instant)> = None;
        let own = Own::new();
        loop {
            cancel::check()?;
            let may_write = self.may_write();
            if may_write && self.tier.write(|objects| objects.create(&key, own.text()))? {
                let lease = self.hold(key, own.clone());
                // The previous holder may have just finished.
                return Ok(if self.has(name) { Turn::There } else { Turn::Ours(lease) });
            }
            let seen = self.tier.ask(|objects| objects.get(&key, LONGEST))?;
            if self.has(name) {
                return Ok(Turn::There);
            }
            let since = match (last.take(), &seen) {
                (Some((before, since)), Some(seen)) if before == *seen => since,
                _ => Instant::now(),
            };
            match seen {
                // A creation that was tried twice says no although its first try succeeded.
                Some(seen) if own.has_written(&seen.bytes) => {
                    return Ok(Turn::Ours(self.hold(key, own)));
                }
                None if !may_write => return Ok(Turn::Nobody),
                // Just removed: it is free to be taken, perhaps by us.
                None => {}
                Some(seen) if since.elapsed() < self.tier.rules.lease => last = Some((seen, since)),
                Some(_) if !may_write => return Ok(Turn::Nobody),
                Some(seen)
                    if self.tier.write(|objects| objects.replace(&key, own.text(), &seen))? =>
                {
                    tracing::info!(name, "its builder says nothing any more; building it");
                    return Ok(Turn::Ours(self.hold(key, own)));
                }
                // Another host was first.
                Some(_) => {}
            }
            if began.elapsed() >= patience {
                return Ok(Turn::Nobody);
            }
            tracing::debug!(name, "another host builds it; waiting");
            std::thread::sleep(PAUSE.min(self.tier.rules.lease / 4));
        }
    }

    fn lease_key(&self, name: &str) -> String {
        format!("{}/lease-{}", self.home, dcfs_core::hex::hex(&Sha256::digest(name)[..16]))
    }

    /// Renews a lease until it is dropped, and removes it then. A lease taken over by another host
    /// is left alone.
    fn hold(&self, key: String, own: Own) -> Lease {
        let (end, ended) = channel::<()>();
        let (shared, pause) = (self.clone(), self.tier.rules.lease / 4);
        let work = move || {
            let mut own = own;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seen = shared.tier.objects.get(&key, LONGEST).ok().flatten();
                // It cannot be read at the moment; try again.
                let Some(seen) = seen else { continue };
                if !own.has_written(&seen.bytes) {
                    return;
                }
                own.times += 1;
                // Whether it was renewed is seen the next time: a write that was tried twice may say no although its
                // first try succeeded.
                let _ = shared.tier.objects.replace(&key, own.text(), &seen);
            }
            for _ in 0..REMOVALS {
                match shared.tier.objects.get(&key, LONGEST) {
                    Ok(Some(seen)) if own.has_written(&seen.bytes) => {
                        if shared.tier.objects.remove(&key).is_ok() {
                            return;
                        }
                    }
                    Ok(_) => return,
                    Err(_) => {}
                }
            }
        };
        let renewing = std::thread::Builder::new().name("dcfs-lease".into()).spawn(work).ok();
        Lease { end: Some(end), renewing }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
    }
}

/// Our lease: a unique number, and how often it was renewed.
#[derive(Clone)]
struct Own {
    id: Uuid,
    times: u64,
}

impl Own {
    fn new() -> Self {
        Self { id: Uuid::new_v4(), times: 0 }
    }

    /// Whether a lease is this one, however often renewed.
    fn has_written(&self, lease: &[u8]) -> bool {
        lease.starts_with(self.id.simple().to_string().as_bytes())
    }

    fn text(&self) -> Vec<u8> {
        format!("{} {}\n", self.id.simple(), self.times).into_bytes()
    }
}
