//! The differences of two versions as sets of rows, for the mount: computed once, cached in memory,
//! and beside the later version's pack for later mounts.

use std::io::Read as _;
use std::sync::Arc;

use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use super::look::gone;
use super::plan::Pair;
use super::{Difference, Plan, Versions, compare};
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::home::Home;
use crate::pack::{Ordinals, Pack};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::id::RowId;
use dcfs_core::kept::Kept;
use dcfs_core::render::diff::{Changed, Columns, Counts, Retyped, Summary};
use dcfs_core::schema::Schema;

/// Memory for sets, in bytes.
const SETS: usize = 32 << 20;

/// Changes with the meaning of a difference: sets cached by another dcfs version are not read.
const FORMAT: u32 = 2;

/// The longest summary that is read from the cache, in bytes.
const LONGEST: u64 = 16 << 20;

/// One of the two versions.
#[derive(Clone, Copy, Debug)]
pub struct Side<'v> {
    pub of: &'v VersionInfo,
    pub schema: &'v Schema,
    pub pack: &'v Arc<Pack>,
}

/// The differences.
#[derive(Clone, Debug, PartialEq)]
pub struct Sets {
    pub summary: Summary,
    /// Rows of the later version.
    pub added: Arc<Ordinals>,
    pub changed: Arc<Ordinals>,
    /// Rows of the earlier version.
    pub removed: Arc<Ordinals>,
}

/// Differences by the serial numbers of the two packs.
#[derive(Debug)]
pub struct Diffs(Kept<(u64, u64), Sets>);

impl Default for Diffs {
    fn default() -> Self {
        Self(Kept::new(SETS))
    }
}

impl Diffs {
    /// The differences between two versions. Blocks.
    ///
    /// # Errors
    /// As [`compare`].
    pub fn get(&self, catalog: &Catalog, left: Side<'_>, right: Side<'_>) -> Result<Arc<Sets>> {
        let key = (left.pack.serial(), right.pack.serial());
        self.0.get(&key, Sets::weight, || {
            let (home, stem) = (Home::of(right.pack, "diffs"), stem(left.pack, right.of));
            let limits = (left.pack.row_count(), right.pack.row_count());
            if let Some(sets) = home.find(&stem).and_then(|file| Sets::read(file, limits)) {
                return Ok(sets);
            }
            let sets = find(catalog, left, right)?;
            let is_sound =
                |pack: &Pack| pack.is_proven() && !pack.is_damaged() && pack.is_current();
            if is_sound(left.pack) && is_sound(right.pack) {
                keep(&home, &stem, &sets);
            }
            Ok(sets)
        })
    }
}

/// The name of a cache file: identifies the other pack, and the version of dcfs.
fn stem(left: &Pack, right: &VersionInfo) -> String {
    let mut hash = Sha256::new();
    hash.update(left.name());
    // A dataset may be renamed, and the summary includes its name.
    hash.update(right.to_string());
    let hash: String = hash.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("{hash}-{FORMAT}-{}", env!("CARGO_PKG_VERSION").replace('.', "_"))
}

fn find(catalog: &Catalog, left: Side<'_>, right: Side<'_>) -> Result<Sets> {
    let plan = Plan::new((left.of, right.of), (left.schema, right.schema), &[])?;
    let [mut added, mut changed, mut removed] = std::array::from_fn(|_| RoaringBitmap::new());
    let ordinal = |side: Side<'_>, id: RowId| side.pack.ordinal(id)?.ok_or_else(|| gone(side.of));
    let mut tally = Tally::new(&plan);
    let versions = Versions { catalog, left: left.of, right: right.of };
    let counts = compare(versions, &plan, right.pack.folder(), &|_| (), &mut |difference| {
        tally.push(difference);
        match difference {
            Difference::Added(id) => added.insert(ordinal(right, id)?),
            Difference::Removed(id) => removed.insert(ordinal(left, id)?),
            Difference::Changed { right: id, .. } => changed.insert(ordinal(right, id)?),
        };
        Ok(())
    })?;
    let summary = tally.summary(left.of, right.of, counts);
    let [added, changed, removed] = [added, changed, removed].map(Arc::new);
    Ok(Sets { summary, added, changed, removed })
}

/// Counts the rows that changed, per column.
#[derive(Clone, Debug)]
pub struct Tally<'p> {
    plan: &'p Plan,
    changed: Vec<u64>,
}

