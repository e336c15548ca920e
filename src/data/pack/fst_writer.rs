//! Writes the format of the crate `fst` for one kind of map: ascending keys to 0, 1, 2, ...
//!
//! The crate's own builder looks every node up in a table of two megabytes to share equal ones. For
//! random names that is some 28 cache misses per key, four times the cost of everything else. Two
//! facts about our maps make most look-ups needless:
//!
//! - Since numbers ascend with keys, the whole number of a key belongs to the first byte that
//!   distinguishes it: outputs never move, and no node has a final output.
//! - A node that leads to a newly written one equals no earlier node. So a node is looked up only
//!   if all its targets were found, and is put in the table only then: the table holds only nodes
//!   worth sharing.
//!
//! Writes format 2 of the crate, which is format 3 without its own checksum (the manifest has one);
//! the layout of nodes is in its `raw/node.rs`. The crate itself reads it.

use super::error::PackError;
use super::output::Output;

/// The crate's format version.
const VERSION: u64 = 2;

/// The address of the final node without transitions; it takes no bytes.
const EMPTY: u64 = 0;

/// The bytes that a node with one transition encodes in six bits, most common first; a part of the
/// format (`raw/common_inputs.rs`).
const COMMON: &[u8; 63] = b"te/oasripcnw.hlm-du012g=:bf3y5&_4v9678k%?xCDASFIBEjPTzRNM+LOqHG";

/// The position of each byte in [`COMMON`], from 1; 0 for the others.
const COMMON_PLACE: [u8; 256] = {
    let mut places = [0; 256];
    let mut at = 0;
    while at < COMMON.len() {
        places[COMMON[at] as usize] = at as u8 + 1;
        at += 1;
    }
    places
};

/// Nodes with more transitions than this have a table of inputs.
const INDEXED: usize = 32;

/// Nodes remembered for sharing: few at first, because most versions are small.
const FEW_CELLS: usize = 1 << 6;

/// And many from this number of keys on.
const MANY_KEYS: u64 = 1 << 10;
const MANY_CELLS: usize = 1 << 14;

/// A transition of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transition {
    input: u8,
    /// Whether its target node had been written before.
    is_shared: bool,
    output: u64,
    target: u64,
}

/// A node on the path of the last key, to which transitions may be added.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// The start of its transitions on the shared stack.
    start: usize,
    is_final: bool,
    /// The least number below it: the sum of outputs on the path to it.
    least: u64,
}

/// A node written before.
#[derive(Clone, Debug, Default)]
struct Cell {
    hash: u64,
    address: u64,
    is_final: bool,
    transitions: Vec<Transition>,
}

pub struct FstWriter {
    out: Output,
    count: u64,
    /// The last key, with an open node for it and for each of its prefixes.
    key: Vec<u8>,
    open: Vec<Open>,
    /// The transitions of all open nodes; only those of the last grow.
    transitions: Vec<Transition>,
    cells: Vec<Cell>,
    /// Nodes not yet passed to `out`.
    bytes: Vec<u8>,
}

/// Bytes of nodes buffered: a node is only a few bytes.
const GATHERED: usize = 1 << 16;

impl FstWriter {
    pub fn new(mut out: Output) -> Result<Self, PackError> {
        out.put(&VERSION.to_le_bytes())?;
        // The type, which the crate leaves to its users, and a byte that no transition leads to:
        // without it an empty map would be shorter than the crate expects.
        out.put(&[0; 9])?;
        Ok(Self {
            out,
            count: 0,
            key: Vec::new(),
            open: vec![Open { start: 0, is_final: false, least: 0 }],
            transitions: Vec::new(),
            cells: vec![Cell::default(); FEW_CELLS],
            bytes: Vec::new(),
        })
    }

    /// Adds the next key.
    ///
    /// # Errors
    /// A key that is empty or does not follow the last; errors of the disk.
    pub fn insert(&mut self, key: &[u8]) -> Result<(), PackError> {
        if key <= self.key.as_slice() {
            return Err(PackError::damaged("a path comes twice or out of order"));
        }
        let shared = self.key.iter().zip(key).take_while(|(a, b)| a == b).count();
        self.close(shared)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(&key[shared..]);
        let node = Open { start: self.transitions.len(), is_final: false, least: self.count };
        self.open.resize(key.len() + 1, node);
        if let Some(last) = self.open.last_mut() {
            last.is_final = true;
        }
        self.count += 1;
        if self.count == MANY_KEYS {
            self.cells = vec![Cell::default(); MANY_CELLS];
        }
        Ok(())
    }

