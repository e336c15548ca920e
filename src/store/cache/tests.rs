//! The cache over a fake store: what is requested once, what is stored, what is detected as damaged.

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::fake::{Fake, expect};
use crate::line::Line;
use crate::memory::Memory;
use crate::stream::Stream;

const KEY: Key = Key([0xab; 16]);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    runtime.unwrap().block_on(test)
}

/// A cache that stores everything in blocks, so that a few bytes are many blocks.
fn cache(folder: &Path, size: u64) -> Cache {
    let mut cache = with_files(folder, size);
    cache.small = 0;
    cache
}

/// A cache that stores small objects as files.
fn with_files(folder: &Path, size: u64) -> Cache {
    Cache::new(&CacheConfig { folder: folder.to_owned(), size, free: 0, open: 16 })
}

fn open(cache: &Cache, key: Key, size: u64) -> (Arc<Fake>, Arc<Cached>) {
    let fake = Arc::new(Fake::default());
    let entry = cache.entry(key, size).expect("an entry");
    (fake.clone(), Arc::new(Cached::new(cache, entry, fake)))
}

async fn read(cached: &Arc<Cached>, range: Range<u64>) -> Vec<u8> {
    cached.clone().get(range).await.expect("bytes").to_vec()
}

/// Fetches all of an object of `size` into `folder`.
fn filled(folder: &Path, size: u64) {
    run(async {
        let cache = cache(folder, u64::MAX);
        let (_, cached) = open(&cache, KEY, size);
        read(&cached, 0..size).await;
        cache.settled().await;
    });
}

#[test]
fn upkeep_counts_verifies_and_clears() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 3 * BLOCK);
    let usage = upkeep::usage(folder.path());
    assert!(usage.objects == 1 && usage.bytes >= 3 * BLOCK, "{usage:?}");
    let verify = || upkeep::verify(folder.path(), &mut |_| ()).unwrap();
    let whole = upkeep::Verified { objects: 1, blocks: 3, damaged: 0 };
    assert_eq!(verify(), whole);
    let data = OpenOptions::new().write(true).open(file(folder.path(), "data")).unwrap();
    data.write_all_at(b"damage", BLOCK + 5).unwrap();
    assert_eq!(verify(), upkeep::Verified { damaged: 1, ..whole });
    assert_eq!(verify(), upkeep::Verified { blocks: 2, ..whole });
    let cache = cache(folder.path(), u64::MAX);
    let held = cache.entry(KEY, 3 * BLOCK);
    assert_eq!(upkeep::clear(folder.path()).unwrap().in_use.objects, 1);
    drop(held);
    assert_eq!(upkeep::clear(folder.path()).unwrap().removed.objects, 1);
    assert_eq!(upkeep::usage(folder.path()).objects, 0);
}

fn file(folder: &Path, name: &str) -> std::path::PathBuf {
    let key = KEY.to_string();
    folder.join("objects").join(&key[..2]).join(&key[2..]).join(name)
}

const LARGE: u64 = CHECKED_AT_OPEN + 3 * BLOCK + 5;

fn entry(folder: &Path) -> Arc<Entry> {
    cache(folder, u64::MAX).entry(KEY, LARGE).expect("an entry").0
}

#[test]
fn what_was_whole_is_so_for_the_next_mount_until_somebody_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), LARGE);
    let found = entry(folder.path());
    let blocks = found.large().unwrap();
    assert!(blocks.is_sealed() && !blocks.is_checked() && found.whole().is_some());
    let path = file(folder.path(), "data");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let data = OpenOptions::new().write(true).open(&path).unwrap();
    data.write_all_at(b"damage", BLOCK + 5).unwrap();
    data.set_modified(modified).unwrap();
    assert!(found.whole().is_none() && entry(folder.path()).whole().is_none());
    run(async {
        let cache = cache(folder.path(), u64::MAX);
        let (_, cached) = open(&cache, KEY, LARGE);
        assert_eq!(read(&cached, 0..LARGE).await, expect(0, LARGE, LARGE));
        cache.settled().await;
    });
    assert!(entry(folder.path()).large().unwrap().is_sealed(), "mended, it is whole again");
}

