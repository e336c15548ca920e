//! The folder that hosts share: two hosts as two cache folders over one catalog and one folder, which a
//! stranger may write.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dcfs_core::error::{Error, Kind};
use dcfs_core::expr;
use dcfs_core::id::{EntryId, RowId};
use dcfs_core::shared::{Listed, Objects, Seen};
use dcfs_data::catalog::{Catalog, VersionInfo};
use dcfs_data::pack::shared::{self, Rules, Tier, Turn};
use dcfs_data::pack::{Limits, Node, Pack, Packs, names};
use dcfs_data::query::{Queries, Version};
use dcfs_store::Config;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::catalog::{CatalogBuilder, file, row};
use crate::support::http::{Reply, Request, Server, Then};

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
        Self::of((0..rows).map(|n| format!("{}/{n}.jpg", n % 7)))
    }

    /// The same of files at these paths.
    fn of(paths: impl Iterator<Item = String>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let builder = CatalogBuilder::new(dir.path());
        let rows = (0_i64..)
            .zip(paths)
            .map(|(n, path)| row().file(file("s3://b", path.as_str()).size(n)).cell(n % 100));
        let version = builder.dataset("pets").version("1.0.0").file_column("file");
        version.column("width", "INTEGER", "int").rows(rows).save();
        fs::create_dir(dir.path().join("shared")).expect("made");
        Self { dir, builder }
    }

    /// The same of rows whose `sys__id` have gaps, as filters of DataChain leave them.
    fn with_gaps(rows: i64) -> Self {
        let home = Self::new(rows);
        let table = home.builder.table(1);
        home.builder.sql(&format!(
            "DELETE FROM \"{table}\" WHERE sys__id % 3 = 1 OR sys__id BETWEEN 100 AND 700;
             UPDATE datasets_versions SET num_objects = (SELECT count(*) FROM \"{table}\");"
        ));
        home
    }

    fn shared(&self) -> PathBuf {
        self.dir.path().join("shared")
    }

    fn folder(&self) -> Arc<dyn Objects> {
        let prefix = format!("file://{}", self.shared().display());
        let config = Config::new(Duration::from_secs(5));
        dcfs_store::shared::open(&config, &prefix).expect("a folder")
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
        Self::patient(home, may_write, split, None)
    }

    /// The same with a limit for an outage of the folder.
    fn patient(home: &Home, may_write: bool, split: u64, patience: Option<Duration>) -> Self {
        let catalog = Arc::new(Catalog::open(home.builder.path()).expect("a catalog"));
        let of = catalog.versions().expect("versions").remove(0);
        let rules = Rules { may_write, lease: LEASE, split, patience };
        let tier = Tier::new(home.folder(), catalog.clone(), rules);
        let cache = tempfile::tempdir().expect("a folder");
        let tier_of = Some(tier.clone());
        let folder = cache.path().join("cache");
        let packs = Packs::shared(catalog.clone(), folder, Limits::default(), tier_of);
        Self { cache, catalog, of, tier, packs }
    }

    /// Packs of another mount over the same cache.
    fn reopened(&self) -> Packs {
        let folder = self.cache.path().join("cache");
        Packs::shared(self.catalog.clone(), folder, Limits::default(), Some(self.tier.clone()))
    }

    /// The `sys__id` of every row.
    fn ids(&self) -> Vec<i64> {
        let pack = self.pack();
        let ids = pack.ids().expect("the ids");
        (0..pack.row_count()).map(|row| ids.get(row).expect("a row").key()).collect()
    }

    fn pack(&self) -> Arc<Pack> {
        self.try_pack().expect("a pack")
    }

    fn try_pack(&self) -> Result<Arc<Pack>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.packs.get(&self.of))
    }

    /// The pack of another mount over the same cache.
    fn obtain(&self, packs: &Packs) -> Arc<Pack> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(packs.get(&self.of)).expect("a pack")
    }

    /// The same host after its mount ended and another began.
    fn remounted(self) -> Self {
        let packs = self.reopened();
        Self { packs, ..self }
    }

    /// The same host's next process, with so much patience.
    fn restarted(self, home: &Home, patience: Option<Duration>) -> Self {
        let Self { tier, .. } = Self::patient(home, false, 1000, patience);
        Self { tier, ..self }.remounted()
    }

    /// The same host, if a missing object is denied: so does S3 without permission to list a bucket.
    fn denied(self, home: &Home, patience: Option<Duration>) -> Self {
        let prefix = format!("file://{}", home.shared().display());
        let objects = dcfs_store::shared::open(&Config::new(LEASE), &prefix).expect("a folder");
        let rules = Rules { may_write: false, lease: LEASE, split: 1000, patience };
        let tier = Tier::new(Arc::new(Denying(objects)), self.catalog.clone(), rules);
        Self { tier, ..self }.remounted()
    }

    /// The files that say since when the folder is away.
    fn outages(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache.path().join("cache/packs")).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "away")).collect()
    }

    /// Two hours pass in which the folder is away.
    fn wait(&self) {
        let outages = self.outages();
        assert_eq!(outages.len(), 1);
        let file = fs::File::options().write(true).open(&outages[0]).expect("noted");
        let before = SystemTime::now() - Duration::from_secs(7200);
        file.set_modified(before).expect("set");
    }

    /// The number of whole packs in its cache directory.
    fn built(&self) -> usize {
        let entries = fs::read_dir(self.cache.path().join("cache/packs")).into_iter().flatten();
        entries.flatten().filter(|entry| entry.path().join("c0.fst").exists()).count()
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

/// A folder in which a missing object is denied.
struct Denying(Arc<dyn Objects>);

impl Objects for Denying {
    fn place(&self) -> &str {
        self.0.place()
    }

    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>, Error> {
        denied(self.0.get(key, most))
    }

    fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        denied(self.0.get_range(key, range))
    }

    fn put(&self, _: &str, _: Vec<u8>) -> Result<(), Error> {
        Err(Error::new(Kind::Denied, "403"))
    }

    fn create(&self, _: &str, _: Vec<u8>) -> Result<bool, Error> {
        Err(Error::new(Kind::Denied, "403"))
    }

    fn replace(&self, _: &str, _: Vec<u8>, _: &Seen) -> Result<bool, Error> {
        Err(Error::new(Kind::Denied, "403"))
    }

    fn remove(&self, _: &str) -> Result<(), Error> {
        Err(Error::new(Kind::Denied, "403"))
    }

    fn list(&self, _: &str) -> Result<Vec<Listed>, Error> {
        Err(Error::new(Kind::Denied, "403"))
    }
}

