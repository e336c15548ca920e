//! Small objects of stores, shared by the hosts that fetch them.
//!
//! There are too many for a digest of each in the catalog. Instead one secret of the catalog seals them all
//! (HMAC-SHA256): whoever can write to the folder but not read the catalog can forge none, nor pass one object off
//! as another. Readers of the catalog trust each other, as they do when they share a store.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{AWAY, Tier};
use crate::catalog::{Digest, Writer};
use dcfs_core::error::Result;
use dcfs_core::hex::{self, hex};
use dcfs_core::shared;

/// The folder of sealed objects. Changes whenever their form does.
pub(super) const HOME: &str = "objects-v1/";

/// Among the digests of versions, the catalog keeps the secret under this uuid, which no version has, and this name.
pub(super) const SECRET: (&str, &str) = ("objects", "secret");

/// Length of a seal in bytes; the object follows it.
const SEAL: usize = 32;

/// Objects that wait to be written. Each has at most 1.1 MiB.
const WAITING: usize = 32;

/// The small objects of the folder.
pub struct Small {
    sealer: Arc<Sealer>,
    writer: OnceLock<SyncSender<Offered>>,
}

/// The folder, and the secret that seals what is written there.
struct Sealer {
    tier: Arc<Tier>,
    secret: Mutex<Secret>,
}

/// The secret of the catalog, once it is known; before, when it was last looked for.
#[derive(Clone, Copy, Default)]
struct Secret {
    known: Option<Digest>,
    looked: Option<Instant>,
}

/// An object to write.
struct Offered {
    key: [u8; 16],
    bytes: Vec<u8>,
}

impl Sealer {
    /// The secret; `None` if the catalog has none. It is asked for it once, and then every [`AWAY`] until it has one.
    fn secret(&self) -> Option<Digest> {
        let mut secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = secret.looked.is_none_or(|looked| looked.elapsed() >= AWAY);
        if secret.known.is_none() && is_due {
            let (uuid, name) = SECRET;
            let known = self.tier.catalog.shared(uuid, name).unwrap_or_else(|error| {
                tracing::warn!(%error, "no secret for small objects, so none is found");
                None
            });
            *secret = Secret { known, looked: Some(Instant::now()) };
        }
        secret.known
    }

    /// The same, made if there is none: this may wait for the lock of the catalog.
    fn needed(&self) -> Result<Digest> {
        if let Some(known) = self.secret() {
            return Ok(known);
        }
        if !self.tier.may_write() {
            return Err(super::unwritable());
        }
        let known = made(self.tier.catalog.path())?;
        let secret = Secret { known: Some(known), looked: Some(Instant::now()) };
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
        Ok(known)
    }

    fn put(&self, key: &[u8; 16], bytes: &[u8]) -> Result<()> {
        let secret = self.needed()?;
        self.tier.put(place(&secret, key), sealed(&secret, key, bytes))
    }
}

impl Small {
    /// Makes no request yet.
    pub fn new(tier: Arc<Tier>) -> Arc<Self> {
        let sealer = Arc::new(Sealer { tier, secret: Mutex::default() });
        Arc::new(Self { sealer, writer: OnceLock::new() })
    }

    /// Writes an object, and waits until it is there.
    ///
    /// # Errors
    /// Errors of the folder; a catalog that has no secret and cannot be written.
    pub fn put(&self, key: &[u8; 16], bytes: &[u8]) -> Result<()> {
        self.sealer.put(key, bytes)
    }

    /// The keys of all objects of this catalog.
    ///
    /// # Errors
    /// As [`Small::put`].
    pub fn keys(&self) -> Result<HashSet<[u8; 16]>> {
        let home = home(&self.sealer.needed()?);
        let mut keys = HashSet::new();
        for part in parts(&home) {
            let listed = self.sealer.tier.ask(|objects| objects.list(&part))?;
            let names = listed.iter().filter_map(|listed| listed.key.strip_prefix(&home));
            keys.extend(names.filter_map(key));
        }
        Ok(keys)
    }
}

/// A new secret of a catalog, or the one that another host made meanwhile.
fn made(catalog: &std::path::Path) -> Result<Digest> {
    let mut random = Sha256::new();
    (0..2).for_each(|_| random.update(Uuid::new_v4().as_bytes()));
    let (uuid, name) = SECRET;
    Writer::open(catalog)?.share_once(uuid, name, &random.finalize().into())
}

