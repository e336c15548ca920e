//! The cost of caching alone: bytes from memory, checksummed and written to files.
//!
//!     bench_keeper FOLDER large SIZE           one file, 8 MiB at a time, with a CRC-32 of each 16 KiB
//!     bench_keeper FOLDER files TREE PREFIX    a file of its size for each line `path<TAB>size` below PREFIX, with one CRC-32
//!
//! Prints seconds and bytes. A part of the floor with which the first read is compared (`first.py`).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PIECE: usize = 8 << 20;
const BLOCK: usize = 16 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let piece: Vec<u8> = (0..PIECE).map(|at| (at / 7) as u8).collect();
    let [folder, what @ ..] = words.as_slice() else { return Err("see keeper.rs".into()) };
    let folder = Path::new(folder);
    let sizes = match what {
        ["large", size] => vec![(folder.join("large"), size.parse()?)],
        ["files", tree, prefix] => files(folder, &fs::read_to_string(tree)?, prefix)?,
        _ => return Err("what is to be kept? see keeper.rs".into()),
    };
    let since = Instant::now();
    let mut sums = 0;
    for (path, size) in &sizes {
        sums ^= keep(path, *size, &piece)?;
    }
    let seconds = since.elapsed().as_secs_f64();
    println!("{seconds} {}", sizes.iter().map(|(_, size)| size).sum::<usize>());
    // Used, so that the compiler does not remove the computation.
    eprintln!("{sums:08x}");
    Ok(())
}

fn files(folder: &Path, tree: &str, prefix: &str) -> Result<Vec<(PathBuf, usize)>> {
    let ours = tree.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once('\t'));
    ours.map(|(name, size)| Ok((folder.join(name), size.parse()?))).collect()
}

fn keep(path: &Path, size: usize, piece: &[u8]) -> Result<u32> {
    let file = File::create(path)?;
    let mut sums = 0;
    for at in (0..size).step_by(PIECE) {
        let some = &piece[..PIECE.min(size - at)];
        let block = if size > PIECE { BLOCK } else { PIECE };
        sums ^= some.chunks(block).map(crc32fast::hash).fold(0, |all, one| all ^ one);
        file.write_all_at(some, at as u64)?;
    }
    Ok(sums)
}