fn denied<T>(found: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(None) => Err(Error::new(Kind::Denied, "403")),
        found => found,
    }
}

/// Asks until there is an answer: a folder that failed is left alone for a second.
fn soon<T>(mut ask: impl FnMut() -> Result<T, Error>) -> T {
    let found = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        ask().ok()
    });
    found.expect("an answer")
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
        pack.row_id(59993).expect("no gaps").expect("a row")
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
fn a_small_directory_is_looked_up_and_listed_with_one_request() {
    let home = Home::of((0..20_000).map(|n| format!("{:02}/{:03}.jpg", n / 1000, n % 1000)));
    let builder = Host::splitting(&home, false, 1000);
    builder.pack();
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let reader = Host::splitting(&home, false, 1000);
    let pack = reader.pack();
    let root = pack.root(0).expect("one column");
    let folder = |name: &[u8]| match pack.lookup(root, name, None).expect("read") {
        Some(Node::Dir(dir)) => dir,
        other => panic!("a directory, not {other:?}"),
    };
    // Not neighbours, which share blocks.
    for name in [b"02", b"06", b"10", b"14", b"18"] {
        let (before, mut listed) = (pack.requests(), 0);
        let dir = folder(name);
        assert_eq!(pack.requests() - before, 1);
        pack.list(dir, dir.first, None, &mut |_| {
            listed += 1;
            ControlFlow::Continue(())
        })
        .expect("read");
        assert_eq!(listed, 1000);
        assert!(pack.lookup(dir, b"500.jpg", None).expect("read").is_some());
        assert_eq!(pack.requests() - before, 1, "all of it came with its name");
    }
    assert!(pack.lookup(root, b"no", None).expect("read").is_none());
    // A large directory is not fetched by its name.
    let home = Home::new(ROWS);
    let builder = Host::splitting(&home, false, 1000);
    builder.pack();
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let reader = Host::splitting(&home, false, 1000);
    let pack = reader.pack();
    let bytes = || reader.tier.told().fetched_bytes;
    let before = bytes();
    let root = pack.root(0).expect("one column");
    let Some(Node::Dir(dir)) = pack.lookup(root, b"3", None).expect("read") else {
        panic!("a directory")
    };
    let named = bytes() - before;
    assert!(pack.lookup(dir, b"59993.jpg", None).expect("read").is_some());
    let one = bytes() - before - named;
    assert!(one > 0 && named < 2 * one, "{named} bytes for its name, {one} for one of its files");
}