impl shared::Small for Small {
    fn find(&self, key: &[u8; 16], size: u64) -> Option<Vec<u8>> {
        let secret = self.sealer.secret()?;
        let tier = &self.sealer.tier;
        // A range: an object of another length is no error of the folder.
        let sealed = 0..SEAL as u64 + size;
        let place = place(&secret, key);
        let found = tier.ask(|objects| objects.get_range(&place, sealed)).ok()??;
        let opened = opened(&secret, key, found);
        match opened {
            Some(_) => tier.counts.fetched(size),
            None => tier.counts.refused(),
        }
        opened
    }

    fn offer(&self, key: &[u8; 16], bytes: &[u8]) {
        if !self.sealer.tier.wants_writes() {
            return;
        }
        let offered = Offered { key: *key, bytes: bytes.to_vec() };
        let writer = self.writer.get_or_init(|| start(&self.sealer));
        if let Err(TrySendError::Full(_)) = writer.try_send(offered) {
            tracing::debug!("an object is not shared: too many wait");
        }
    }
}

impl Tier {
    /// The folder of the small objects of this catalog; `None` if it never had any.
    pub(super) fn home_of_small(&self) -> Result<Option<String>> {
        let (uuid, name) = SECRET;
        Ok(self.catalog.shared(uuid, name)?.map(|secret| home(&secret)))
    }
}

/// Starts the thread that writes, which ends when nothing more can come.
fn start(sealer: &Arc<Sealer>) -> SyncSender<Offered> {
    let (sender, coming): (_, Receiver<Offered>) = sync_channel(WAITING);
    let sealer = Arc::clone(sealer);
    let write = move || {
        for Offered { key, bytes } in coming {
            if let Err(error) = sealer.put(&key, &bytes) {
                tracing::debug!(%error, "a small object is not shared");
            }
        }
    };
    let started = std::thread::Builder::new().name("dcfs-share-small".into()).spawn(write);
    if let Err(error) = started {
        tracing::warn!(%error, "small objects are not shared");
    }
    sender
}

/// The folder of the objects of one catalog: others have another secret.
fn home(secret: &Digest) -> String {
    let name = Sha256::new().chain_update(HOME).chain_update(secret).finalize();
    format!("{HOME}{}/", hex(&name[..8]))
}

/// The folders of a folder of [`home`]: a listing of all at once takes more memory than what is made of it.
pub(super) fn parts(home: &str) -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(move |part| format!("{home}{part:02x}/"))
}

fn place(secret: &Digest, key: &[u8; 16]) -> String {
    let name = hex(key);
    format!("{}{}/{}", home(secret), &name[..2], &name[2..])
}

/// The key of an object by its place in a folder of [`home`].
fn key(name: &str) -> Option<[u8; 16]> {
    hex::bytes(&name.replace('/', ""))
}

fn mac(secret: &Digest, key: &[u8; 16], bytes: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length is a key");
    mac.chain_update(HOME).chain_update(key).chain_update(bytes)
}

fn sealed(secret: &Digest, key: &[u8; 16], bytes: &[u8]) -> Vec<u8> {
    let seal = mac(secret, key, bytes).finalize().into_bytes();
    [&seal[..], bytes].concat()
}

/// The object behind its seal; `None` if the seal is broken.
fn opened(secret: &Digest, key: &[u8; 16], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (seal, object) = bytes.split_at_checked(SEAL)?;
    mac(secret, key, object).verify_slice(seal).ok()?;
    bytes.drain(..SEAL);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_one_object_of_one_catalog() {
        let (secret, key, bytes) = ([7; 32], [1; 16], b"an object".to_vec());
        let there = sealed(&secret, &key, &bytes);
        assert_eq!(opened(&secret, &key, there.clone()), Some(bytes));
        assert_eq!(opened(&secret, &[2; 16], there.clone()), None, "another object");
        assert_eq!(opened(&[8; 32], &key, there.clone()), None, "another catalog");
        for at in 0..there.len() {
            let mut wrong = there.clone();
            wrong[at] ^= 1;
            assert_eq!(opened(&secret, &key, wrong), None, "byte {at}");
            assert_eq!(opened(&secret, &key, there[..at].to_vec()), None, "the first {at} bytes");
        }
    }

    #[test]
    fn keys_are_read_from_places() {
        let secret = [7; 32];
        let of = std::array::from_fn(|at| at as u8 * 15);
        let there = place(&secret, &of);
        assert_ne!(there, place(&[8; 32], &of), "another catalog");
        let name = there.strip_prefix(&home(&secret)).expect("in its folder");
        assert_eq!(key(name), Some(of));
        for bad in ["", "ab/cd", "zz/0102030405060708090a0b0c0d0e0f", &format!("{name}00")] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}