    /// Writes the open nodes below the first `depth` bytes of the last key.
    fn close(&mut self, depth: usize) -> Result<(), PackError> {
        while self.open.len() > depth + 1 {
            let Some(node) = self.open.pop() else { break };
            let (target, is_shared) = match &self.transitions[node.start..] {
                // Most nodes: one transition, to a new node.
                [only] if !only.is_shared && !node.is_final => {
                    let (only, start) = (*only, self.length());
                    one(&mut self.bytes, start, only);
                    (self.length() - 1, false)
                }
                _ => self.compile(node),
            };
            self.transitions.truncate(node.start);
            let above = self.open.len() - 1;
            let output = node.least - self.open[above].least;
            let input = self.key[above];
            self.transitions.push(Transition { input, is_shared, output, target });
        }
        if self.bytes.len() >= GATHERED {
            self.out.put(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    /// The complete file.
    pub fn finish(mut self) -> Result<Output, PackError> {
        self.close(0)?;
        let root = self.open[0];
        let address = self.write(root);
        self.out.put(&self.bytes)?;
        self.out.put(&self.count.to_le_bytes())?;
        self.out.put(&address.to_le_bytes())?;
        Ok(self.out)
    }

    /// The address of a node, and whether it had been written before.
    fn compile(&mut self, node: Open) -> (u64, bool) {
        let transitions = &self.transitions[node.start..];
        if transitions.is_empty() {
            return (EMPTY, true); // A leaf, which is always final.
        }
        if !transitions.iter().all(|t| t.is_shared) {
            return (self.write(node), false);
        }
        let hash = hash(node.is_final, transitions);
        let slot = hash as usize % self.cells.len();
        let cell = &self.cells[slot];
        if cell.hash == hash && cell.is_final == node.is_final && cell.transitions == transitions {
            return (cell.address, true);
        }
        let address = self.write(node);
        let cell = &mut self.cells[slot];
        (cell.hash, cell.address, cell.is_final) = (hash, address, node.is_final);
        cell.transitions.clear();
        cell.transitions.extend_from_slice(&self.transitions[node.start..]);
        (address, false)
    }

    /// Appends a node; its address is that of its last byte.
    fn write(&mut self, node: Open) -> u64 {
        let start = self.length();
        match &self.transitions[node.start..] {
            [only] if !node.is_final => one(&mut self.bytes, start, *only),
            many => several(&mut self.bytes, start, node.is_final, many),
        }
        self.length() - 1
    }

    /// Bytes written so far, including buffered ones.
    fn length(&self) -> u64 {
        self.out.length() + self.bytes.len() as u64
    }
}

/// FNV-1a over numbers. Nodes in the same cell are compared, so strangers gain nothing from
/// collisions.
fn hash(is_final: bool, transitions: &[Transition]) -> u64 {
    let mix = |h: u64, n: u64| (h ^ n).wrapping_mul(0x0100_0000_01b3);
    let start = mix(0xcbf2_9ce4_8422_2325, is_final.into());
    let all =
        transitions.iter().fold(start, |h, t| mix(mix(mix(h, t.input.into()), t.output), t.target));
    all ^ (all >> 32)
}

/// A node with one transition: flags 11 if it leads to the preceding node without an output, else
/// 10.
fn one(out: &mut Vec<u8>, start: u64, only: Transition) {
    let is_next = only.output == 0 && only.target == start - 1;
    if !is_next {
        let (target, width) = (delta(start, only.target), width(delta(start, only.target)));
        let output_width = if only.output == 0 { 0 } else { self::width(only.output) };
        put(out, only.output, output_width);
        put(out, target, width);
        out.push((width << 4 | output_width) as u8);
    }
    let common = COMMON_PLACE[usize::from(only.input)];
    if common == 0 {
        out.push(only.input);
    }
    let flags = if is_next { 0b1100_0000 } else { 0b1000_0000 };
    out.push(flags | common);
}

/// Any node: outputs, targets and inputs, each from last to first. If there are outputs, a final
/// output, always zero, precedes them.
fn several(out: &mut Vec<u8>, start: u64, is_final: bool, all: &[Transition]) {
    let widest = |n: fn(&Transition, u64) -> u64| all.iter().map(|t| width(n(t, start))).max();
    let targets = widest(|t, start| delta(start, t.target)).unwrap_or(0);
    let has_outputs = all.iter().any(|t| t.output != 0);
    let outputs = if has_outputs { widest(|t, _| t.output).unwrap_or(0) } else { 0 };
    if is_final {
        put(out, 0, outputs);
    }
    all.iter().rev().for_each(|t| put(out, t.output, outputs));
    all.iter().rev().for_each(|t| put(out, delta(start, t.target), targets));
    out.extend(all.iter().rev().map(|t| t.input));
    if all.len() > INDEXED {
        let mut index = [255; 256];
        for (at, transition) in all.iter().enumerate() {
            index[usize::from(transition.input)] = at as u8;
        }
        out.extend_from_slice(&index);
    }
    out.push((targets << 4 | outputs) as u8);
    let flags = if is_final { 0b0100_0000 } else { 0 };
    match all.len() {
        count @ 1..=63 => out.push(flags | count as u8),
        // 256 does not fit into a byte; 1 is unused otherwise and means it.
        256 => out.extend([1, flags]),
        count => out.extend([count as u8, flags]),
    }
}

/// The distance back to a target; 0 for the empty node.
fn delta(start: u64, target: u64) -> u64 {
    if target == EMPTY { 0 } else { start - target }
}

/// The number of bytes of a number, at least one.
fn width(n: u64) -> usize {
    (64 - n.leading_zeros() as usize).div_ceil(8).max(1)
}

/// Appends the lowest `width` bytes of a number.
fn put(out: &mut Vec<u8>, n: u64, width: usize) {
    out.extend_from_slice(&n.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fst::Streamer;
    use proptest::prelude::*;

    use super::*;

    fn written(keys: &BTreeSet<Vec<u8>>) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fst");
        let mut writer = FstWriter::new(Output::create(path.clone()).expect("new")).expect("new");
        for key in keys {
            writer.insert(key).expect("rising");
        }
        writer.finish().expect("finished").finish().expect("closed");
        std::fs::read(path).expect("readable")
    }

    /// Checks that the crate reads back the keys written.
    fn check(keys: &BTreeSet<Vec<u8>>) -> usize {
        let bytes = written(keys);
        let length = bytes.len();
        let map = fst::Map::new(bytes).expect("the crate's format");
        assert_eq!(map.len(), keys.len());
        let mut stream = map.stream();
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(stream.next(), Some((&key[..], number as u64)));
        }
        assert_eq!(stream.next(), None);
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(map.get(key), Some(number as u64), "{key:?}");
        }
        length
    }

    fn by_crate(keys: &BTreeSet<Vec<u8>>) -> usize {
        let mut builder = fst::MapBuilder::memory();
        for (number, key) in keys.iter().enumerate() {
            builder.insert(key, number as u64).expect("rising");
        }
        builder.into_inner().expect("built").len()
    }

    #[test]
    fn nodes_of_every_kind_are_read_back() {
        let all = || 0..=255_u8;
        let every_byte: BTreeSet<_> = all().map(|b| vec![b]).collect();
        let some = |n: u8| (0..n).map(|b| vec![b, b]).collect::<BTreeSet<_>>();
        let pairs: BTreeSet<_> = all().flat_map(|a| all().map(move |b| vec![a, b])).collect();
        let text = |keys: &[&str]| keys.iter().map(|k| k.as_bytes().to_vec()).collect();
        let cases: [BTreeSet<Vec<u8>>; 12] = [
            BTreeSet::new(),
            text(&["a"]),
            text(&["a", "ab", "abc"]),
            text(&["a", "ab", "b", "bb", "c"]),
            every_byte,
            some(32),
            some(33),
            some(63),
            some(64),
            some(255),
            pairs,
            [vec![b'x'; 300_000], vec![b'y'; 300_000]].into(),
        ];
        for keys in cases {
            check(&keys);
        }
    }

    #[test]
    fn what_is_common_is_shared() {
        let numbers: BTreeSet<_> =
            (0..100_000).map(|n| format!("images/{n:08}.jpg").into_bytes()).collect();
        assert!(check(&numbers) < 2_000, "sequential names cost next to nothing");
        let scattered: BTreeSet<_> = (0..20_000_u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .map(|n| format!("{n:016x}.jpg").into_bytes())
            .collect();
        let (ours, theirs) = (check(&scattered), by_crate(&scattered));
        assert!(ours * 100 < theirs * 110, "{ours} bytes against {theirs}");
    }

    #[test]
    fn keys_must_rise() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = Output::create(folder.path().join("fst")).expect("new");
        let mut writer = FstWriter::new(out).expect("new");
        assert!(writer.insert(b"").is_err());
        writer.insert(b"b").expect("the first");
        for key in ["b", "a", ""] {
            assert!(writer.insert(key.as_bytes()).is_err(), "{key}");
        }
        writer.insert(b"ba").expect("it follows");
    }

    proptest! {
        #[test]
        fn the_crate_reads_what_was_meant(
            few in prop::collection::btree_set("[ab.\0]{1,8}".prop_map(String::into_bytes), 0..200),
            wild in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..5), 0..200),
        ) {
            check(&few);
            check(&wild);
        }
    }
}