#[test]
fn names_are_removed_when_the_whole_pack_is_here() {
    let home = Home::new(3000);
    let builder = Host::splitting(&home, false, 1000);
    let (paths, count) = (builder.paths(), builder.count("width > 50"));
    let builder = Host { tier: Host::splitting(&home, true, 1000).tier, ..builder };
    builder.pack().share(&builder.tier.of(&builder.of)).expect("shared");
    let reader = Host::splitting(&home, false, 1000);
    let packs = reader.cache.path().join("cache/packs");
    let there = |ending: &str| {
        let entries = fs::read_dir(&packs).expect("readable").flatten();
        let names = entries.map(|entry| entry.file_name().into_string().expect("a name"));
        names.filter(|name| name.ends_with(ending)).count()
    };
    let files = |folder: &Path| fs::read_dir(folder).map_or(0, |entries| entries.count());
    assert_eq!((reader.paths(), reader.count("width > 50")), (paths.clone(), count));
    let pack = reader.pack();
    let blocks = pack.folder().join(names::BLOCKS);
    assert!(fs::metadata(&blocks).expect("kept").len() > 0);
    pack.bring().expect("the whole pack");
    assert_eq!(fs::metadata(&blocks).expect("kept").len(), 0, "nobody needs it");
    // Another mount of the same host opens the whole pack, while this one uses the folder.
    let whole = reader.obtain(&reader.reopened()).folder().to_owned();
    assert_eq!(there(".names"), 1);
    let columns = files(&pack.folder().join("columns"));
    assert!(columns > 0 && files(&whole.join("columns")) == 0);
    drop(pack);
    let last = reader.remounted();
    soon(|| match there(".names") {
        0 => Ok(()),
        _ => Err(Error::new(Kind::Busy, "still there")),
    });
    assert_eq!(files(&whole.join("columns")), columns, "packed columns stay");
    assert_eq!((last.paths(), last.count("width > 50")), (paths, count));
}

#[test]
fn names_that_cannot_be_read_are_waited_for_and_then_done_without() {
    let home = Home::new(3000);
    let builder = Host::splitting(&home, false, 1000);
    let paths = builder.paths();
    let builder = Host { tier: Host::splitting(&home, true, 1000).tier, ..builder };
    builder.share();
    let away = home.dir.path().join("away");
    let hour = Some(Duration::from_secs(3600));
    let (waiting, open) = [(); 2].map(|()| Host::patient(&home, false, 1000, hour)).into();
    let pack = open.pack();
    assert!(!pack.is_here());
    fs::rename(home.shared(), &away).expect("renamed");
    for _ in 0..3 {
        let error = waiting.try_pack().expect_err("no names");
        assert_eq!(error.kind().codes().0, Kind::Broken.codes().0, "EIO");
        assert!(error.to_string().contains("`patience`"), "{error}");
    }
    let error = pack.entry_of(0, 7).expect_err("neither there nor built");
    assert!(error.to_string().contains("`patience`"), "{error}");
    assert_eq!((waiting.built(), open.built()), (0, 0), "nothing is built meanwhile");
    // A host that has the pack needs no folder, one without patience builds it.
    let ready = builder.remounted();
    assert_eq!((ready.paths(), ready.pack().is_here()), (paths.clone(), true));
    let hasty = Host::patient(&home, false, 1000, Some(Duration::ZERO));
    assert_eq!((hasty.paths(), hasty.built()), (paths.clone(), 1));
    fs::rename(&away, home.shared()).expect("renamed");
    assert!(!soon(|| waiting.try_pack()).is_here());
    assert_eq!((waiting.paths(), waiting.built()), (paths, 0));
    assert_eq!(waiting.outages().len(), 0, "it is over");
}