#[test]
fn damage_that_no_time_tells_of_is_found_behind() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), LARGE);
    let data = OpenOptions::new().write(true).open(file(folder.path(), "data")).unwrap();
    data.write_all_at(b"damage", 5 * BLOCK).unwrap();
    let map = OpenOptions::new().read(true).write(true).open(file(folder.path(), "map"));
    let map = map::Map::of(map.unwrap(), KEY, LARGE).unwrap().unwrap();
    map.set_seal(trust::Seal::of(&data)).unwrap();
    let found = entry(folder.path());
    assert!(found.whole().is_some());
    assert_eq!(found.large().unwrap().compare(0), None);
    assert!(found.whole().is_none() && map.seal().is_none());
    assert!(found.lacks_now(&(5 * BLOCK..6 * BLOCK)) && !found.lacks_now(&(0..BLOCK)));
}

#[test]
fn small_objects_are_not_marked() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 3 * BLOCK);
    let (found, _) = cache(folder.path(), u64::MAX).entry(KEY, 3 * BLOCK).unwrap();
    assert!(found.large().is_none() && found.whole().is_none());
}

#[test]
fn what_is_kept_is_not_asked_for_again() {
    for size in [0, 1, BLOCK, 3 * BLOCK + 5] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), size);
        run(async {
            let cache = cache(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, size);
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
            assert_eq!(fake.requests(), (0, 0), "{size}");
        });
    }
}

#[test]
fn a_read_fetches_its_blocks_and_many_readers_fetch_them_once() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let size = 10 * BLOCK - 1;
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, size);
        let at = 4 * BLOCK + 9;
        let reads = (0..20).map(|_| read(&cached, at..at + 10));
        for bytes in join_all(reads).await {
            assert_eq!(bytes, expect(at, 10, size));
        }
        assert_eq!(fake.requests(), (1, BLOCK));
        assert_eq!(read(&cached, 3 * BLOCK..size).await, expect(3 * BLOCK, size, size));
        assert_eq!(fake.requests(), (3, 7 * BLOCK - 1));
    });
}

/// Random reads of every second block of the second stretch of an object, each kept before the next.
async fn scattered(cache: &Cache, fake: &Fake, stream: &Stream, line: &Arc<Line>, size: u64) {
    // Backwards: what is a little further on than the last read counts as reading in order.
    for (read, half) in (32..64).rev().enumerate() {
        let block = half * 2;
        stream.complete((block + 2) * BLOCK, line);
        let at = block * BLOCK + 7;
        assert_eq!(stream.read(at, 100).await.expect("bytes"), expect(at, 100, size));
        assert_eq!(
            fake.requests(),
            (read + 1, (read as u64 + 1) * BLOCK),
            "nothing but what was asked"
        );
        cache.settled().await;
    }
}

#[test]
fn random_reads_are_exact_until_half_of_a_stretch_is_here_and_then_one_request_brings_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let size = 64 << 20;
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, size);
        let (memory, line) = (Arc::new(Memory::new(1 << 30)), Arc::default());
        let stream = Stream::new(cached.clone(), 0, size, memory);
        scattered(&cache, &fake, &stream, &line, size).await;
        stream.complete(64 * BLOCK, &line);
        let whole = 64 * BLOCK..128 * BLOCK;
        while cached.runs(&whole).await.expect("runs").len() > 1 {
            tokio::task::yield_now().await;
        }
        let asked = (33, (32 + 63) * BLOCK);
        assert_eq!(fake.requests(), asked, "from the first missing block to the last, at once");
        for block in [127, 65, 91, 100] {
            // Each by a reader of its own: none of them reads in order.
            let (at, memory) = (block * BLOCK + 1, Arc::new(Memory::new(1 << 30)));
            let stream = Stream::new(cached.clone(), 0, size, memory);
            assert_eq!(stream.read(at, 9).await.expect("bytes"), expect(at, 9, size));
            stream.complete(at, &line);
        }
        cache.settled().await;
        assert_eq!(fake.requests(), asked);
    });
}

#[test]
fn after_a_failure_nothing_is_completed_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let size = 64 << 20;
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, size);
        let (memory, line) = (Arc::new(Memory::new(1 << 30)), Arc::default());
        let stream = Stream::new(cached.clone(), 0, size, memory);
        scattered(&cache, &fake, &stream, &line, size).await;
        assert!(cached.clone().rest(64 * BLOCK).is_some());
        fake.failures.store(1, Ordering::SeqCst);
        stream.complete(64 * BLOCK, &line);
        while cached.clone().rest(64 * BLOCK).is_some() {
            tokio::task::yield_now().await;
        }
        let asked = fake.requests();
        assert_eq!(asked.0, 33, "one request failed");
        stream.complete(64 * BLOCK, &line);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(fake.requests(), asked);
        let at = 65 * BLOCK + 1;
        assert_eq!(stream.read(at, 9).await.expect("bytes"), expect(at, 9, size));
    });
}