impl<'p> Tally<'p> {
    pub fn new(plan: &'p Plan) -> Self {
        Self { plan, changed: vec![0; plan.compared.len()] }
    }

    /// Counts one more difference.
    pub fn push(&mut self, difference: Difference<'_>) {
        if let Difference::Changed { columns, .. } = difference {
            columns.iter().for_each(|column| self.changed[usize::from(*column)] += 1);
        }
    }

    /// The summary.
    pub fn summary(self, left: &VersionInfo, right: &VersionInfo, rows: Counts) -> Summary {
        let changed = self.plan.compared.iter().zip(self.changed).filter(|(_, rows)| *rows > 0);
        let changed = changed.map(|(pair, rows)| Changed { column: pair.name.clone(), rows });
        Summary {
            from: left.to_string(),
            to: right.to_string(),
            on: self.plan.on(),
            rows,
            columns: Columns {
                added: self.plan.only_right.clone(),
                removed: self.plan.only_left.clone(),
                changed: changed.collect(),
                retyped: self
                    .plan
                    .compared
                    .iter()
                    .chain(&self.plan.key)
                    .filter_map(retyped)
                    .collect(),
            },
        }
    }
}

/// A column whose type changed, with both types as written.
fn retyped(pair: &Pair) -> Option<Retyped> {
    let (from, to) = pair.types.clone();
    pair.is_retyped().then(|| Retyped { column: pair.name.clone(), from, to })
}

/// Caches sets for later mounts. A failure to do so is not worth an error.
fn keep(home: &Home, stem: &str, sets: &Sets) {
    let kept = home.create().and_then(|mut draft| {
        sets.write(&mut draft).map_err(|error| Error::new(Kind::NoSpace, error))?;
        home.keep(draft, stem)
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "the differences of two versions are not kept");
    }
}

impl Sets {
    /// The approximate size in memory, in bytes.
    fn weight(&self) -> usize {
        let sets = [&self.added, &self.changed, &self.removed];
        sets.iter().map(|set| set.serialized_size()).sum::<usize>() + 1024
    }

    fn write(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        let summary = self.summary.json();
        out.write_all(&(summary.len() as u64).to_le_bytes())?;
        out.write_all(summary.as_bytes())?;
        // In one piece: the sets would be written in small ones.
        let mut bytes = Vec::new();
        for set in [&self.added, &self.changed, &self.removed] {
            set.serialize_into(&mut bytes)?;
        }
        out.write_all(&bytes)
    }

    /// Reads the output of [`Sets::write`] for packs with the given row counts; [`Home`] verifies
    /// its checksum. `None` for anything else.
    fn read(file: impl std::io::Read, (lefts, rights): (u32, u32)) -> Option<Self> {
        let mut file = std::io::BufReader::new(file);
        let mut length = [0; 8];
        file.read_exact(&mut length).ok()?;
        let length = Some(u64::from_le_bytes(length)).filter(|length| *length <= LONGEST)?;
        let mut summary = vec![0; usize::try_from(length).ok()?];
        file.read_exact(&mut summary).ok()?;
        let summary = serde_json::from_slice(&summary).ok()?;
        let mut set = |below: u32| {
            let set = RoaringBitmap::deserialize_from(&mut file).ok()?;
            set.max().is_none_or(|last| last < below).then(|| Arc::new(set))
        };
        Some(Self { summary, added: set(rights)?, changed: set(rights)?, removed: set(lefts)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_back_and_others_do_not() {
        let set = |rows: &[u32]| Arc::new(rows.iter().copied().collect::<Ordinals>());
        let summary = Summary { from: "a@1.0.0".into(), ..Summary::default() };
        let sets =
            Sets { summary, added: set(&[1, 70_000]), changed: set(&[]), removed: set(&[3]) };
        let mut bytes = Vec::new();
        sets.write(&mut bytes).expect("written");
        assert_eq!(Sets::read(&bytes[..], (4, 70_001)), Some(sets));
        assert_eq!(Sets::read(&bytes[..], (3, 70_001)), None, "a row too many");
        assert_eq!(Sets::read(&bytes[..], (4, 70_000)), None, "a row too many");
        for end in 0..bytes.len() {
            assert_eq!(Sets::read(&bytes[..end], (4, 70_001)), None, "cut at {end}");
        }
    }
}