#[test]
fn all_processes_of_a_host_wait_together_and_once() {
    let home = Home::with_gaps(3000);
    let builder = Host::splitting(&home, false, 1000);
    let (paths, ids) = (builder.paths(), builder.ids());
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let hour = Some(Duration::from_secs(3600));
    let (new, blocks, rows) = [(); 3].map(|()| Host::patient(&home, false, 1000, hour)).into();
    let (open, numbers) = (blocks.pack(), rows.pack());
    let away = home.dir.path().join("away");
    fs::rename(home.shared(), &away).expect("renamed");
    // To open it: each process fails, until patience ends for all of them.
    new.try_pack().expect_err("no names");
    let new = new.restarted(&home, hour);
    new.try_pack().expect_err("no names");
    new.wait();
    let new = new.restarted(&home, hour);
    assert_eq!((new.paths(), new.built()), (paths.clone(), 1), "neither names nor pack");
    assert_eq!(new.outages().len(), 0);
    // To read blocks.
    let entry = EntryId::new(7);
    let error = open.path(entry).expect_err("no blocks");
    assert!(error.to_string().contains("`patience`"), "{error}");
    assert_eq!((blocks.built(), open.is_here()), (0, false));
    blocks.wait();
    assert_eq!(soon(|| open.path(entry)), paths[7]);
    assert_eq!((blocks.built(), open.is_here()), (1, true));
    // What is in the cache directory says nothing of the folder.
    let error = numbers.row_id(5).expect_err("no ids");
    assert!(error.to_string().contains("`patience`"), "{error}");
    drop(numbers);
    let rows = rows.restarted(&home, hour);
    let numbers = rows.pack();
    numbers.row_id(5).expect_err("no ids");
    assert_eq!((rows.built(), rows.outages().len()), (0, 1));
    rows.wait();
    assert_eq!(numbers.row_id(5).expect("built").map(RowId::key), Some(ids[5]));
    assert_eq!((rows.built(), numbers.is_here()), (1, true));
}

#[test]
fn ids_that_could_not_be_read_are_read_when_they_can() {
    let home = Home::with_gaps(3000);
    let builder = Host::splitting(&home, false, 1000);
    let ids = builder.ids();
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let reader = Host::patient(&home, false, 1000, Some(Duration::from_secs(3600)));
    let pack = reader.pack();
    let away = home.dir.path().join("away");
    fs::rename(home.shared(), &away).expect("renamed");
    pack.row_id(5).expect_err("no ids");
    fs::rename(&away, home.shared()).expect("renamed");
    assert_eq!(soon(|| pack.row_id(5)).map(RowId::key), Some(ids[5]));
    assert_eq!((reader.built(), pack.is_here(), reader.outages().len()), (0, false, 0));
}

#[test]
fn a_piece_that_is_gone_is_not_waited_for_where_that_is_denied() {
    let home = Home::with_gaps(3000);
    let builder = Host::splitting(&home, false, 1000);
    let (paths, ids) = (builder.paths(), builder.ids());
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let hour = Some(Duration::from_secs(3600));
    let mut built = 0;
    for object in home.objects() {
        let bytes = fs::read(&object).expect("readable");
        // Without its list nobody can tell what is gone.
        if bytes.starts_with(b"{\"name\":") {
            continue;
        }
        fs::remove_file(&object).expect("removed");
        let reader = Host::patient(&home, false, 1000, hour).denied(&home, hour);
        assert_eq!((reader.ids(), reader.paths()), (ids.clone(), paths.clone()));
        built += reader.built();
        fs::write(&object, &bytes).expect("written");
    }
    assert!(built > 2, "{built}: without its manifest, its top, its blocks, its ids");
}

