//! The contents of the shared folder, and the removal of what is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::bundle;
use super::small;
use super::{LAYOUT, Shared, Tier, is_plain};
use crate::catalog::{SharedName, Writer};
use crate::pack::folder::plain_name;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::shared::Listed;
use dcfs_core::time::Timestamp;

/// A number of objects, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub objects: u64,
    pub bytes: u64,
}

impl Held {
    fn add(&mut self, object: &Listed) {
        self.objects += 1;
        self.bytes += object.size;
    }
}

/// The contents of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    pub prefix: String,
    /// The objects of each version that this catalog shows.
    pub versions: BTreeMap<String, Of>,
    /// Objects of versions that were removed from this catalog.
    pub removed: Held,
    /// Objects of versions that this catalog does not know.
    pub unknown: Held,
    /// Small objects of stores.
    pub objects: Held,
}

/// The objects of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Of {
    pub names: Vec<String>,
    #[serde(flatten)]
    pub held: Held,
}

/// The amount that was removed, and that remains.
#[derive(Debug, Default, Serialize)]
pub struct Swept {
    pub removed: Held,
    /// Objects that could not be removed.
    pub failed: Held,
    pub stays: Held,
    /// Of versions that this catalog does not know: they may belong to another catalog.
    pub unknown: Held,
    /// Why the first object could not be removed.
    #[serde(skip)]
    pub error: Option<Error>,
}

impl Swept {
    /// Removes objects; `each` is told of each that is gone. Whether all are.
    fn remove(&mut self, tier: &Tier, objects: &[Listed], each: &dyn Fn(&Listed)) -> bool {
        let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
        let removed = tier.objects.remove_all(&keys, &mut |at, is_gone| {
            let held = if is_gone { &mut self.removed } else { &mut self.failed };
            held.add(&objects[at]);
            if is_gone {
                each(&objects[at]);
            }
        });
        let is_whole = removed.is_ok();
        self.error = self.error.take().or(removed.err());
        is_whole
    }
}

/// The versions of a catalog, by the folders of their objects.
struct Known {
    /// Names to show, for existing versions.
    shown: BTreeMap<String, String>,
    /// Digests in the catalog, by folder.
    shared: BTreeMap<String, Vec<SharedName>>,
}

impl Tier {
    fn known(&self) -> Result<Known> {
        let versions = self.catalog.versions()?;
        let name = |uuid: &str| plain_name(uuid);
        let mut shared: BTreeMap<String, Vec<SharedName>> = BTreeMap::new();
        for each in self.catalog.all_shared()? {
            // A secret is no version that was removed.
            if each.uuid == small::SECRET.0 {
                continue;
            }
            shared.entry(name(&each.uuid)).or_default().push(each);
        }
        let shown = versions.iter().map(|of| (name(&of.uuid), of.to_string())).collect();
        Ok(Known { shown, shared })
    }

    /// Every object.
    fn listed(&self) -> Result<Vec<Listed>> {
        self.objects.list(&format!("{LAYOUT}/"))
    }
}

/// Objects by folder.
fn by_folder(listed: Vec<Listed>) -> BTreeMap<String, Vec<Listed>> {
    let mut folders: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for object in listed {
        let below = object.key.strip_prefix(LAYOUT).and_then(|rest| rest.strip_prefix('/'));
        // Objects that are not ours are neither counted nor touched.
        let Some((folder, _)) = below.and_then(|below| below.split_once('/')) else { continue };
        folders.entry(folder.to_owned()).or_default().push(object);
    }
    folders
}

/// The contents of the folder.
///
/// # Errors
/// Errors of the folder and the catalog.
pub fn status(tier: &Arc<Tier>) -> Result<Status> {
    let known = tier.known()?;
    let mut status = Status { prefix: tier.objects.place().to_owned(), ..Status::default() };
    for (folder, objects) in by_folder(tier.listed()?) {
        let names = known.shared.get(&folder).into_iter().flatten();
        let held = match known.shown.get(&folder) {
            Some(version) => {
                let of = status.versions.entry(version.clone()).or_default();
                of.names = names.map(|each| each.name.clone()).collect();
                &mut of.held
            }
            None if known.shared.contains_key(&folder) => &mut status.removed,
            None => &mut status.unknown,
        };
        objects.iter().for_each(|object| held.add(object));
    }
    tier.objects.list(small::HOME)?.iter().for_each(|object| status.objects.add(object));
    Ok(status)
}