#[test]
fn a_stretch_is_no_longer_once_half_of_the_object_is_here() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let size = 4 << 20;
        let cache = cache(folder.path(), u64::MAX);
        let (_, cached) = open(&cache, KEY, size);
        read(&cached, 0..3 << 20).await;
        read(&cached, 3 << 20..(3 << 20) + (1 << 19)).await;
        cache.settled().await;
        let rest = cached.clone().rest(3 << 20).expect("half of it is here");
        assert_eq!(rest.bytes, 1 << 20);
        assert!(cached.clone().rest(0).is_none(), "all of it is here");
    });
}

#[test]
fn nothing_is_completed_for_who_reads_in_order_or_without_memory() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let size = 64 << 20;
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, size);
        let line = Arc::default();
        let tight = Stream::new(cached.clone(), 0, size, Arc::new(Memory::new(1 << 19)));
        scattered(&cache, &fake, &tight, &line, size).await;
        tight.complete(64 * BLOCK, &line);
        let ordered = Stream::new(cached.clone(), 0, size, Arc::new(Memory::new(1 << 30)));
        ordered.read(0, 10).await.expect("bytes");
        let asked = fake.requests();
        ordered.complete(64 * BLOCK, &line);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        cache.settled().await;
        assert_eq!(fake.requests(), asked);
    });
}

#[test]
fn a_failure_is_told_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, 100);
        fake.failures.store(1, Ordering::SeqCst);
        let reads = join_all((0..5).map(|_| cached.clone().get(0..100))).await;
        assert_eq!(reads.iter().filter(|read| read.is_err()).count(), 1);
        assert_eq!(fake.requests().0, 2);
    });
}

#[test]
fn damaged_and_foreign_files_are_fetched_again() {
    type Harm = fn(&Path);
    let write = |name: &'static str, at: u64| {
        move |folder: &Path| {
            let file = OpenOptions::new().write(true).open(file(folder, name)).unwrap();
            file.write_all_at(&[0x55; 4], at).unwrap();
        }
    };
    let shorter: Harm = |folder| {
        OpenOptions::new().write(true).open(file(folder, "data")).unwrap().set_len(7).unwrap();
    };
    let no_map: Harm = |folder| fs::remove_file(file(folder, "map")).unwrap();
    let no_data: Harm = |folder| fs::remove_file(file(folder, "data")).unwrap();
    let link: Harm = |folder| {
        fs::remove_file(file(folder, "data")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", file(folder, "data")).unwrap();
    };
    let harms: [&dyn Fn(&Path); 9] = [
        &write("data", BLOCK + 3),
        &write("data", 0),
        &write("map", 128),
        &write("map", 128 + 4),
        &write("map", 3),
        &shorter,
        &no_map,
        &no_data,
        &link,
    ];
    let size = 2 * BLOCK + 77;
    for (number, harm) in harms.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), size);
        harm(folder.path());
        run(async {
            let cache = cache(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, size);
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
            assert!(fake.requests().0 > 0, "{number}");
            cache.settled().await;
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
            assert_eq!(fake.requests().0, 1, "{number}");
        });
    }
}

/// The place of the object in a folder.
fn place(folder: &Path) -> PathBuf {
    file(folder, "").components().collect()
}

/// Fetches a small object into `folder`, as a file.
fn filled_small(folder: &Path, size: u64) {
    run(async {
        let cache = with_files(folder, u64::MAX);
        let (fake, cached) = open(&cache, KEY, size);
        assert!(!place(folder).exists(), "nothing is made before the bytes are here");
        assert_eq!(read(&cached, 0..size.min(1)).await, expect(0, size.min(1), size));
        cache.settled().await;
        assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
        assert_eq!(fake.requests(), (1, size));
        assert!(place(folder).is_file() && open(&cache, KEY, size).1.entry.whole().is_some());
    });
}

