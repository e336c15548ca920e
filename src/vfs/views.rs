//! The table of views: what a slot of an inode number stands for, and its pack.
//!
//! A view is a version, or a directory that shows some of a version's rows. A version's slot starts at
//! a hash of its uuid and probes on collision, so that its inode numbers are the same on every mount.
//! Two versions that a strange catalog gives one uuid have two slots. Every other view is known by the
//! view around it and the step from there, and has a slot of its own, for Linux keeps one path per
//! directory inode; files have the numbers of the version wherever they show. Slots are never given to
//! another view: the kernel and programs may hold a number for as long as they like. A full table is an
//! error, never another view.
//!
//! Entry numbers mean something only in the pack that gave them. When a pack turns out damaged, the
//! slot of its version is retired: every number in it, and in the views below, is ESTALE from then on
//! (Linux looks the path up again by itself), and the version gets a new slot over the new pack.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock, RwLock, Weak};

use sha2::{Digest, Sha256};

use super::Error;
use super::inode::{Inode, Slot, VIEWS};
use dcfs_core::error::Result;
use dcfs_core::id::VersionId;
use dcfs_core::schema::Schema;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::{Dir, Pack};

/// How many steps a view may be from its version: more than any person nests folders.
const DEEPEST: usize = 64;

/// How many slots views below versions may take: the rest is for versions, which must always be found.
const MOST_STEPS: usize = VIEWS as usize / 4 * 3;

/// How one comes from one view to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The rows of one value, as a class folder: a leaf of the schema, and the ordinal of the value's
    /// first row.
    Value(u16, u32),
    /// All rows as Hugging Face reads them: `_views/hf`.
    HuggingFace,
    /// The rows of one value of the column of splits, below `_views/hf`.
    Split(u16, u32),
    /// A query directory: a number of [`super::filters`], for each spelling one, and the directory it
    /// stands in, where that is not the top of the view around it.
    Query(u32, Option<Dir>),
    /// The same by its short name in `_views/q/`.
    Alias(u32),
    /// The rows that the version with this slot has not, in `_views/diff/`.
    Added(Slot),
    /// The rows that are otherwise there.
    Changed(Slot),
    /// The rows that the version with this slot, in whose `_views/diff/` it stands, has not.
    Removed(Slot),
}

/// What the top directory of a view has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Helper files, tables, files and `_views`: a version, or some of its rows by a filter or a comparison, where
    /// helper files are there by name alone.
    Version,
    /// The files of one value; tables and `_views` by name.
    Class,
    /// What Hugging Face reads of all rows.
    HuggingFace,
    /// What it reads of one split.
    Split,
}

/// A version, or some of its rows, as this mount shows it.
#[derive(Debug)]
pub struct View {
    /// The version.
    pub of: VersionInfo,
    /// The slot of the version itself, whose numbers its files have.
    pub base: Slot,
    /// The view around it and the step from there; `None` for a version itself.
    pub from: Option<(Slot, Step)>,
    /// How many steps it is from the version.
    depth: usize,
    /// The directory that it is.
    pub own: Inode,
    /// The directory around that.
    pub up: Inode,
    /// The directory of the version's tree that its files are shown from, where that is not the top.
    pub root: Option<Dir>,
    /// The pack that answered last. Weak: how many stay open is for [`dcfs_data::pack::Packs`] to say.
    pack: RwLock<Weak<Pack>>,
    schema: OnceLock<Arc<Schema>>,
    generation: u32,
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
    steps: HashMap<(Slot, Step), Slot>,
}

/// A slot that is given out for good.
#[derive(Debug)]
struct Taken {
    view: Arc<View>,
    is_retired: bool,
}

impl View {
    fn version(of: &VersionInfo, slot: Slot) -> Self {
        Self {
            of: of.clone(),
            base: slot,
            from: None,
            depth: 0,
            own: Inode::View(slot),
            up: Inode::Datasets,
            root: None,
            pack: RwLock::default(),
            schema: OnceLock::new(),
            generation: hashed(&of.uuid, 4),
        }
    }

    /// What its top directory has.
    pub const fn kind(&self) -> Kind {
        match self.from {
            None => Kind::Version,
            Some((_, step)) => match step {
                Step::Value(..) => Kind::Class,
                Step::HuggingFace => Kind::HuggingFace,
                Step::Split(..) => Kind::Split,
                Step::Query(..)
                | Step::Alias(_)
                | Step::Added(_)
                | Step::Changed(_)
                | Step::Removed(_) => Kind::Version,
            },
        }
    }