#[test]
fn ids_with_gaps_are_in_blocks_too() {
    let home = Home::with_gaps(ROWS);
    let builder = Host::splitting(&home, false, 1000);
    let (paths, count) = (builder.paths(), builder.count("width > 50"));
    let wide = builder.count("width > 98");
    let builder = Host { tier: Host::splitting(&home, true, 1000).tier, ..builder };
    builder.share();
    let (whole, reader) = (builder.pack(), Host::splitting(&home, false, 1000));
    let pack = reader.pack();
    assert_eq!((reader.tier.told().fetched, pack.first_of_all()), (3, None));
    assert_eq!(reader.paths(), paths);
    let rows = |pack: &Pack| {
        let entries = (0..paths.len() as u32).step_by(997).map(EntryId::new);
        entries.map(|entry| pack.rows(entry).expect("its rows")).collect::<Vec<_>>()
    };
    assert_eq!(rows(&pack), rows(&whole), "an open needs no map of ids");
    let before = reader.tier.told().fetched;
    assert!(names::hurried(|| pack.row_id(5)).is_none(), "it would wait");
    let ids =
        |pack: &Pack| (0..=pack.row_count()).map(|row| pack.row_id(row)).collect::<Result<_, _>>();
    let known: Vec<_> = ids(&whole).expect("all are here");
    assert_eq!(ids(&pack).expect("fetched"), known);
    let back = |id: i64| (pack.ordinal(RowId::new(id)), whole.ordinal(RowId::new(id)));
    for id in (0..2000).chain(ROWS - 10..ROWS + 10) {
        let (ours, theirs) = back(id);
        assert_eq!(ours.expect("here"), theirs.expect("here"), "row {id}");
    }
    assert_eq!(reader.tier.told().fetched, before + 1, "once");
    assert_eq!((reader.count("width > 50"), reader.count("width > 98")), (count, wide));
    assert!(!pack.is_here() && reader.tier.told().refused == 0);
    // The next mount has them here.
    drop(pack);
    let again = reader.remounted();
    let (pack, before) = (again.pack(), again.tier.told().fetched);
    assert_eq!(ids(&pack).expect("here"), known);
    assert_eq!(again.tier.told().fetched, before);
}

#[test]
fn a_byte_of_any_object_is_noticed_whoever_reads_ids() {
    let home = Home::with_gaps(3000);
    let builder = Host::splitting(&home, false, 1000);
    let (count, ids) = (builder.count("width > 50"), builder.ids());
    Host { tier: Host::splitting(&home, true, 1000).tier, ..builder }.share();
    let (mut refused, objects) = (0, home.objects());
    for object in &objects {
        let bytes = fs::read(object).expect("readable");
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            fs::write(object, &changed).expect("written");
            let reader = Host::splitting(&home, false, 1000);
            assert_eq!(reader.ids(), ids, "byte {at} of {}", object.display());
            assert_eq!(reader.count("width > 50"), count);
            refused += reader.tier.told().refused;
        }
        fs::remove_file(object).expect("removed");
        assert_eq!(Host::splitting(&home, false, 1000).ids(), ids);
        fs::write(object, &bytes).expect("written");
    }
    assert!(refused > objects.len() as u64, "{refused}");
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
    let swept = shared::sweep(&host.tier, day, true, &|_| {}).expect("swept");
    assert_eq!(swept.removed.objects, 0, "all is new");
    for path in [&orphan, &other] {
        let file = fs::File::options().write(true).open(path).expect("opened");
        let written = file.metadata().and_then(|known| known.modified()).expect("a time");
        file.set_modified(written - 2 * day).expect("older");
    }
    let swept = shared::sweep(&host.tier, day, false, &|_| {}).expect("swept");
    assert_eq!((swept.removed.objects, swept.unknown.objects), (1, 1));
    assert!(!orphan.exists() && other.exists());
    assert_eq!(Host::new(&home, false).paths().len(), 300);
    shared::sweep(&host.tier, day, true, &|_| {}).expect("swept");
    assert!(!other.exists());
    let key = host.of.id.key();
    home.builder.remove(key);
    let swept = shared::sweep(&host.tier, day, false, &|_| {}).expect("swept");
    assert_eq!((swept.stays.objects, home.objects()), (0, vec![]), "a version that is removed");
}

