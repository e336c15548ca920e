//! The table of views: the meaning of the slots in inode numbers, and their packs.
//!
//! A view is a version, or a directory that shows some of a version's rows. A version's slot starts at a hash
//! of its uuid and probes on collision, so that its inode numbers are the same on every mount. Two versions
//! with the same uuid (in a stranger's catalog) have two slots. Every other view is identified by its parent
//! view and the step from there, and has a slot of its own, because Linux keeps one path per directory inode;
//! files have the numbers of the version in every view. A version keeps its slot for the life of a mount. Views
//! of filters and the like are evicted when the table becomes full, least recently used first: only once the
//! kernel has forgotten all their numbers (it counts its lookups, and so do we), nothing in this process holds
//! them and no view is below them. Then their slot rests for [`REST`], longer than any request that might still
//! name it, before it is reused. If the table is full nevertheless, that is an error; a number never means
//! another view.
//!
//! Entry numbers are only valid in the pack that they come from. When a pack turns out damaged, the slot of its
//! version is retired: every number in it, and in the views below, is ESTALE from then on (Linux looks the path
//! up again by itself), and the version gets a new slot over the new pack.

mod view;

pub use view::{Kind, Step, View, ViewStep};

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::Error;
use crate::inode::{Inode, Slot, VIEWS};
use dcfs_core::id::VersionId;
use dcfs_data::catalog::VersionInfo;

/// Limit of the steps between a view and its version: more than any person nests folders.
const DEEPEST: usize = 64;

/// Limit of slots for views below versions: the rest is for versions, which must always be found.
const MOST_STEPS: usize = VIEWS as usize / 4 * 3;

/// When eviction begins, and how many views it leaves, in eighths of [`MOST_STEPS`].
const CROWDED: usize = 6;
const ROOMY: usize = 5;

/// Number of views evicted at a time: the kernel takes its time to forget, and more are looked up meanwhile.
const BATCH: usize = 1024;

/// A view used within this time stays, whatever the kernel forgets.
const IDLE: Duration = Duration::from_secs(10);

/// How long a slot rests between two views. No request takes that long between finding a number and handing it
/// out.
const REST: Duration = Duration::from_secs(120);

/// Every view of a mount, some hundred bytes each.
#[derive(Debug)]
pub struct Views {
    table: RwLock<Table>,
    born: Instant,
    bounds: OnceLock<Bounds>,
}

/// Limits of views below versions: their number, how long one must be idle before eviction, and how long its
/// slot rests.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub most: usize,
    pub idle: Duration,
    pub rest: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { most: MOST_STEPS, idle: IDLE, rest: REST }
    }
}

impl Default for Views {
    fn default() -> Self {
        let (born, table) = (Instant::now(), RwLock::default());
        Self { table, born, bounds: OnceLock::new() }
    }
}

/// A view that may be evicted: the kernel is asked to forget the name of its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    pub slot: Slot,
    /// The parent directory.
    pub up: Inode,
    pub step: Step,
}

/// The key of a version: its key in the catalog, and its uuid, because a recreated catalog reuses keys.
type ViewKey = (VersionId, String);

fn key(version: &VersionInfo) -> ViewKey {
    (version.id, version.uuid.clone())
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<Slot, Taken>,
    known: HashMap<ViewKey, Slot>,
    steps: HashMap<(Slot, Step), Slot>,
    /// Slots of evicted views, with the time of eviction, oldest first; and the same slots as a set.
    resting: VecDeque<(Slot, Duration)>,
    rests: HashSet<Slot>,
    /// Number of views below versions so far.
    serial: u32,
    /// Number of views for each text.
    filters: HashMap<u32, u32>,
}

/// A used slot.
#[derive(Debug)]
struct Taken {
    view: Arc<View>,
    is_retired: bool,
    /// Lookups of its numbers that the kernel has not forgotten. Only for views below versions.
    held: AtomicU64,
    /// The time of the last use, in milliseconds since the mount.
    used: AtomicU64,
    /// Whether the kernel has been asked to forget it since.
    is_asked: AtomicBool,
    /// Number of views directly below it.
    below: u32,
}

impl Taken {
    fn new(view: Arc<View>, now: Duration) -> Self {
        Self {
            view,
            is_retired: false,
            held: AtomicU64::new(0),
            used: AtomicU64::new(millis(now)),
            is_asked: AtomicBool::new(false),
            below: 0,
        }
    }

    fn touch(&self, now: Duration) {
        // Lookups often come in bursts: a cache line that is only read stays with every processor.
        if self.used.load(Relaxed) != millis(now) {
            self.used.store(millis(now), Relaxed);
            self.is_asked.store(false, Relaxed);
        }
    }

