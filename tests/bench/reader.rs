//! A program that reads: so fast itself that it measures the file system.
//!
//!     bench_reader JOBS sequential FILE
//!     bench_reader JOBS files FOLDER NAMES     job k of n reads every n-th name, from the k-th on
//!     bench_reader JOBS random FILE BLOCK READS
//!     bench_reader 1 list FOLDER
//!     bench_reader 1 forget FILE               the kernel drops the pages it holds of a file
//!
//! Prints seconds and bytes. Each job is a process of its own; the clock runs from the first job's first read
//! to the last job's last. NAMES is a file with a name per line.

mod offsets;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes read at a time.
const ROOM: usize = 1 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["job", number, jobs, what @ ..] => job(number.parse()?, jobs.parse()?, what),
        [jobs, _, ..] => lead(jobs.parse()?, &arguments[1..]),
        _ => Err("see reader.rs".into()),
    }
}

/// Starts the jobs, releases them at once, and sums their results.
fn lead(jobs: usize, what: &[String]) -> Result<()> {
    let own = std::env::current_exe()?;
    let start = |number: usize| {
        Command::new(&own)
            .args(["job", &number.to_string(), &jobs.to_string()])
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut children = (0..jobs).map(start).collect::<std::io::Result<Vec<Child>>>()?;
    let mut voices: Vec<_> =
        children.iter_mut().filter_map(|child| child.stdout.take()).map(BufReader::new).collect();
    for voice in &mut voices {
        line(voice)?;
    }
    for child in &mut children {
        child.stdin.take().ok_or("no pipe")?.write_all(b"\n")?;
    }
    let (mut first, mut last, mut bytes) = (u128::MAX, 0, 0);
    for voice in &mut voices {
        let told = line(voice)?;
        let numbers =
            told.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<u128>, _>>();
        let [since, until, length] = numbers?.try_into().map_err(|_| "a job failed")?;
        (first, last, bytes) = (first.min(since), last.max(until), bytes + length);
    }
    for child in &mut children {
        child.wait()?;
    }
    println!("{} {bytes}", last.saturating_sub(first) as f64 / 1e9);
    Ok(())
}

fn line(voice: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    voice.read_line(&mut line)?;
    if line.is_empty() { Err("a job failed".into()) } else { Ok(line) }
}

/// One job: reports that it is ready, waits for the others, reads, reports time and bytes.
fn job(number: usize, jobs: usize, what: &[&str]) -> Result<()> {
    let mut work = prepare(number, jobs, what)?;
    println!("ready");
    line(&mut std::io::stdin().lock())?;
    let since = now()?;
    let bytes = work()?;
    println!("{since} {} {bytes}", now()?);
    Ok(())
}

/// Nanoseconds on a clock that all processes share.
fn now() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())
}

/// Does everything that can be done before the clock starts; the rest is reading.
fn prepare(number: usize, jobs: usize, what: &[&str]) -> Result<Box<dyn FnMut() -> Result<u64>>> {
    let mut room = vec![0; ROOM];
    Ok(match *what {
        ["sequential", file] => {
            let file = file.to_owned();
            Box::new(move || read(&file, &mut room))
        }
        ["files", folder, names] => {
            let names = std::fs::read_to_string(names)?;
            let mine = names.lines().skip(number).step_by(jobs);
            let paths: Vec<PathBuf> = mine.map(|name| PathBuf::from(folder).join(name)).collect();
            Box::new(move || paths.iter().map(|path| read(path, &mut room)).sum())
        }
        ["random", file, block, reads] => {
            let (file, block) = (File::open(file)?, block.parse()?);
            let all = offsets::offsets(file.metadata()?.len(), block, reads.parse()?);
            let mine: Vec<u64> = all.into_iter().skip(number).step_by(jobs).collect();
            room.resize(block as usize, 0);
            Box::new(move || blocks(&file, &mine, &mut room))
        }
        ["list", folder] => {
            let folder = folder.to_owned();
            Box::new(move || Ok(std::fs::read_dir(&folder)?.count() as u64))
        }
        ["forget", file] => {
            let file = File::open(file)?;
            let all = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            Box::new(move || Ok(posix_fadvise(&file, 0, 0, all).map(|()| 0)?))
        }
        _ => return Err("what is to be read? see reader.rs".into()),
    })
}

/// Reads a file to its end.
fn read(path: impl AsRef<std::path::Path>, room: &mut [u8]) -> Result<u64> {
    let mut file = File::open(path)?;
    let mut bytes = 0;
    loop {
        match file.read(room)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}

fn blocks(file: &File, offsets: &[u64], room: &mut [u8]) -> Result<u64> {
    let mut bytes = 0;
    for offset in offsets {
        file.read_exact_at(room, *offset)?;
        bytes += room.len() as u64;
    }
    Ok(bytes)
}