/// Removes objects that no digest refers to: all of removed versions; of others only those that are
/// older than `age`, because another host may be writing them now. With `unknown` also all objects
/// of versions that this catalog does not know, and that are older. Ages are by the clock of the
/// folder: that of this host may differ. `each` is told of each object that was removed.
///
/// # Errors
/// Errors of the folder and the catalog, except those of removals: see [`Swept::error`].
pub fn sweep(
    tier: &Arc<Tier>,
    age: Duration,
    unknown: bool,
    each: &dyn Fn(&Listed),
) -> Result<Swept> {
    // Listed first: objects shared meanwhile are in the catalog when that is read.
    let (before, listed) = tier.listed_before(age)?;
    let known = tier.known()?;
    let mut swept = Swept::default();
    for (folder, objects) in by_folder(listed) {
        let is_shown = known.shown.contains_key(&folder);
        let shared = known.shared.get(&folder).map_or(&[][..], Vec::as_slice);
        let is_unknown = !is_shown && shared.is_empty();
        let needed = if is_shown { tier.needed(&folder, shared)? } else { BTreeSet::new() };
        let mut useless = Vec::new();
        for object in objects {
            let is_old = object.written < before || (!is_shown && !is_unknown);
            if is_unknown && !(unknown && is_old) {
                swept.unknown.add(&object);
            } else if needed.contains(&object.key) || !is_old {
                swept.stays.add(&object);
            } else {
                useless.push(object);
            }
        }
        if swept.remove(tier, &useless, each)
            && !is_shown
            && let Some(digest) = shared.first()
        {
            Writer::open(tier.catalog.path())?.unshare(&digest.uuid)?;
        }
    }
    Ok(swept)
}

/// Removes small objects that were written longer than `age` ago: nothing tells whether a version still names them, and
/// a host that needs one fetches it again. With `unknown` also those of other catalogs. `each` is told of each object that
/// was removed.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_small(
    tier: &Arc<Tier>,
    age: Duration,
    unknown: bool,
    each: &dyn Fn(&Listed),
) -> Result<Swept> {
    let (before, _) = tier.listed_before(age)?;
    let own = tier.home_of_small()?;
    let folders: Vec<String> = match (unknown, &own) {
        (true, _) => vec![small::HOME.to_owned()],
        (false, Some(home)) => small::parts(home).collect(),
        (false, None) => Vec::new(),
    };
    let mut swept = Swept::default();
    for folder in folders {
        let listed = tier.objects.list(&folder)?;
        let (old, new): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|object| object.written < before);
        new.iter().for_each(|object| swept.stays.add(object));
        swept.remove(tier, &old, each);
    }
    Ok(swept)
}

/// How the key of an object begins that is written for its time alone.
const CLOCK: &str = "clock-";

/// Microseconds after which such an object is taken for left behind.
const DAY: i64 = 86_400_000_000;

impl Tier {
    /// The time that is `age` ago by the clock of the folder, that of an object written for it, and every object.
    fn listed_before(&self, age: Duration) -> Result<(Timestamp, Vec<Listed>)> {
        let clock = format!("{LAYOUT}/{CLOCK}");
        let key = format!("{clock}{}", Uuid::new_v4().simple());
        self.objects.put(&key, Vec::new())?;
        let listed = self.listed();
        self.objects.remove(&key)?;
        let listed = listed?;
        let own = listed.iter().find(|object| object.key == key).ok_or_else(|| {
            let place = self.objects.place();
            let why = format!("{place} does not list an object that was just written");
            Error::new(Kind::Broken, why)
        })?;
        let now = own.written;
        // Left behind by a sweep that was killed.
        let is_left = |object: &&Listed| {
            object.key.starts_with(&clock)
                && now.micros().saturating_sub(object.written.micros()) > DAY
        };
        listed.iter().filter(is_left).try_for_each(|object| self.objects.remove(&object.key))?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Ok((Timestamp::from_micros(now.micros().saturating_sub(age)), listed))
    }

    /// The keys that digests refer to.
    fn needed(self: &Arc<Self>, folder: &str, shared: &[SharedName]) -> Result<BTreeSet<String>> {
        let mut needed = BTreeSet::new();
        for each in shared {
            let of = Shared {
                tier: self.clone(),
                uuid: each.uuid.clone(),
                home: format!("{LAYOUT}/{folder}"),
            };
            needed.insert(of.key(&each.digest));
            if !is_plain(&each.name) {
                needed.extend(bundle::pieces_of(&of, each)?);
            }
        }
        Ok(needed)
    }
}
