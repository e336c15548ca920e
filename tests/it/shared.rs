//! The folder that hosts share: two hosts as two cache folders over one catalog and one folder, which a
//! stranger may write.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dcfs_core::expr;
use dcfs_core::id::EntryId;
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::shared::{self, Rules, Tier, Turn};
use dcfs_data::pack::{Limits, Node, Pack, Packs, names};
use dcfs_data::query::{Queries, Version};
use dcfs_store::Config;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::catalog::{CatalogBuilder, file, row};

/// How long hosts wait for a dead one.
const LEASE: Duration = Duration::from_secs(1);

/// Number of rows: enough that a set of them is worth keeping.
const ROWS: i64 = 60_000;

/// A catalog of one version, and the folder that hosts share.
struct Home {
    dir: TempDir,
    builder: CatalogBuilder,
}

impl Home {
    fn new(rows: i64) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let builder = CatalogBuilder::new(dir.path());
        let rows = (0..rows).map(|n| {
            row().file(file("s3://b", format!("{}/{n}.jpg", n % 7).as_str()).size(n)).cell(n % 100)
        });
        let version = builder.dataset("pets").version("1.0.0").file_column("file");
        version.column("width", "INTEGER", "int").rows(rows).save();
        fs::create_dir(dir.path().join("shared")).expect("made");
        Self { dir, builder }
    }

    fn shared(&self) -> PathBuf {
        self.dir.path().join("shared")
    }

    /// Every shared object, in order.
    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.shared()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("readable").flatten() {
                match entry.path().is_dir() {
                    true => open.push(entry.path()),
                    false => found.push(entry.path()),
                }
            }
        }
        found.sort();
        found
    }
}

/// One host, with a cache of its own.
struct Host {
    cache: TempDir,
    catalog: Arc<Catalog>,
    of: VersionInfo,
    tier: Arc<Tier>,
    packs: Packs,
}

impl Host {
    fn new(home: &Home, may_write: bool) -> Self {
        Self::splitting(home, may_write, u64::MAX)
    }

    /// A host for which versions of `split` rows are large.
    fn splitting(home: &Home, may_write: bool, split: u64) -> Self {
        let catalog = Arc::new(Catalog::open(home.builder.path()).expect("a catalog"));
        let of = catalog.versions().expect("versions").remove(0);
        let prefix = format!("file://{}", home.shared().display());
        let config = Config::new(Duration::from_secs(5));
        let objects = dcfs_store::shared::open(&config, &prefix).expect("a folder");
        let tier = Tier::new(objects, catalog.clone(), Rules { may_write, lease: LEASE, split });
        let cache = tempfile::tempdir().expect("a folder");
        let tier_of = Some(tier.clone());
        let folder = cache.path().join("cache");
        let packs = Packs::shared(catalog.clone(), folder, Limits::default(), tier_of);
        Self { cache, catalog, of, tier, packs }
    }

    fn pack(&self) -> Arc<Pack> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.packs.get(&self.of)).expect("a pack")
    }

    /// Every path, in order.
    fn paths(&self) -> Vec<Vec<u8>> {
        let pack = self.pack();
        let entries = pack.columns()[0].entries.clone();
        entries.map(|entry| pack.path(EntryId::new(entry)).expect("a path")).collect()
    }

    /// How many rows a filter selects.
    fn count(&self, filter: &str) -> u64 {
        let (pack, schema) = (self.pack(), self.catalog.schema(&self.of).expect("a schema"));
        let query = expr::check(filter, &schema).expect("a filter");
        let version = Version { catalog: &self.catalog, of: &self.of, pack: &pack, each: &|_| {} };
        Queries::default().select(version, &query, None).expect("rows").rows.len()
    }

    /// Shares everything that this host has.
    fn share(&self) {
        let (pack, schema) = (self.pack(), self.catalog.schema(&self.of).expect("a schema"));
        let version = Version { catalog: &self.catalog, of: &self.of, pack: &pack, each: &|_| {} };
        let query = expr::check("width > 50", &schema).expect("a filter");
        let with = self.tier.of(&self.of);
        Queries::default().share(version, &query, &with).expect("shared");
        pack.share(&with).expect("shared");
    }
}

