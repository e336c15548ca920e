//! Look-ups in a column's index: an FST from sort keys to entry numbers, which ascend with the
//! keys.
//!
//! Because they do, the sum of outputs on the path to a node is the least entry below it. So a node
//! after a separator *is* a directory with its first entry, and a listing is a walk over the bytes
//! of names that never enters a subdirectory.
//!
//! The bytes may be damaged. Every walk is bounded, and impossible results are [`PackError::Damaged`];
//! the crate `fst` may panic on them, which [`super::Pack`] catches.

use std::fmt;
use std::ops::Range;

use fst::IntoStreamer;
use fst::raw::{Fst, Node, Stream, Transition};

use super::error::PackError;
use dcfs_core::name::escape;
use dcfs_core::tree::key::{self, SEPARATOR};
use dcfs_disk::map::Map;

/// The index of one column; entries are numbered from 0.
pub struct Paths {
    fst: Fst<Map>,
    count: u32,
}

impl fmt::Debug for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paths").field("count", &self.count).finish_non_exhaustive()
    }
}

/// A node reached by some bytes, and the least entry below it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'f> {
    node: Node<'f>,
    least: u64,
}

impl Place<'_> {
    /// The least entry below, including itself.
    pub fn first(&self) -> u32 {
        u32::try_from(self.least).unwrap_or(u32::MAX)
    }
}

/// The target of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    File(u32),
    /// A directory, by the first entry below it.
    Dir(u32),
}

fn nowhere() -> PackError {
    PackError::damaged("its index leads nowhere")
}

impl Paths {
    /// `count` is the expected number of entries.
    pub fn new(map: Map, count: u32) -> Result<Self, PackError> {
        let fst = Fst::new(map).map_err(|e| PackError::damaged(e.to_string()))?;
        if fst.len() != count as usize {
            return Err(PackError::damaged("its index has the wrong number of entries"));
        }
        Ok(Self { fst, count })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Every key and entry. For a newly written index: not guarded against damage.
    pub fn stream(&self) -> Stream<'_> {
        self.fst.stream()
    }