/// A folder in which one object cannot be removed.
struct Stuck {
    folder: Arc<dyn Objects>,
    key: String,
}

impl Objects for Stuck {
    fn place(&self) -> &str {
        self.folder.place()
    }

    fn get(&self, key: &str, most: u64) -> Result<Option<Seen>, Error> {
        self.folder.get(key, most)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, Error> {
        self.folder.get_range(key, range)
    }

    fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), Error> {
        self.folder.put(key, bytes)
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool, Error> {
        self.folder.create(key, bytes)
    }

    fn replace(&self, key: &str, bytes: Vec<u8>, seen: &Seen) -> Result<bool, Error> {
        self.folder.replace(key, bytes, seen)
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        match key == self.key {
            true => Err(Error::new(Kind::Denied, "not this".to_owned())),
            false => self.folder.remove(key),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        self.folder.list(folder)
    }
}

#[test]
fn digests_stay_until_all_objects_of_a_removed_version_are_gone() {
    let home = Home::new(300);
    let host = Host::new(&home, true);
    host.share();
    let objects = home.objects();
    let key = objects[0].strip_prefix(home.shared()).expect("below").display().to_string();
    home.builder.remove(host.of.id.key());
    let rules = Rules { may_write: false, lease: LEASE, split: u64::MAX, patience: None };
    let stuck = Arc::new(Stuck { folder: home.folder(), key });
    let tier = Tier::new(stuck, host.catalog.clone(), rules);
    let day = Duration::from_secs(86_400);
    let swept = shared::sweep(&tier, day, false, &|_| {}).expect("swept");
    assert_eq!((swept.removed.objects, swept.failed.objects), (objects.len() as u64 - 1, 1));
    assert_eq!(swept.error.map(|error| error.to_string()).as_deref(), Some("not this"));
    assert_eq!(home.objects(), objects[..1]);
    assert!(!host.catalog.all_shared().expect("digests").is_empty(), "so it is not unknown");
    let swept = shared::sweep(&host.tier, day, false, &|_| {}).expect("swept");
    assert_eq!((swept.removed.objects, swept.failed.objects), (1, 0));
    assert!(swept.error.is_none() && home.objects().is_empty());
    assert_eq!(host.catalog.all_shared().expect("digests"), []);
}

/// The keys of a request to remove objects.
fn asked(request: &Request) -> Vec<String> {
    let body = String::from_utf8(request.body.clone()).expect("a text");
    let keys = body.split("<Key>").skip(1);
    keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
}

/// S3's answer to a request to remove objects, which fails for some.
fn removes(request: &Request, fails: impl Fn(&[String], &str) -> bool) -> Reply {
    let keys = asked(request);
    let told = |key: &String| match fails(&keys, key) {
        true => {
            format!("<Error><Key>{key}</Key><Code>Denied</Code><Message>not this</Message></Error>")
        }
        false => format!("<Deleted><Key>{key}</Key></Deleted>"),
    };
    let told: String = keys.iter().map(told).collect();
    let body = format!("<DeleteResult>{told}</DeleteResult>").into_bytes();
    Reply { status: 200, headers: Vec::new(), body, then: Then::Keep }
}

/// Removes a thousand objects from a bucket: which of them are gone, the error, and the number of requests.
fn removed(
    answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> (Vec<usize>, Result<(), String>, usize) {
    let server = Server::start(answer);
    let timeout = Duration::from_secs(60);
    let config = Config { endpoint_url: Some(server.url()), anon: true, ..Config::new(timeout) };
    let objects = dcfs_store::shared::open(&config, "s3://team/dcfs").expect("a folder");
    let keys: Vec<String> = (0..1000).map(|n| format!("v1/{n}")).collect();
    let (mut gone, mut told) = (Vec::new(), Vec::new());
    let done = objects.remove_all(&keys, &mut |at, is_gone| {
        told.push(at);
        gone.extend(is_gone.then_some(at));
    });
    told.sort_unstable();
    assert!(told.into_iter().eq(0..1000), "each is told of once");
    gone.sort_unstable();
    (gone, done.map_err(|error| error.to_string()), server.requests().len())
}

#[test]
fn many_objects_are_removed_with_few_requests() {
    let (gone, done, requests) = removed(|request, _| {
        assert!(request.target.contains("delete"), "{request:?}");
        removes(request, |_, _| false)
    });
    assert_eq!((gone.len(), done, requests), (1000, Ok(()), 4));
}

#[test]
fn objects_that_cannot_be_removed_are_told_apart() {
    let is_bad = |_: &[String], key: &str| key.ends_with("/7") || key.ends_with("/300");
    let (gone, done, requests) = removed(move |request, _| removes(request, is_bad));
    let others = (0..1000).filter(|at| ![7, 300].contains(at));
    assert!(gone.into_iter().eq(others));
    let error = done.expect_err("two are there");
    assert!(error.contains("not this"), "{error}");
    assert_eq!(requests, 6, "each was tried again by itself");
}

#[test]
fn objects_whose_removal_failed_for_a_moment_are_gone() {
    let is_first = |keys: &[String], key: &str| keys.len() > 1 && keys[0] == key;
    let (gone, done, requests) = removed(move |request, _| removes(request, is_first));
    assert_eq!((gone.len(), done, requests), (1000, Ok(()), 8));
}

#[test]
fn a_bucket_that_refuses_removals_keeps_all() {
    let (gone, done, requests) = removed(|_, _| Reply::refusal(403, "AccessDenied"));
    assert_eq!((gone, requests), (Vec::new(), 4));
    let error = done.expect_err("denied");
    assert!(error.contains("AccessDenied"), "{error}");
}

#[test]
fn an_object_that_makes_a_request_invalid_keeps_no_other() {
    let is_bad = |key: &String| key.ends_with("/7");
    let (gone, done, requests) =
        removed(move |request, _| match asked(request).iter().any(is_bad) {
            true => Reply::refusal(400, "MalformedXML"),
            false => removes(request, |_, _| false),
        });
    assert!(gone.into_iter().eq((0..1000).filter(|at| *at != 7)));
    let error = done.expect_err("one is there");
    assert!(error.contains("MalformedXML"), "{error}");
    assert_eq!(requests, 4 + 256, "each of its request was tried by itself");
}

#[test]
fn a_bucket_that_denies_each_object_is_not_asked_about_every_one() {
    let (gone, done, requests) = removed(|request, _| {
        let reply = removes(request, |_, _| true);
        let body = String::from_utf8(reply.body).expect("a text").replace("Denied", "AccessDenied");
        Reply { body: body.into_bytes(), ..reply }
    });
    assert_eq!((gone, requests), (Vec::new(), 8));
    assert!(done.expect_err("denied").contains("AccessDenied"));
}

#[test]
fn an_answer_about_another_object_concerns_its_request_alone() {
    let (gone, done, _) = removed(|request, _| match asked(request)[0].ends_with("/256") {
        true => {
            let other =
                "<Error><Key>dcfs/other</Key><Code>Denied</Code><Message>no</Message></Error>";
            let body = format!("<DeleteResult>{other}</DeleteResult>").into_bytes();
            Reply { status: 200, headers: Vec::new(), body, then: Then::Keep }
        }
        false => removes(request, |_, _| false),
    });
    assert!(gone.into_iter().eq((0..256).chain(512..1000)));
    assert!(done.is_err());
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