#[test]
fn what_one_host_shares_another_reads() {
    let home = Home::new(ROWS);
    let builder = Host::new(&home, false);
    let (paths, count) = (builder.paths(), builder.count("width > 50"));
    let builder = Host { tier: Host::new(&home, true).tier, ..builder };
    builder.share();
    let reader = Host::new(&home, false);
    assert_eq!((reader.paths(), reader.count("width > 50")), (paths, count));
    let told = reader.tier.told();
    assert!(told.fetched > 3 && told.put == 0 && told.refused == 0, "{told:?}");
    // Its columns too, for a new filter.
    let before = reader.tier.told().fetched;
    assert_eq!(reader.count("width > 98"), 600);
    assert!(reader.tier.told().fetched > before, "the column came from there");
    assert!(reader.cache.path().join("cache/packs").is_dir());
}

#[test]
fn names_in_blocks_are_enough_until_the_pack_is_needed() {
    let home = Home::new(ROWS);
    let builder = Host::splitting(&home, false, 1000);
    let (paths, count) = (builder.paths(), builder.count("width > 50"));
    let builder = Host { tier: Host::splitting(&home, true, 1000).tier, ..builder };
    builder.share();
    let reader = Host::splitting(&home, false, 1000);
    let pack = reader.pack();
    assert_eq!((pack.requests(), reader.tier.told().fetched), (0, 3), "a list and two files");
    let root = pack.root(0).expect("one column");
    let Some(Node::Dir(dir)) = pack.lookup(root, b"3", None).expect("read") else {
        panic!("a directory")
    };
    let before = pack.requests();
    let Some(Node::File(entry)) = pack.lookup(dir, b"59993.jpg", None).expect("read") else {
        panic!("a file")
    };
    assert_eq!(pack.requests() - before, 1, "a cold look-up is one range read");
    assert_eq!(pack.facts(entry).expect("in the same block").size, Some(59993));
    assert_eq!(
        pack.first_row(entry).expect("in the same block"),
        pack.row_id(59993).expect("a row")
    );
    assert_eq!(pack.requests() - before, 1);
    let (before, mut listed) = (pack.requests(), 0);
    pack.list(root, root.first, None, &mut |_| {
        listed += 1;
        ControlFlow::Continue(())
    })
    .expect("read");
    assert_eq!(listed, 7);
    assert!(pack.requests() - before <= 2, "directories by themselves");
    assert!(names::hurried(|| pack.lookup(dir, b"40009.jpg", None)).is_none(), "it would wait");
    assert!(names::hurried(|| pack.lookup(dir, b"59993.jpg", None)).is_some());
    assert_eq!(reader.paths(), paths);
    assert_eq!(reader.count("width > 50"), count, "rows need no names");
    assert!(!pack.is_here());
    let of = |pack: &Pack, row| pack.entry_of(0, row).expect("read").map(|entry| entry.number());
    assert_eq!(of(&pack, 7), of(&builder.pack(), 7));
    assert!(pack.is_here(), "the whole pack was fetched");
    assert_eq!(reader.paths(), paths);
    assert_eq!(reader.tier.told().refused, 0);
}

#[test]
fn a_byte_of_any_object_is_noticed_whoever_reads_blocks() {
    let home = Home::new(3000);
    let builder = Host::splitting(&home, false, 1000);
    let paths = builder.paths();
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let (mut refused, objects) = (0, home.objects());
    for object in &objects {
        let bytes = fs::read(object).expect("readable");
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            fs::write(object, &changed).expect("written");
            let reader = Host::splitting(&home, false, 1000);
            assert_eq!(reader.paths(), paths, "byte {at} of {}", object.display());
            refused += reader.tier.told().refused;
        }
        fs::remove_file(object).expect("removed");
        assert_eq!(Host::splitting(&home, false, 1000).paths(), paths);
        fs::write(object, &bytes).expect("written");
    }
    assert!(refused > objects.len() as u64, "{refused}");
}

#[test]
fn a_host_that_may_write_shares_what_it_builds_once() {
    let home = Home::new(300);
    let hosts: Vec<Host> = (0..3).map(|_| Host::new(&home, true)).collect();
    let all: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = hosts.iter().map(|host| scope.spawn(|| host.paths())).collect();
        asked.into_iter().map(|host| host.join().expect("no panic")).collect()
    });
    assert!(all.iter().all(|paths| *paths == all[0] && paths.len() == 300));
    let writers = hosts.iter().filter(|host| host.tier.told().put > 0).count();
    assert_eq!(writers, 1, "one builds, the others wait");
}