#[test]
fn a_small_object_is_a_file_that_the_next_mount_finds() {
    for size in [0, 1, BLOCK, SMALL] {
        let folder = tempfile::tempdir().unwrap();
        filled_small(folder.path(), size);
        run(async {
            let (one, two) = (with_files(folder.path(), 1 << 30), with_files(folder.path(), 1));
            for cache in [&one, &two] {
                let (fake, cached) = open(cache, KEY, size);
                assert_eq!(read(&cached, 0..size).await, expect(0, size, size));
                assert_eq!(fake.requests(), (0, 0), "{size}");
            }
        });
        let whole = upkeep::Verified { objects: 1, blocks: 1, damaged: 0 };
        assert_eq!(upkeep::verify(folder.path(), &mut |_| ()).unwrap(), whole);
    }
}

#[test]
fn a_small_object_that_is_damaged_or_left_over_is_fetched_again() {
    type Harm = fn(&Path);
    let harms: [Harm; 6] = [
        |file| OpenOptions::new().write(true).open(file).unwrap().write_all_at(b"x", 9).unwrap(),
        |file| OpenOptions::new().write(true).open(file).unwrap().set_len(7).unwrap(),
        |file| OpenOptions::new().write(true).open(file).unwrap().set_len(1 << 40).unwrap(),
        |file| fs::remove_file(file).unwrap(),
        // The state after a kill: no mark.
        |file| {
            let whole = fs::read(file).unwrap();
            fs::remove_file(file).unwrap();
            fs::write(file, whole).unwrap();
        },
        |file| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/dev/zero", file).unwrap();
        },
    ];
    let size = BLOCK + 77;
    for (number, harm) in harms.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        filled_small(folder.path(), size);
        harm(&place(folder.path()));
        run(async {
            let cache = with_files(folder.path(), u64::MAX);
            let (fake, cached) = open(&cache, KEY, size);
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
            cache.settled().await;
            assert_eq!(read(&cached, 0..size).await, expect(0, size, size), "{number}");
            assert_eq!(fake.requests().0, 1, "{number}");
        });
    }
}

#[test]
fn what_two_mounts_fetch_at_a_time_is_kept_once_and_found_by_both() {
    let (folder, size) = (tempfile::tempdir().unwrap(), BLOCK);
    run(async {
        let caches = [(); 2].map(|()| with_files(folder.path(), u64::MAX));
        let opened = caches.each_ref().map(|cache| open(cache, KEY, size));
        for (fake, cached) in &opened {
            assert_eq!(read(cached, 0..size).await, expect(0, size, size));
            assert_eq!(fake.requests().0, 1);
            caches[0].settled().await;
            caches[1].settled().await;
        }
        for (_, cached) in &opened {
            assert!(cached.entry.is_here());
        }
    });
}

#[test]
fn a_lock_is_kept_a_moment_after_the_last_use_and_given_up_for_room() {
    let (folder, size) = (tempfile::tempdir().unwrap(), 10);
    filled_small(folder.path(), size);
    let cache = with_files(folder.path(), u64::MAX);
    let is_unused = || {
        let file = OpenOptions::new().write(true).open(place(folder.path())).unwrap();
        // Unlocked explicitly, as in `small`.
        file.try_lock().is_ok() && file.unlock().is_ok()
    };
    let held = cache.entry(KEY, size).expect("an entry");
    cache.opened.let_go();
    assert!(!is_unused());
    drop(held);
    cache.opened.let_go();
    assert!(is_unused());
    let held = cache.entry(KEY, size).expect("an entry, locked anew");
    assert!(!is_unused());
    drop(held);
    assert_eq!(upkeep::clear(folder.path()).unwrap().removed.objects, 1);
    assert!(cache.entry(KEY, size).is_some_and(|(entry, _)| !entry.is_here()));
}