    /// The same, below the top-level directory `name`.
    pub fn stream_below(&self, name: &[u8]) -> Stream<'_> {
        let bound = |end| [name, &[end]].concat();
        self.fst.range().ge(bound(SEPARATOR)).lt(bound(SEPARATOR + 1)).into_stream()
    }

    fn root(&self) -> Place<'_> {
        Place { node: self.fst.root(), least: 0 }
    }

    fn follow(&self, from: &Place<'_>, transition: Transition) -> Result<Place<'_>, PackError> {
        let least = from.least.checked_add(transition.out.value()).ok_or_else(nowhere)?;
        if least >= u64::from(self.count) {
            return Err(nowhere());
        }
        Ok(Place { node: self.fst.node(transition.addr), least })
    }

    fn step(&self, from: &Place<'_>, byte: u8) -> Result<Option<Place<'_>>, PackError> {
        let Some(index) = from.node.find_input(byte) else { return Ok(None) };
        self.follow(from, from.node.transition(index)).map(Some)
    }

    /// The entry whose key ends at `place`.
    fn ends(&self, place: &Place<'_>) -> Result<Option<u32>, PackError> {
        if !place.node.is_final() {
            return Ok(None);
        }
        let sum = place.least.checked_add(place.node.final_output().value());
        let entry = sum.and_then(|n| u32::try_from(n).ok()).filter(|n| *n < self.count);
        entry.map(Some).ok_or_else(nowhere)
    }

    /// Looks up `name` in the directory at `place`.
    pub fn find<'f>(&'f self, place: Place<'f>, name: &[u8]) -> Result<Option<Found>, PackError> {
        if name.is_empty() || name.contains(&SEPARATOR) {
            return Ok(None);
        }
        self.find_from(place, name)
    }

    /// Looks up a whole key.
    pub fn find_key(&self, key: &[u8]) -> Result<Option<Found>, PackError> {
        self.find_from(self.root(), key)
    }

    fn find_from<'f>(&'f self, place: Place<'f>, bytes: &[u8]) -> Result<Option<Found>, PackError> {
        let mut at = place;
        for byte in bytes {
            match self.step(&at, *byte)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        if let Some(entry) = self.ends(&at)? {
            return Ok(Some(Found::File(entry)));
        }
        Ok(self.step(&at, SEPARATOR)?.map(|below| Found::Dir(below.first())))
    }

    /// The entries whose keys begin with these bytes.
    pub fn beginning_with(&self, bytes: &[u8]) -> Result<Range<u32>, PackError> {
        let mut at = self.root();
        if self.count == 0 {
            return Ok(0..0);
        }
        for byte in bytes {
            match self.step(&at, *byte)? {
                Some(next) => at = next,
                None => return Ok(0..0),
            }
        }
        Ok(at.first()..self.last_below(at)?.checked_add(1).ok_or_else(nowhere)?)
    }

    /// The last entry below `place`, including itself.
    fn last_below<'f>(&'f self, place: Place<'f>) -> Result<u32, PackError> {
        let mut at = place;
        for _ in 0..=key::LONGEST {
            match at.node.len() {
                0 => return self.ends(&at)?.ok_or_else(nowhere),
                many => at = self.follow(&at, at.node.transition(many - 1))?,
            }
        }
        Err(nowhere())
    }

    /// The last entry in the directory at `depth` that contains `entry`.
    pub fn last_in(&self, entry: u32, depth: u16) -> Result<u32, PackError> {
        self.last_below(self.ancestor(entry, depth)?.ok_or_else(nowhere)?)
    }

    /// Steps one byte from `at` towards `entry`; `None` if its key ends here.
    fn towards(
        &self,
        at: &Place<'_>,
        entry: u32,
    ) -> Result<Option<(usize, u8, Place<'_>)>, PackError> {
        if self.ends(at)? == Some(entry) {
            return Ok(None);
        }
        // The last transition whose least entry is not past it; they ascend.
        let (mut low, mut high) = (0, at.node.len());
        while low < high {
            let middle = low.midpoint(high);
            let least = at.least.checked_add(at.node.transition(middle).out.value());
            if least.ok_or_else(nowhere)? <= u64::from(entry) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1).ok_or_else(nowhere)?;
        let transition = at.node.transition(index);
        Ok(Some((index, transition.inp, self.follow(at, transition)?)))
    }

    fn is_entry(&self, entry: u32) -> Result<(), PackError> {
        let gone = PackError::Gone { what: "entry", number: entry.into() };
        if entry < self.count { Ok(()) } else { Err(gone) }
    }

    /// The key of `entry`.
    pub fn key_of(&self, entry: u32) -> Result<Vec<u8>, PackError> {
        self.is_entry(entry)?;
        let mut key = Vec::with_capacity(64);
        let mut at = self.root();
        while let Some((_, byte, next)) = self.towards(&at, entry)? {
            key.push(byte);
            at = next;
            if key.len() > key::LONGEST {
                return Err(nowhere());
            }
        }
        Ok(key)
    }

    /// The directory at `depth` that contains `entry`; `None` if the entry is not that deep.
    pub fn ancestor(&self, entry: u32, depth: u16) -> Result<Option<Place<'_>>, PackError> {
        let mut at = self.root();
        if depth == 0 {
            return Ok(Some(at));
        }
        self.is_entry(entry)?;
        let mut left = depth;
        for _ in 0..=key::LONGEST {
            let Some((_, byte, next)) = self.towards(&at, entry)? else { return Ok(None) };
            at = next;
            left -= u16::from(byte == SEPARATOR);
            if left == 0 {
                return Ok(Some(at));
            }
        }
        Err(nowhere())
    }

    /// The number of directories above `entry`, without its column's root.
    pub fn depth_of(&self, entry: u32) -> Result<u16, PackError> {
        let separators = self.key_of(entry)?.iter().filter(|b| **b == SEPARATOR).count();
        u16::try_from(separators).map_err(|_| nowhere())
    }

    /// The children of the directory at `place`, starting with the one that contains the entry
    /// `from`.
    pub fn children<'f>(&'f self, place: Place<'f>, from: u32) -> Result<Children<'f>, PackError> {
        let mut walk = Children { paths: self, stack: Vec::new(), name: Vec::new(), least: 0 };
        if self.count == 0 {
            return Ok(walk);
        }
        if from <= place.first() {
            walk.enter(place);
        } else if from <= self.last_below(place)? {
            walk.enter_at(place, from)?;
        }
        Ok(walk)
    }
}

/// Iterates over the names of one directory, in byte order.
pub struct Children<'f> {
    paths: &'f Paths,
    /// Places to continue from, the next one last. If a name can continue in only one way, as in
    /// most of it, no frame is kept.
    stack: Vec<Frame<'f>>,
    name: Vec<u8>,
    /// No entry may be less: numbers ascend.
    least: u32,
}

struct Frame<'f> {
    place: Place<'f>,
    /// The length of the name's prefix that leads here.
    length: usize,
    /// The index of the next transition.
    next: usize,
    /// Whether a name that ends here was already returned.
    is_told: bool,
}

impl<'f> Children<'f> {
    fn enter(&mut self, place: Place<'f>) {
        self.stack.push(Frame { place, length: self.name.len(), next: 0, is_told: false });
    }

    /// Descends to the child that contains `entry`, which is below `place`.
    fn enter_at(&mut self, place: Place<'f>, entry: u32) -> Result<(), PackError> {
        let mut at = place;
        while let Some((index, byte, below)) = self.paths.towards(&at, entry)? {
            let is_child = byte == SEPARATOR;
            let next = if is_child { index } else { index + 1 };
            let length = self.name.len();
            self.stack.push(Frame { place: at, length, next, is_told: true });
            if is_child {
                return Ok(());
            }
            self.descend(byte)?;
            at = below;
        }
        self.enter(at);
        Ok(())
    }

    /// Appends a byte to the name.
    fn descend(&mut self, byte: u8) -> Result<(), PackError> {
        self.name.push(byte);
        if self.name.len() > escape::LONGEST { Err(nowhere()) } else { Ok(()) }
    }