#[test]
fn a_lease_of_the_dead_is_taken_over() {
    let home = Home::new(300);
    let host = Host::new(&home, true);
    let with = host.tier.of(&host.of);
    let Turn::Ours(lease) = with.turn("pack/x", LEASE) else { panic!("nobody has it") };
    let object = home.objects().pop().expect("a lease");
    let bytes = fs::read(&object).expect("readable");
    drop(lease);
    assert!(!object.exists(), "who is done removes it");
    fs::write(&object, bytes).expect("written");
    let reader = Host::new(&home, false);
    let turn = reader.tier.of(&reader.of).turn("pack/x", LEASE * 60);
    assert!(matches!(turn, Turn::Nobody), "who may not write builds for itself: {turn:?}");
    let turn = with.turn("pack/x", LEASE * 60);
    assert!(matches!(turn, Turn::Ours(_)), "{turn:?}");
}

#[test]
fn a_folder_that_is_gone_is_done_without() {
    let home = Home::new(300);
    fs::remove_dir(home.shared()).expect("removed");
    let host = Host::new(&home, false);
    assert_eq!(host.paths().len(), 300);
    assert!(!host.tier.told().is_there);
}

#[test]
fn only_what_nobody_needs_is_swept() {
    let home = Home::new(300);
    Host::new(&home, true).share();
    let host = Host::new(&home, false);
    let folder = home.objects()[0].parent().expect("a folder").to_path_buf();
    let (orphan, other) = (folder.join("0".repeat(64)), home.shared().join("v1/abc/def"));
    fs::create_dir_all(other.parent().expect("a folder")).expect("made");
    for path in [&orphan, &other] {
        fs::write(path, "x").expect("written");
    }
    let status = shared::status(&host.tier).expect("a status");
    assert_eq!(status.unknown.objects, 1);
    let day = Duration::from_secs(86_400);
    let swept = shared::sweep(&host.tier, day, true).expect("swept");
    assert_eq!(swept.removed.objects, 0, "all is new");
    for path in [&orphan, &other] {
        let file = fs::File::options().write(true).open(path).expect("opened");
        let written = file.metadata().and_then(|known| known.modified()).expect("a time");
        file.set_modified(written - 2 * day).expect("older");
    }
    let swept = shared::sweep(&host.tier, day, false).expect("swept");
    assert_eq!((swept.removed.objects, swept.unknown.objects), (1, 1));
    assert!(!orphan.exists() && other.exists());
    assert_eq!(Host::new(&home, false).paths().len(), 300);
    shared::sweep(&host.tier, day, true).expect("swept");
    assert!(!other.exists());
    let key = host.of.id.key();
    home.builder.remove(key);
    let swept = shared::sweep(&host.tier, day, false).expect("swept");
    assert_eq!((swept.stays.objects, home.objects()), (0, vec![]), "a version that is removed");
}

/// A change to an object by a stranger, or by a bad disk.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip(usize, u8),
    Cut(usize),
    Grow,
    Remove,
    /// The bytes of another object.
    Swap(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (any::<usize>(), 1_u8..).prop_map(|(at, by)| Harm::Flip(at, by)),
        1 => any::<usize>().prop_map(Harm::Cut),
        1 => Just(Harm::Grow),
        1 => Just(Harm::Remove),
        1 => any::<usize>().prop_map(Harm::Swap),
    ]
}

fn harmed(objects: &[PathBuf], object: &Path, harm: Harm) {
    let mut bytes = fs::read(object).expect("readable");
    match harm {
        Harm::Flip(at, by) => {
            let at = at % bytes.len();
            bytes[at] ^= by;
        }
        Harm::Cut(to) => bytes.truncate(to % bytes.len()),
        Harm::Grow => bytes.push(0),
        Harm::Swap(other) => bytes = fs::read(&objects[other % objects.len()]).expect("readable"),
        Harm::Remove => {
            fs::remove_file(object).expect("removed");
            return;
        }
    }
    fs::write(object, bytes).expect("written");
}

#[test]
fn a_wrong_byte_anywhere_is_never_seen() {
    let home = Home::new(ROWS);
    let builder = Host::new(&home, false);
    let want = (builder.paths(), builder.count("width > 50"), builder.count("width > 98"));
    Host { tier: Host::new(&home, true).tier, ..builder }.share();
    let objects = home.objects();
    let whole: Vec<Vec<u8>> = objects.iter().map(|o| fs::read(o).expect("readable")).collect();
    let cases = (any::<usize>(), harm());
    let config =
        ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((which, harm) in cases)| {
        let which = which % objects.len();
        harmed(&objects, &objects[which], harm);
        let host = Host::new(&home, false);
        let got = (host.paths(), host.count("width > 50"), host.count("width > 98"));
        fs::write(&objects[which], &whole[which]).expect("mended");
        prop_assert!(got == want, "{harm:?} of {}", objects[which].display());
    });
}
