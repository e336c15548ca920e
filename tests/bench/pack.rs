//! The cost of packing a version, and of queries afterwards.
//!
//! For three shapes of names: seconds per million rows, peak anonymous memory, bytes per entry, lookups per
//! second, children listed per second. Rows come from a loop, so the catalog does not affect the figures. Each
//! shape runs in a process of its own, because memory is measured per process.
//!
//!     cargo run --release --example bench_pack -- [ROWS] [sequential|class-hash|uuid] [clash]
//!
//! `clash` gives every thousandth row the name of the row before it: the second pass runs.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use dcfs_core::error::Result;
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_core::schema::FileColumn;
use dcfs_core::time::Timestamp;
use dcfs_data::catalog::Row;
use dcfs_data::pack::{Dir, Limits, Node, Pack, Rows, obtain};

const SHAPES: [&str; 3] = ["sequential", "class-hash", "uuid"];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rows = arguments.first().map_or(1_000_000, |n| n.parse().expect("a number of rows"));
    let clash = arguments.iter().any(|a| a == "clash");
    match arguments.get(1).filter(|a| SHAPES.contains(&a.as_str())) {
        Some(shape) => bench(shape, rows, clash),
        None => SHAPES.iter().for_each(|shape| in_own_process(shape, rows, clash)),
    }
}

fn in_own_process(shape: &str, rows: u64, clash: bool) {
    let program = env::current_exe().expect("this program");
    let mut command = process::Command::new(program);
    command.arg(rows.to_string()).arg(shape).args(clash.then_some("clash"));
    let status = command.status().expect("it starts");
    assert!(status.success(), "{shape} failed");
}

/// Rows generated on demand.
struct Synthetic<'a> {
    shape: &'a str,
    rows: u64,
    clash: bool,
}

/// Pseudo-random numbers (splitmix64), the same in every run.
fn scramble(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Synthetic<'_> {
    fn path(&self, n: u64) -> String {
        let n = if self.clash && n % 1000 == 1 { n - 1 } else { n };
        let (a, b) = (scramble(n), scramble(!n));
        match self.shape {
            "sequential" => format!("images/{n:012}.jpg"),
            "class-hash" => format!("train/n{:08}/{b:016x}.jpg", a % 1000),
            _ => format!(
                "data/{:08x}-{:04x}-{:04x}-{b:016x}.jpg",
                a >> 32,
                a >> 16 & 0xffff,
                a & 0xffff
            ),
        }
    }
}

impl Rows for Synthetic<'_> {
    fn label(&self) -> String {
        format!("{}@1.0.0", self.shape)
    }

    fn extent(&self) -> Result<(u64, RowId, RowId)> {
        Ok((self.rows, RowId::new(1), RowId::new(self.rows as i64)))
    }

    fn scan(
        &self,
        _: &[FileColumn],
        within: RangeInclusive<RowId>,
        each: &mut dyn FnMut(Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let last = self.rows.min(within.end().key().max(0) as u64);
        for n in within.start().key().max(1) as u64 - 1..last {
            let object = Object {
                source: "s3://bucket".into(),
                path: self.path(n).into_bytes(),
                size: Some(n % 100_000),
                etag: format!("{:032x}", n),
                last_modified: Some(Timestamp::from_micros(1_700_000_000_000_000)),
                ..Object::default()
            };
            each(Row { id: RowId::new(n as i64 + 1), objects: &[Some(object)] })?;
        }
        Ok(())
    }
}

