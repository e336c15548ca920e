//! The table of views: which version a slot of an inode number stands for, and its pack.
//!
//! A version's slot starts at a hash of its uuid and probes on collision, so that its inode numbers
//! are the same on every mount. Two versions that a strange catalog gives one uuid have two slots. Slots are never given to another version: the kernel and programs
//! may hold a number for as long as they like. A full table is an error, never another version.
//!
//! Entry numbers mean something only in the pack that gave them. When a pack turns out damaged, the
//! slot of its view is retired: every number in it is ESTALE from then on (Linux looks the path up
//! again by itself), and the version gets a new slot over the new pack.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, Weak};

use sha2::{Digest, Sha256};

use super::Error;
use super::inode::{Slot, VIEWS};
use crate::catalog::VersionInfo;
use crate::id::VersionId;
use crate::pack::Pack;

/// One version as this mount shows it.
#[derive(Debug)]
pub struct View {
    /// The version.
    pub of: VersionInfo,
    /// The pack that answered last. Weak: how many stay open is for [`crate::pack::Packs`] to say.
    pack: RwLock<Weak<Pack>>,
}

/// Every view of a mount, some hundred bytes each.
#[derive(Debug, Default)]
pub struct Views {
    table: RwLock<Table>,
}

/// Which version: its key in the catalog, and its uuid, for a catalog made anew gives keys again.
type Key = (VersionId, String);

fn key(version: &VersionInfo) -> Key {
    (version.id, version.uuid.clone())
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Slot, Taken>,
    known: HashMap<Key, Slot>,
}

/// A slot that is given out for good.
#[derive(Debug)]
struct Taken {
    view: Arc<View>,
    is_retired: bool,
}

impl View {
    fn new(of: &VersionInfo) -> Self {
        Self { of: of.clone(), pack: RwLock::default() }
    }

    /// The pack, where it is open.
    pub fn pack(&self) -> Option<Arc<Pack>> {
        self.pack.read().unwrap_or_else(|e| e.into_inner()).upgrade()
    }

    /// Remembers the pack that answers.
    pub fn keep(&self, pack: &Arc<Pack>) {
        *self.pack.write().unwrap_or_else(|e| e.into_inner()) = Arc::downgrade(pack);
    }
}

impl Views {
    /// The slot of a version, the same each time it is asked for.
    ///
    /// # Errors
    /// [`Error::Full`] where every slot is taken.
    pub fn slot(&self, version: &VersionInfo) -> Result<Slot, Error> {
        if let Some((slot, known)) = self.known(version)
            && known.of == *version
        {
            return Ok(slot);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let slot = match table.known.get(&key(version)) {
            // Renamed, say: its numbers stay right.
            Some(slot) => *slot,
            None => table.free(start(&version.uuid))?,
        };
        table.known.insert(key(version), slot);
        let view = Arc::new(View::new(version));
        table.slots.insert(slot, Taken { view, is_retired: false });
        Ok(slot)
    }

    /// The view in a slot; `None` for a number that this mount never handed out, or retired.
    pub fn get(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.slots.get(&slot).filter(|taken| !taken.is_retired).map(|taken| taken.view.clone())
    }

    /// The view that a slot has or had, for messages.
    pub fn named(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.slots.get(&slot).map(|taken| taken.view.clone())
    }

    /// Ends a slot for good; the version gets another when it is looked up again.
    pub fn retire(&self, slot: Slot) {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let Some(taken) = table.slots.get_mut(&slot) else { return };
        taken.is_retired = true;
        let key = key(&taken.view.of);
        // Only its own: the version may have its new slot already.
        if table.known.get(&key) == Some(&slot) {
            table.known.remove(&key);
        }
    }

    fn known(&self, version: &VersionInfo) -> Option<(Slot, Arc<View>)> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let slot = *table.known.get(&key(version))?;
        Some((slot, table.slots.get(&slot)?.view.clone()))
    }
}

impl Table {
    /// The first free slot from `start` on.
    fn free(&self, start: u32) -> Result<Slot, Error> {
        let probes = (0..VIEWS).map(|step| Slot((start + step) % VIEWS));
        let mut free = probes.filter(|slot| !self.slots.contains_key(slot));
        free.next().ok_or(Error::Full("versions"))
    }
}

/// Where the probing of a uuid starts: the first bits of its SHA-256.
fn start(uuid: &str) -> u32 {
    let hash = Sha256::digest(uuid);
    u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]) % VIEWS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(uuid: &str, key: i64) -> VersionInfo {
        VersionInfo {
            id: VersionId::from_catalog(key),
            uuid: uuid.into(),
            ..VersionInfo::default()
        }
    }

    /// Uuids whose slots start at one place.
    fn colliding() -> (String, String) {
        let mut seen = HashMap::new();
        for n in 0.. {
            let uuid = format!("u{n}");
            if let Some(other) = seen.insert(start(&uuid), uuid.clone()) {
                return (other, uuid);
            }
        }
        unreachable!("there are more numbers than slots")
    }

    #[test]
    fn a_version_keeps_its_slot_on_every_mount() {
        let (a, b) = (Views::default(), Views::default());
        b.slot(&version("other", 1)).expect("room");
        let slot = a.slot(&version("u", 1)).expect("room");
        assert_eq!(b.slot(&version("u", 9)).expect("room"), slot, "another catalog, another key");
        let renamed = VersionInfo { rows: Some(1), ..version("u", 1) };
        assert_eq!(a.slot(&renamed).expect("room"), slot);
        assert_eq!(a.get(slot).expect("known").of, renamed);
    }

    #[test]
    fn one_uuid_given_twice_is_two_versions() {
        let views = Views::default();
        let (one, two) = (version("u", 1), version("u", 2));
        let slots = [&one, &two, &one, &two].map(|of| views.slot(of).expect("room"));
        assert_eq!((slots[0], slots[1]), (slots[2], slots[3]));
        assert_ne!(slots[0], slots[1]);
        assert_eq!(views.get(slots[0]).expect("known").of, one);
    }

    #[test]
    fn colliding_versions_have_slots_of_their_own() {
        let (one, two) = colliding();
        let views = Views::default();
        let first = views.slot(&version(&one, 1)).expect("room");
        let second = views.slot(&version(&two, 2)).expect("room");
        assert_ne!(first, second);
        assert_eq!(views.get(first).expect("known").of.uuid, one);
        assert_eq!(views.get(second).expect("known").of.uuid, two);
    }

    #[test]
    fn a_retired_slot_answers_nobody_again() {
        let views = Views::default();
        let old = views.slot(&version("u", 1)).expect("room");
        views.retire(old);
        assert!(views.get(old).is_none());
        let new = views.slot(&version("u", 1)).expect("room");
        assert_ne!(new, old);
        assert!(views.get(old).is_none() && views.get(new).is_some());
    }

    #[test]
    fn a_full_table_is_an_error() {
        let view = Arc::new(View::new(&version("u", 1)));
        let taken = || Taken { view: view.clone(), is_retired: true };
        let slots = (0..VIEWS).map(|n| (Slot(n), taken())).collect();
        let table = Table { slots, ..Table::default() };
        assert!(matches!(table.free(7), Err(Error::Full(_))));
    }
}