    /// The next child, with the entry that follows all of it; its name is [`Children::name`].
    pub fn advance(&mut self) -> Result<Option<(Found, u32)>, PackError> {
        while let Some(frame) = self.stack.pop() {
            self.name.truncate(frame.length);
            if let Some(told) = self.follow(frame)? {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    /// Continues from a frame to the next child; `None` if the frame is exhausted.
    fn follow(&mut self, mut frame: Frame<'f>) -> Result<Option<(Found, u32)>, PackError> {
        loop {
            let node = frame.place.node;
            if !frame.is_told
                && let Some(entry) = self.paths.ends(&frame.place)?
            {
                self.keep(Frame { is_told: true, ..frame });
                return self.told(Found::File(entry), entry, entry).map(Some);
            }
            if frame.next == node.len() {
                // Every path ends at an entry, so only a damaged node leads nowhere.
                return if frame.is_told { Ok(None) } else { Err(nowhere()) };
            }
            let transition = node.transition(frame.next);
            self.keep(Frame { next: frame.next + 1, is_told: true, ..frame });
            let below = self.paths.follow(&frame.place, transition)?;
            if transition.inp == SEPARATOR {
                let (first, last) = (below.first(), self.paths.last_below(below)?);
                return self.told(Found::Dir(first), first, last).map(Some);
            }
            self.descend(transition.inp)?;
            frame = Frame { place: below, length: self.name.len(), next: 0, is_told: false };
        }
    }

    /// Pushes a place that has more children.
    fn keep(&mut self, frame: Frame<'f>) {
        if frame.next < frame.place.node.len() {
            self.stack.push(frame);
        }
    }

    fn told(&mut self, found: Found, first: u32, last: u32) -> Result<(Found, u32), PackError> {
        if first < self.least || last < first || self.name.is_empty() {
            return Err(nowhere());
        }
        self.least = last + 1;
        Ok((found, self.least))
    }

    /// The name of the child that [`Children::advance`] returned.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 7] = ["a", "b\0x", "b\0y\0z", "b\0y\0zz", "b.jpg", "ba\0q", "c"];

    fn index(keys: &[&str]) -> Paths {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fst");
        let mut builder = fst::MapBuilder::memory();
        for (entry, key) in keys.iter().enumerate() {
            builder.insert(key, entry as u64).expect("sorted");
        }
        std::fs::write(&path, builder.into_inner().expect("built")).expect("written");
        Paths::new(Map::open(&path).expect("mapped"), keys.len() as u32).expect("whole")
    }

    fn listed(paths: &Paths, place: Place<'_>, from: u32) -> Vec<(String, Found, u32)> {
        let mut walk = paths.children(place, from).expect("walks");
        let mut out = Vec::new();
        while let Some((found, next)) = walk.advance().expect("whole") {
            out.push((String::from_utf8_lossy(walk.name()).into_owned(), found, next));
        }
        out
    }

    #[test]
    fn lists_what_is_directly_below() {
        let paths = index(&KEYS);
        let all = listed(&paths, paths.root(), 0);
        let want = [
            ("a", Found::File(0), 1),
            ("b", Found::Dir(1), 4),
            ("b.jpg", Found::File(4), 5),
            ("ba", Found::Dir(5), 6),
            ("c", Found::File(6), 7),
        ];
        let want = want.map(|(name, found, next)| (name.to_owned(), found, next));
        assert_eq!(all, want);
        for (index, from) in
            [0, 1, 1, 1, 2, 3, 4, 5, 5].into_iter().zip([0, 1, 2, 3, 4, 5, 6, 7, 99])
        {
            assert_eq!(listed(&paths, paths.root(), from), want[index..], "from {from}");
        }
    }

    #[test]
    fn finds_names_and_directories() {
        let paths = index(&KEYS);
        let cases = [
            ("a", Some(Found::File(0))),
            ("b", Some(Found::Dir(1))),
            ("ba", Some(Found::Dir(5))),
            ("b.", None),
            ("", None),
            ("b\0x", None),
            ("zzz", None),
        ];
        for (name, want) in cases {
            assert_eq!(paths.find(paths.root(), name.as_bytes()).expect("whole"), want, "{name:?}");
        }
        let b = paths.ancestor(3, 1).expect("whole").expect("b");
        assert_eq!(b.first(), 1);
        assert_eq!(paths.find(b, b"y").expect("whole"), Some(Found::Dir(2)));
        assert!(paths.ancestor(0, 1).expect("whole").is_none(), "a is a file of the root");
        assert!(matches!(paths.ancestor(7, 1), Err(PackError::Gone { .. })));
    }

    #[test]
    fn gives_keys_back() {
        let paths = index(&KEYS);
        for (entry, key) in KEYS.iter().enumerate() {
            assert_eq!(paths.key_of(entry as u32).expect("whole"), key.as_bytes());
        }
        assert_eq!(paths.depth_of(3).expect("whole"), 2);
        assert!(paths.key_of(7).is_err());
        let none = index(&[]);
        assert!(listed(&none, none.root(), 0).is_empty());
        assert_eq!(none.find(none.root(), b"a").expect("whole"), None);
    }
}