    /// Whether nothing in this process needs it: no view below, no handle, no work in progress.
    fn is_free(&self) -> bool {
        self.below == 0 && self.view.from.is_some() && Arc::strong_count(&self.view) == 1
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Views {
    /// Sets other limits; only before the first view.
    pub fn bound(&self, bounds: Bounds) {
        // A second call is too late, and has no effect.
        let _ = self.bounds.set(bounds);
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.get_or_init(Bounds::default)
    }

    /// The slot of a version, the same each time.
    ///
    /// # Errors
    /// [`Error::Full`] if every slot is taken.
    pub fn slot(&self, version: &VersionInfo) -> std::result::Result<Slot, Error> {
        if let Some((slot, known)) = self.known(version)
            && known.of == *version
        {
            return Ok(slot);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let slot = match table.known.get(&key(version)) {
            // Renamed, for example: its numbers stay valid.
            Some(slot) => *slot,
            None => table.free(start(&version.uuid))?,
        };
        table.known.insert(key(version), slot);
        let view = Arc::new(View::version(version, slot));
        let now = self.born.elapsed();
        match table.slots.get_mut(&slot) {
            // Views below it stay counted.
            Some(taken) => (taken.view, taken.is_retired) = (view, false),
            None => drop(table.slots.insert(slot, Taken::new(view, now))),
        }
        Ok(slot)
    }

    /// The slot of the view one `step` from the view in the slot `parent`, the same each time.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Deep`]; [`Error::Unknown`] if `parent` is not a view.
    pub fn step(&self, parent: Slot, step: Step) -> std::result::Result<Slot, Error> {
        let around = self.get(parent).ok_or(Error::Unknown(Inode::View(parent).number()))?;
        if around.depth == DEEPEST {
            return Err(Error::Deep(DEEPEST));
        }
        let now = self.born.elapsed();
        let known = |table: &Table| {
            let slot = *table.steps.get(&(parent, step))?;
            table.slots.get(&slot)?.touch(now);
            Some(slot)
        };
        if let Some(slot) = known(&self.table.read().unwrap_or_else(|e| e.into_inner())) {
            return Ok(slot);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(slot) = known(&table) {
            return Ok(slot);
        }
        let Bounds { most, rest, .. } = self.bounds();
        table.wake(now, rest);
        if table.steps.len() + table.resting.len() >= most {
            return Err(Error::Full("directories of some rows"));
        }
        let mut hash = DefaultHasher::new();
        (parent, step).hash(&mut hash);
        let slot = table.free((hash.finish() % u64::from(VIEWS)) as u32)?;
        // It may have been evicted since.
        let around_it = table.slots.get_mut(&parent);
        around_it.ok_or(Error::Unknown(Inode::View(parent).number()))?.below += 1;
        table.serial = table.serial.wrapping_add(1);
        let mut view = around.below(parent, step, slot);
        view.serial = table.serial;
        table.slots.insert(slot, Taken::new(Arc::new(view), now));
        table.steps.insert((parent, step), slot);
        if let Some(number) = step.text() {
            *table.filters.entry(number).or_default() += 1;
        }
        Ok(slot)
    }

    /// Counts a number that is handed to the kernel. `false` if its view was evicted meanwhile: it must not be
    /// handed out.
    pub fn hold(&self, inode: Inode) -> bool {
        let Some(slot) = inode.slot() else { return true };
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let Some(taken) = table.slots.get(&slot) else { return false };
        if taken.view.from.is_some() {
            taken.held.fetch_add(1, Relaxed);
        }
        true
    }

    /// The kernel forgets this many lookups of a number.
    pub fn forget(&self, inode: Inode, times: u64) {
        let Some(slot) = inode.slot() else { return };
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let Some(taken) = table.slots.get(&slot).filter(|taken| taken.view.from.is_some()) else {
            return;
        };
        let less = |held: u64| Some(held.saturating_sub(times));
        // Always `Ok`: the closure returns a value.
        let _ = taken.held.fetch_update(Relaxed, Relaxed, less);
    }

    /// If the table is crowded, the least recently used views that nothing in this process holds: as many as
    /// needed to make room. `is_crowded`: another limit of views is nearly reached.
    pub fn idle(&self, is_crowded: bool) -> Vec<Idle> {
        let (now, Bounds { most, idle, .. }) = (self.born.elapsed(), self.bounds());
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let many = table.steps.len();
        if !is_crowded && many <= most / 8 * CROWDED {
            return Vec::new();
        }
        let latest = millis(now.saturating_sub(idle));
        let mut found: Vec<(u64, Idle)> = Vec::new();
        for ((_, step), slot) in &table.steps {
            let Some(taken) = table.slots.get(slot) else { continue };
            let used = taken.used.load(Relaxed);
            let is_asked = taken.is_asked.load(Relaxed) && taken.held.load(Relaxed) > 0;
            if taken.is_free() && used < latest && !is_asked {
                found.push((used, Idle { slot: *slot, up: taken.view.up, step: *step }));
            }
        }
        // The oldest first, without sorting all of them.
        let wanted = many.saturating_sub(most / 8 * ROOMY).clamp(1, BATCH);
        if found.len() > wanted {
            found.select_nth_unstable_by_key(wanted - 1, |(used, idle)| (*used, idle.slot));
            found.truncate(wanted);
        }
        let idle: Vec<Idle> = found.into_iter().map(|(_, idle)| idle).collect();
        for one in &idle {
            if let Some(taken) = table.slots.get(&one.slot) {
                taken.is_asked.store(true, Relaxed);
            }
        }
        idle
    }

    /// Evicts a view that the kernel has forgotten and that was not used since. `None` if it stays; else the
    /// text that no view has any more, if any.
    pub fn evict(&self, idle: &Idle) -> Option<Option<u32>> {
        let now = self.born.elapsed();
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let taken = table.slots.get(&idle.slot)?;
        let is_unused = taken.used.load(Relaxed) < millis(now.saturating_sub(self.bounds().idle));
        if !taken.is_free() || !is_unused || taken.held.load(Relaxed) > 0 {
            return None;
        }
        let (parent, step) = taken.view.from?;
        table.slots.remove(&idle.slot);
        table.steps.remove(&(parent, step));
        table.resting.push_back((idle.slot, now));
        table.rests.insert(idle.slot);
        if let Some(around) = table.slots.get_mut(&parent) {
            around.below = around.below.saturating_sub(1);
        }
        Some(step.text().filter(|number| table.is_last(*number)))
    }

    /// The view in a slot; `None` for a number that this mount never handed out, or retired.
    pub fn get(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let taken = table.slots.get(&slot)?;
        taken.touch(self.born.elapsed());
        let view = taken.view.clone();
        let base = table.slots.get(&view.base)?;
        (!base.is_retired).then_some(view)
    }

    /// The current or last view of a slot, for messages.
    pub fn named(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.slots.get(&slot).map(|taken| taken.view.clone())
    }

    /// Retires the version of a slot for good, with all its views; it gets another slot when it is looked up
    /// again.
    pub fn retire(&self, slot: Slot) {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let Some(slot) = table.slots.get(&slot).map(|taken| taken.view.base) else { return };
        let Some(taken) = table.slots.get_mut(&slot) else { return };
        taken.is_retired = true;
        let key = key(&taken.view.of);
        // Only its own entry: the version may have its new slot already.
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
    /// Decrements the number of views of a text; returns whether it was the last.
    fn is_last(&mut self, number: u32) -> bool {
        let left = self.filters.get(&number).map_or(0, |views| views.saturating_sub(1));
        match left {
            0 => self.filters.remove(&number).is_some(),
            left => self.filters.insert(number, left).is_none(),
        }
    }

    /// Frees slots that have rested long enough.
    fn wake(&mut self, now: Duration, rest: Duration) {
        while let Some((slot, _)) = self.resting.front().filter(|(_, went)| *went + rest <= now) {
            self.rests.remove(slot);
            self.resting.pop_front();
        }
    }

    /// The first free slot from `start` on.
    fn free(&self, start: u32) -> std::result::Result<Slot, Error> {
        let probes = (0..VIEWS).map(|step| Slot((start + step) % VIEWS));
        let is_free = |slot: &Slot| !self.slots.contains_key(slot) && !self.rests.contains(slot);
        let mut free = probes.filter(is_free);
        free.next().ok_or(Error::Full("versions"))
    }
}

/// The first slot tried for a uuid: the first bits of its SHA-256.
fn start(uuid: &str) -> u32 {
    hashed(uuid, 0) % VIEWS
}

/// Four bytes of the SHA-256 of a uuid, from `at` on.
fn hashed(uuid: &str, at: usize) -> u32 {
    let hash = Sha256::digest(uuid);
    u32::from_le_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]])
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

    /// Uuids with the same first slot.
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
    fn a_view_keeps_its_slot_and_ends_with_its_version() {
        let views = Views::default();
        let base = views.slot(&version("u", 1)).expect("room");
        let made = |number| ViewStep { directory: 2, kind: 0, number, text: None };
        let steps = [0, 1].map(|number| Step::Beside(made(number)));
        let steps = [Step::Value(1, 7), Step::Value(1, 8), steps[0], steps[1]];
        let slots = steps.map(|step| views.step(base, step).expect("room"));
        assert_eq!(steps.map(|step| views.step(base, step).expect("known")), slots);
        let deeper = views.step(slots[0], Step::Value(2, 7)).expect("room");
        let mut all = [&[base, deeper], &slots[..]].concat();
        assert!(all.iter().all(|slot| views.get(*slot).expect("alive").base == base));
        views.retire(deeper);
        assert!(all.iter().all(|slot| views.get(*slot).is_none()));
        assert!(views.step(slots[0], Step::Value(2, 7)).is_err());
        let again = views.slot(&version("u", 1)).expect("room");
        all.push(views.step(again, Step::Value(1, 7)).expect("room"));
        all.push(again);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8, "no slot twice");
    }

    #[test]
    fn views_nest_only_so_deep() {
        let views = Views::default();
        let mut slot = views.slot(&version("u", 1)).expect("room");
        for _ in 0..DEEPEST {
            slot = views.step(slot, Step::Value(0, 0)).expect("not too deep");
        }
        assert!(matches!(views.step(slot, Step::Value(0, 0)), Err(Error::Deep(DEEPEST))));
    }

    /// A small table without waiting times.
    fn small() -> Views {
        bounded(Duration::ZERO)
    }

    fn bounded(rest: Duration) -> Views {
        let views = Views::default();
        views.bound(Bounds { most: 16, idle: Duration::ZERO, rest });
        views
    }

    fn later() {
        std::thread::sleep(Duration::from_millis(3));
    }

    #[test]
    fn views_go_when_the_table_is_crowded_and_nobody_holds_them() {
        let views = small();
        let base = views.slot(&version("u", 1)).expect("room");
        let query = |number| views.step(base, Step::Query(number, None));
        let slots: Vec<Slot> = (0..16).map(|number| query(number).expect("room")).collect();
        assert!(matches!(query(16), Err(Error::Full(_))));
        // One held by the kernel, one with a view below it, one open here, one used last.
        assert!(views.hold(Inode::Dir(slots[0], 1, 7)));
        views.step(slots[1], Step::Value(1, 1)).expect_err("no room");
        let open = views.get(slots[2]).expect("there");
        later();
        views.get(slots[3]).expect("there");
        later();
        let idle = views.idle(false);
        let chosen: Vec<Slot> = idle.iter().map(|idle| idle.slot).collect();
        assert_eq!(idle.len(), 6, "down to five eighths: {idle:?}");
        assert!(!chosen.contains(&slots[2]) && !chosen.contains(&slots[3]));
        assert_eq!(idle[0].up, Inode::View(base));
        for one in &idle {
            let went = views.evict(one);
            assert_eq!(went.is_some(), one.slot != slots[0], "{one:?}");
            if let Some(last) = went {
                assert_eq!(last, one.step.text(), "its filter goes with it");
                assert!(views.get(one.slot).is_none() && !views.hold(Inode::View(one.slot)));
            }
        }
        // Once the kernel forgets it, it is evicted too.
        let held = Idle { slot: slots[0], up: Inode::View(base), step: Step::Query(0, None) };
        assert_eq!(views.evict(&held), None);
        views.forget(Inode::Dir(slots[0], 1, 7), 1);
        assert_eq!(views.evict(&held), Some(Some(0)));
        let new = query(99).expect("there is room again");
        assert!(views.get(new).is_some());
        drop(open);
        let deeper = views.step(new, Step::Value(1, 1)).expect("room");
        later();
        let around = Idle { slot: new, up: Inode::View(base), step: Step::Query(99, None) };
        assert_eq!(views.evict(&around), None, "a view is below it");
        assert!(views.get(deeper).is_some());
    }

    #[test]
    fn a_slot_rests_before_it_means_another_view() {
        let views = bounded(Duration::from_secs(3600));
        let base = views.slot(&version("u", 1)).expect("room");
        let slot = views.step(base, Step::Query(1, None)).expect("room");
        later();
        let (idle, again) = (views.idle(true), views.idle(true));
        assert_eq!((idle.len(), &idle), (1, &again), "nothing holds it");
        assert_eq!(views.evict(&idle[0]), Some(Some(1)));
        assert_eq!(views.evict(&idle[0]), None, "it went");
        let new = views.step(base, Step::Query(1, None)).expect("room");
        assert_ne!(new, slot);
        assert_eq!(
            views.get(new).expect("there").serial(),
            2,
            "another view, to who kept a handle"
        );
        let resting = views.table.read().expect("whole").resting.len();
        assert_eq!(resting, 1);
    }

    #[test]
    fn a_full_table_is_an_error() {
        let view = Arc::new(View::version(&version("u", 1), Slot(0)));
        let taken = || Taken { is_retired: true, ..Taken::new(view.clone(), Duration::ZERO) };
        let slots = (0..VIEWS).map(|n| (Slot(n), taken())).collect();
        let table = Table { slots, ..Table::default() };
        assert!(matches!(table.free(7), Err(Error::Full(_))));
    }
}
