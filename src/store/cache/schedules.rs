//! The cache and the streams over it, under many schedules: readers open, read, give up and close, requests are slow
//! or fail, in an order chosen by a seed. Everything runs on one thread, so that a failing schedule can be
//! repeated.

use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, join_all, select};

use super::*;
use crate::fake::{Fake, expect};
use crate::memory::Memory;
use crate::stream::Stream;

/// Number of schedules to try; each takes some milliseconds.
const SCHEDULES: u64 = 150;

/// Number of concurrent readers, and how often each of them opens an object.
const READERS: u64 = 5;
const OPENINGS: u64 = 4;

/// Sizes of the objects: empty, less than a block, one block, several and a part.
const SIZES: [u64; 4] = [0, 5000, BLOCK, 5 * BLOCK + 7];

/// Time limit: a schedule that has not ended by then hangs.
const STUCK: std::time::Duration = std::time::Duration::from_secs(120);

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    /// A number in `0..count`.
    fn roll(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % count
    }
}

/// Yields to the other tasks `count` times.
async fn turns(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// A store whose answers take a random number of turns.
struct Slow {
    of: Arc<Fake>,
    dice: Mutex<Dice>,
}

impl Ranges for Slow {
    fn get(self: Arc<Self>, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, Error>> {
        let count = self.dice.lock().unwrap().roll(8);
        async move {
            turns(count).await;
            self.of.clone().get(range).await
        }
        .boxed()
    }

    fn place(&self) -> &str {
        "slow"
    }
}

/// State shared by the readers of one schedule.
struct Scene {
    cache: Cache,
    memory: Arc<Memory>,
    store: Arc<Slow>,
    /// Whether some requests fail.
    fails: bool,
}

impl Scene {
    fn new(folder: &std::path::Path, seed: u64) -> Self {
        let config = CacheConfig { folder: folder.to_owned(), size: u64::MAX, free: 0, open: 2 };
        let mut cache = Cache::new(&config);
        if seed.is_multiple_of(2) {
            // Everything in blocks.
            cache.small = 0;
        }
        let fake = Arc::new(Fake::default());
        let store = Arc::new(Slow { of: fake, dice: Mutex::new(Dice(seed)) });
        let memory = Arc::new(Memory::new(if seed.is_multiple_of(5) { 0 } else { 1 << 30 }));
        Self { cache, memory, store, fails: seed.is_multiple_of(3) }
    }

    fn open(&self, object: u64) -> (u64, Arc<Cached>) {
        let size = SIZES[object as usize];
        let entry = self.cache.entry(Key([object as u8; 16]), size).expect("an entry");
        (size, Arc::new(Cached::new(&self.cache, entry, self.store.clone())))
    }

    /// One task: opens, reads a few times, and closes.
    async fn reader(self: Arc<Self>, mut dice: Dice) {
        for _ in 0..OPENINGS {
            turns(dice.roll(6)).await;
            let (size, cached) = self.open(dice.roll(SIZES.len() as u64));
            let stream = Stream::new(cached.clone(), 0, size, self.memory.clone());
            for _ in 0..1 + dice.roll(3) {
                let (at, length) = (dice.roll(size + 1), 1 + dice.roll(3 * BLOCK));
                if self.fails && dice.roll(4) == 0 {
                    self.store.of.failures.fetch_add(1, Ordering::SeqCst);
                }
                let patience = (dice.roll(3) == 0).then(|| dice.roll(12));
                let through_stream = dice.roll(2) == 0;
                let read = async {
                    match through_stream {
                        true => stream.read(at, length as u32).await,
                        false => cached.clone().get(at..(at + length).min(size)).await,
                    }
                };
                let got = match patience {
                    None => Some(read.await),
                    Some(count) => match select(pin!(read), pin!(turns(count))).await {
                        Either::Left((got, _)) => Some(got),
                        Either::Right(_) => None,
                    },
                };
                match got {
                    Some(Ok(bytes)) => assert_eq!(bytes, expect(at, length, size)),
                    Some(Err(error)) => assert!(self.fails, "{error}"),
                    None => {}
                }
            }
        }
    }
}

fn run(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let scene = Arc::new(Scene::new(folder.path(), seed));
        let mut dice = Dice(seed);
        let readers = (0..READERS).map(|_| {
            let dice = Dice(dice.roll(u64::MAX));
            tokio::spawn(scene.clone().reader(dice))
        });
        let all = tokio::time::timeout(STUCK, join_all(readers)).await;
        for reader in all.expect("a schedule never ends") {
            reader.expect("a reader");
        }
        scene.store.of.failures.store(0, Ordering::SeqCst);
        scene.cache.settled().await;
        for object in 0..SIZES.len() as u64 {
            let (size, cached) = scene.open(object);
            assert_eq!(cached.get(0..size).await.expect("bytes"), expect(0, size, size));
        }
    });
}

#[test]
fn every_schedule_reads_right_bytes_and_ends() {
    for seed in 0..SCHEDULES {
        let told = std::panic::catch_unwind(|| run(seed));
        assert!(told.is_ok(), "schedule {seed}; what failed is above");
    }
}

/// Without failures and cancellations, a reader that needs a block being fetched waits for it.
#[test]
fn in_every_schedule_a_byte_is_fetched_once() {
    for seed in 0..SCHEDULES / 3 {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(folder.path(), seed);
            let (size, cached) = scene.open(3);
            let mut dice = Dice(seed);
            let reads = (0..12).map(|_| {
                let (wait, at) = (dice.roll(9), dice.roll(size));
                let (cached, end) = (cached.clone(), (at + 1 + dice.roll(2 * BLOCK)).min(size));
                async move {
                    turns(wait).await;
                    assert_eq!(cached.get(at..end).await.unwrap(), expect(at, end - at, size));
                }
            });
            let all = tokio::time::timeout(STUCK, join_all(reads)).await;
            all.unwrap_or_else(|_| panic!("schedule {seed} never ends"));
            let (_, fetched) = scene.store.of.requests();
            assert!(fetched <= size, "schedule {seed}: {fetched} of {size} bytes");
        });
    }
}