    /// The view one `step` from this one, which has the slot `parent`; its own will be `slot`.
    fn below(&self, parent: Slot, step: Step, slot: Slot) -> Self {
        let (own, up) = match step {
            Step::Value(leaf, first) => {
                (Inode::Value(parent, leaf, first), Inode::ByColumn(parent, leaf))
            }
            Step::HuggingFace => (Inode::View(slot), Inode::Views(parent)),
            Step::Split(..) => (Inode::View(slot), Inode::View(parent)),
            Step::Query(_, None) => (Inode::View(slot), self.own),
            Step::Query(_, Some(dir)) => (Inode::View(slot), self.inode(parent, dir)),
            Step::Alias(_) => (Inode::View(slot), Inode::Aliases(parent)),
            Step::Added(other) | Step::Changed(other) => {
                (Inode::View(slot), Inode::Diff(parent, other))
            }
            Step::Removed(by) => (Inode::View(slot), Inode::Diff(by, parent)),
        };
        let root = match step {
            Step::Query(_, Some(dir)) => Some(dir),
            _ => self.root,
        };
        let (from, depth) = (Some((parent, step)), self.depth + 1);
        let (schema, generation) = (self.schema.clone(), self.generation);
        Self {
            base: self.base,
            from,
            depth,
            own,
            up,
            root,
            schema,
            generation,
            ..Self::version(&self.of, slot)
        }
    }

    /// The inode of a directory of files that is not the top of this view, which has the slot `slot`.
    pub fn inode(&self, slot: Slot, dir: Dir) -> Inode {
        match dir.depth {
            0 => Inode::Column(slot, dir.column),
            depth => Inode::Dir(slot, depth, dir.first),
        }
    }

    /// What tells its version from another that has, or had, its slot on another mount.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The version's columns, read once.
    pub fn schema(&self, catalog: &Catalog) -> Result<Arc<Schema>> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema.clone());
        }
        let schema = Arc::new(catalog.schema(&self.of)?);
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    /// The same, if it was read.
    pub fn known_schema(&self) -> Option<Arc<Schema>> {
        self.schema.get().cloned()
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
    pub fn slot(&self, version: &VersionInfo) -> std::result::Result<Slot, Error> {
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
        let view = Arc::new(View::version(version, slot));
        table.slots.insert(slot, Taken { view, is_retired: false });
        Ok(slot)
    }

    /// The slot of the view one `step` from the view in the slot `parent`, the same each time.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Deep`]; [`Error::Unknown`] where `parent` is no view.
    pub fn step(&self, parent: Slot, step: Step) -> std::result::Result<Slot, Error> {
        let around = self.get(parent).ok_or(Error::Unknown(Inode::View(parent).number()))?;
        if around.depth == DEEPEST {
            return Err(Error::Deep(DEEPEST));
        }
        let known = |table: &Table| table.steps.get(&(parent, step)).copied();
        if let Some(slot) = known(&self.table.read().unwrap_or_else(|e| e.into_inner())) {
            return Ok(slot);
        }
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(slot) = known(&table) {
            return Ok(slot);
        }
        if table.steps.len() == MOST_STEPS {
            return Err(Error::Full("directories of some rows"));
        }
        let mut hash = DefaultHasher::new();
        (parent, step).hash(&mut hash);
        let slot = table.free((hash.finish() % u64::from(VIEWS)) as u32)?;
        let view = Arc::new(around.below(parent, step, slot));
        table.slots.insert(slot, Taken { view, is_retired: false });
        table.steps.insert((parent, step), slot);
        Ok(slot)
    }

    /// The view in a slot; `None` for a number that this mount never handed out, or retired.
    pub fn get(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let view = table.slots.get(&slot)?.view.clone();
        let base = table.slots.get(&view.base)?;
        (!base.is_retired).then_some(view)
    }

    /// The view that a slot has or had, for messages.
    pub fn named(&self, slot: Slot) -> Option<Arc<View>> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        table.slots.get(&slot).map(|taken| taken.view.clone())
    }

    /// Ends the version of a slot for good, and all its views; it gets another slot when it is looked
    /// up again.
    pub fn retire(&self, slot: Slot) {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let Some(slot) = table.slots.get(&slot).map(|taken| taken.view.base) else { return };
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
    fn free(&self, start: u32) -> std::result::Result<Slot, Error> {
        let probes = (0..VIEWS).map(|step| Slot((start + step) % VIEWS));
        let mut free = probes.filter(|slot| !self.slots.contains_key(slot));
        free.next().ok_or(Error::Full("versions"))
    }
}

/// Where the probing of a uuid starts: the first bits of its SHA-256.
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
    fn a_view_keeps_its_slot_and_ends_with_its_version() {
        let views = Views::default();
        let base = views.slot(&version("u", 1)).expect("room");
        let steps = [Step::Value(1, 7), Step::Value(1, 8), Step::HuggingFace, Step::Split(1, 7)];
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

    #[test]
    fn a_full_table_is_an_error() {
        let view = Arc::new(View::version(&version("u", 1), Slot(0)));
        let taken = || Taken { view: view.clone(), is_retired: true };
        let slots = (0..VIEWS).map(|n| (Slot(n), taken())).collect();
        let table = Table { slots, ..Table::default() };
        assert!(matches!(table.free(7), Err(Error::Full(_))));
    }
}