#[test]
fn hurried_work_changes_nothing_on_disk() {
    let (folder, size) = (tempfile::tempdir().unwrap(), BLOCK + 77);
    let hurried = |cache: &Cache, size: u64| cancel::hurried(|| cache.entry(KEY, size));
    let is_here = |held: &Option<(Arc<Entry>, Hold)>| held.as_ref().map(|(one, _)| one.is_here());
    // Nothing is created.
    let held = hurried(&with_files(folder.path(), u64::MAX), size);
    assert_eq!(is_here(&held), Some(false));
    drop(held);
    assert!(hurried(&cache(folder.path(), u64::MAX), LARGE).is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // What is found is noted as used only after its last use.
    filled_small(folder.path(), size);
    let path = place(folder.path());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    file.set_modified(long_ago).unwrap();
    let modified = || fs::metadata(&path).unwrap().modified().unwrap();
    let cache = with_files(folder.path(), u64::MAX);
    let held = hurried(&cache, size);
    assert!(is_here(&held) == Some(true) && modified() == long_ago);
    drop(held);
    cache.opened.let_go();
    assert!(modified() > long_ago);
    drop(cache);
    // Damage is left to others.
    file.write_all_at(b"x", 9).unwrap();
    let cache = with_files(folder.path(), u64::MAX);
    let (entry, _hold) = hurried(&cache, size).expect("a file");
    cancel::hurried(|| entry.check());
    assert!(entry.whole().is_none() && path.exists());
    assert!(entry.read_now(&(0..size)).is_none() && entry.read(&(0..size)).is_none());
    assert!(!path.exists() && !entry.is_here());
    // So is a file without a mark.
    fs::write(&path, [0_u8; 99]).unwrap();
    let cache = with_files(folder.path(), u64::MAX);
    assert!(hurried(&cache, size).is_none() && path.exists());
    assert_eq!(is_here(&cache.entry(KEY, size)), Some(false));
    assert!(!path.exists() && cache.room.has_room());
}

#[test]
fn files_of_another_object_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 100);
    run(async {
        let cache = cache(folder.path(), u64::MAX);
        let (fake, cached) = open(&cache, KEY, 99);
        assert_eq!(read(&cached, 0..99).await, expect(0, 99, 99));
        assert_eq!(fake.requests(), (1, 99));
    });
}

#[test]
fn without_room_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("objects"), "in the way").unwrap();
    let cache = cache(folder.path(), u64::MAX);
    assert!(cache.entry(KEY, 10).is_none());
    assert!(super::tests::cache(folder.path(), 0).entry(KEY, 10).is_none());
}

#[test]
fn an_object_too_large_for_the_disk_leaves_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), u64::MAX);
    for size in [u64::MAX, i64::MAX as u64, 1 << 62] {
        assert!(cache.entry(Key([1; 16]), size).is_none(), "{size}");
    }
    assert!(cache.room.has_room() && cache.entry(KEY, 10).is_some());
}

#[test]
fn the_longest_unused_goes_first_and_what_is_open_stays() {
    let folder = tempfile::tempdir().unwrap();
    let key = |n: u8| Key([n; 16]);
    let age = |n: u8| std::time::SystemTime::now() - std::time::Duration::from_secs(n.into());
    run(async {
        let all = cache(folder.path(), u64::MAX);
        for n in 1..=9 {
            let (_, cached) = open(&all, key(n), 100_000);
            read(&cached, 0..100_000).await;
            all.settled().await;
            let map = folder.path().join("objects").join(format!("{n:02x}"));
            let map = map.join(format!("{n:02x}").repeat(15)).join("map");
            OpenOptions::new().write(true).open(map).unwrap().set_modified(age(n)).unwrap();
        }
        let held = open(&all, key(9), 100_000);
        all.opened.let_go();
        room::make_room(&folder.path().join("objects"), 500_000, 0);
        drop(held);
    });
    let left = room::kept(&folder.path().join("objects"));
    assert!(left.iter().map(|one| one.bytes).sum::<u64>() <= 500_000);
    let names: Vec<_> = left.iter().map(|one| one.folder.clone()).collect();
    let is_left =
        |n: u8| names.iter().any(|f| f.to_string_lossy().ends_with(&format!("{n:02x}").repeat(15)));
    assert!(is_left(9) && is_left(1) && !is_left(8) && !is_left(7), "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_reads_of_any_openings_are_right(
        size in 1..4 * BLOCK,
        rounds in prop::collection::vec(
            (prop::collection::vec((0..4 * BLOCK, 1..100_000_u64), 1..6), 0..2_usize), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (reads, failures) in rounds {
            run(async {
                let cache = cache(folder.path(), u64::MAX);
                let (fake, cached) = open(&cache, KEY, size);
                fake.failures.store(failures, Ordering::SeqCst);
                let got = join_all(reads.iter().map(|(at, n)| {
                    let at = *at.min(&(size - 1));
                    cached.clone().get(at..(at + n).min(size))
                })).await;
                for (bytes, (at, n)) in got.into_iter().zip(&reads) {
                    match bytes {
                        Ok(bytes) => assert_eq!(bytes, expect(*at.min(&(size - 1)), *n, size)),
                        Err(_) => assert!(failures > 0),
                    }
                }
            });
        }
    }
}