fn bench(shape: &str, rows: u64, clash: bool) {
    let source = Synthetic { shape, rows, clash };
    let column = FileColumn {
        name: "file".into(),
        source: Some("file__source".into()),
        path: Some("file__path".into()),
        size: Some("file__size".into()),
        ..FileColumn::default()
    };
    let cache = env::temp_dir().join(format!("dcfs-bench-{}", process::id()));
    let million = rows as f64 / 1e6;

    let started = Instant::now();
    let made = source.scan(&[], RowId::ALL, &mut |row| {
        row.objects[0].iter().try_for_each(|o| {
            std::hint::black_box(o.identity());
            Ok(())
        })
    });
    made.expect("rows are made");
    let making = started.elapsed().as_secs_f64();

    let before = anonymous();
    let watch = Watch::start();
    let started = Instant::now();
    let open = || obtain(&source, "", std::slice::from_ref(&column), &cache, Limits::default());
    let pack = open().expect("a pack");
    let building = started.elapsed().as_secs_f64();
    let peak = watch.stop().saturating_sub(before);
    drop(pack);
    let started = Instant::now();
    let pack = open().expect("a pack");
    let opening = started.elapsed();

    let root = pack.root(0).expect("a column");
    let entries = pack.columns()[0].entries.end;
    println!(
        "{shape:<10} {rows} rows  build {:.2} s/million (rows and identities alone {:.2})  \
         peak {:.0} MB  {:.1} bytes/entry (index {:.1})  opens in {:.1} ms",
        building / million,
        making / million,
        peak as f64 / 1e6,
        bytes_of(&cache, "") as f64 / f64::from(entries),
        bytes_of(&cache, ".fst") as f64 / f64::from(entries),
        opening.as_secs_f64() * 1e3,
    );
    let (found, looking) = look_up(&pack, &source, root);
    let (listed, listing) = list_all(&pack, root);
    println!(
        "{:<10} look-up {:.0} ns per component ({found} found)  list {:.0} ns per child ({listed})",
        "",
        looking.as_nanos() as f64 / found as f64,
        listing.as_nanos() as f64 / listed as f64,
    );
    fs::remove_dir_all(&cache).expect("removed");
}

/// Looks up random rows' files; returns the number of components found and the time it took.
fn look_up(pack: &Pack, source: &Synthetic<'_>, root: Dir) -> (u64, Duration) {
    let tries = 200_000_u64;
    let paths: Vec<String> = (0..tries).map(|n| source.path(scramble(n) % source.rows)).collect();
    let started = Instant::now();
    let mut found = 0;
    for path in &paths {
        let mut dir = root;
        for name in path.split('/') {
            match pack.lookup(dir, name.as_bytes(), None).expect("whole") {
                Some(Node::Dir(below)) => dir = below,
                Some(Node::File(entry)) => drop(std::hint::black_box(pack.facts(entry))),
                None => panic!("`{path}` is there"),
            }
            found += 1;
        }
    }
    (found, started.elapsed())
}

/// Lists the whole tree, files with their attributes.
fn list_all(pack: &Pack, root: Dir) -> (u64, Duration) {
    let started = Instant::now();
    let mut children = 0;
    let mut open = vec![root];
    while let Some(dir) = open.pop() {
        let walked = pack.list(dir, dir.first, None, &mut |child| {
            children += 1;
            match child.node {
                Node::Dir(below) => open.push(below),
                Node::File(entry) => drop(std::hint::black_box(pack.facts(entry))),
            }
            ControlFlow::Continue(())
        });
        walked.expect("whole");
    }
    (children, started.elapsed())
}

/// Total size of the pack's files with this suffix.
fn bytes_of(cache: &std::path::Path, end: &str) -> u64 {
    let pack = fs::read_dir(cache).expect("readable").next().expect("a pack").expect("readable");
    let files = fs::read_dir(pack.path()).expect("readable").map(|e| e.expect("readable"));
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with(end))
        .map(|file| file.metadata().expect("readable").len())
        .sum()
}

/// Anonymous memory of this process in bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Samples the anonymous memory every few milliseconds.
struct Watch {
    over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Watch {
    fn start() -> Self {
        let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_over, seen) = (over.clone(), most.clone());
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                seen.fetch_max(anonymous(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { over, most, thread }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only looks");
        self.most.load(Ordering::Relaxed)
    }
}
