//! Sorts one run of records in memory by moving 16 bytes per record.
//!
//! Each round reads the next eight bytes of every key once, sorts by them as numbers, and continues
//! inside the groups that are still equal: one random access to the arena per record and round,
//! instead of one per comparison. Rows that arrive sorted are detected and not sorted again.

use super::record::Record;

/// Smaller groups are sorted by comparing whole records.
const SMALL: usize = 16;

/// Eight bytes of a key as a number, and the offset of its record.
#[derive(Clone, Copy, Debug)]
struct Item {
    head: u64,
    offset: u32,
}

/// The size of an [`Item`].
const ITEM: usize = size_of::<Item>();

/// Records of one column, up to a limit of bytes.
#[derive(Debug, Default)]
pub struct Arena {
    limit: usize,
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Whether all records so far arrived in order.
    is_sorted: bool,
}

impl Arena {
    /// Holds about `limit` bytes; at least one record, and never 4 GiB.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize / 2);
        Self { limit, is_sorted: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether a record of `length` bytes still fits.
    pub fn has_room(&self, length: usize) -> bool {
        let used = self.bytes.len() + self.items.len() * ITEM;
        self.is_empty() || used + length + ITEM <= self.limit
    }

    /// Adds a record. [`Arena::has_room`] must have returned true.
    pub fn push(&mut self, record: &Record<'_>) {
        let offset = self.bytes.len() as u32;
        if self.is_sorted
            && let Some(last) = self.items.last()
        {
            self.is_sorted = self.at(*last) < *record;
        }
        record.write(&mut self.bytes);
        self.items.push(Item { head: 0, offset });
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.is_sorted = true;
    }

    /// Every record: in order of arrival, or sorted after [`Arena::sort`].
    pub fn records(&self) -> Records<'_> {
        Records { bytes: &self.bytes, items: self.items.iter() }
    }

    /// The bytes of every record, as [`Record::write`] wrote them.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.records().zip(&self.items).map(|(record, item)| {
            let start = item.offset as usize;
            &self.bytes[start..start + record.length()]
        })
    }

    fn at(&self, item: Item) -> Record<'_> {
        record_at(&self.bytes, item)
    }

    /// Sorts the records.
    pub fn sort(&mut self) {
        if !self.is_sorted {
            sort(&self.bytes, &mut self.items);
            self.is_sorted = true;
        }
    }
}

/// The records of an arena, one after another.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    items: std::slice::Iter<'a, Item>,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.items.next().map(|item| record_at(self.bytes, *item))
    }
}

fn record_at(bytes: &[u8], item: Item) -> Record<'_> {
    let record = Record::split(&bytes[item.offset as usize..]);
    record.expect("offsets are of whole records").0
}

fn key_at(bytes: &[u8], item: Item) -> &[u8] {
    record_at(bytes, item).key
}

/// Groups are kept in a list, not on the call stack: keys of strangers may share very long
/// prefixes.
fn sort(bytes: &[u8], items: &mut [Item]) {
    let mut groups = vec![(0..items.len(), 0)];
    while let Some((range, depth)) = groups.pop() {
        let group = &mut items[range.clone()];
        let shared = if group.len() > SMALL { shared_prefix(bytes, group, depth) } else { None };
        let Some(depth) = shared else {
            group.sort_unstable_by(|a, b| record_at(bytes, *a).cmp(&record_at(bytes, *b)));
            continue;
        };
        for item in &mut *group {
            item.head = head(key_at(bytes, *item), depth);
        }
        group.sort_unstable_by_key(|item| item.head);
        if group.first().map(|i| i.head) == group.last().map(|i| i.head) {
            // Only keys with two zeros in a row get here: their heads make no progress.
            group.sort_unstable_by(|a, b| record_at(bytes, *a).cmp(&record_at(bytes, *b)));
            continue;
        }
        let mut start = range.start;
        for equal in group.chunk_by(|a, b| a.head == b.head) {
            if equal.len() > 1 {
                groups.push((start..start + equal.len(), depth + 8));
            }
            start += equal.len();
        }
    }
}

/// The length of the common prefix of all keys in `group`, known to be at least `depth`; `None` if
/// they are all equal.
fn shared_prefix(bytes: &[u8], group: &[Item], depth: usize) -> Option<usize> {
    let first = key_at(bytes, group[0]);
    let mut shared = first.len();
    let mut are_equal = true;
    for item in &group[1..] {
        let key = key_at(bytes, *item);
        let start = depth.min(shared).min(key.len());
        let pairs = first[start..shared].iter().zip(&key[start..]);
        shared = start + pairs.take_while(|(a, b)| a == b).count();
        are_equal &= key.len() == first.len() && shared == first.len();
    }
    (!are_equal).then_some(shared)
}

/// The eight bytes of `key` from `depth` on, padded with zeros: keys never end with a zero nor
/// contain two in a row, so keys with equal heads are equal.
fn head(key: &[u8], depth: usize) -> u64 {
    let rest = key.get(depth..).unwrap_or_default();
    match rest.first_chunk() {
        Some(whole) => u64::from_be_bytes(*whole),
        None => {
            let mut part = [0; 8];
            part[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::object::Object;
    use proptest::prelude::*;

    fn filled(keys: &[Vec<u8>]) -> Arena {
        let mut arena = Arena::new(usize::MAX);
        for (ordinal, key) in keys.iter().enumerate() {
            let object = Object { path: vec![ordinal as u8 % 3], ..Object::default() };
            arena.push(&Record::new(key, ordinal as u32, &object, b""));
        }
        arena
    }

    /// Names with long common prefixes, prefixes of each other, and duplicates.
    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let name = prop_oneof!["[ab]{1,3}", "[a-c]{7,9}", "(aaaaaaaa){1,4}[ab]?"];
        let key = prop::collection::vec(name, 1..4).prop_map(|names| names.join("\0").into_bytes());
        prop::collection::vec(key, 0..300)
    }

    proptest! {
        #[test]
        fn sorts_as_comparing_does(keys in keys()) {
            let mut arena = filled(&keys);
            let told = |arena: &Arena| -> Vec<_> {
                arena.records().map(|r| (r.key.to_vec(), r.identity, r.ordinal)).collect()
            };
            let mut want = told(&arena);
            want.sort();
            arena.sort();
            prop_assert_eq!(told(&arena), want);
        }
    }

    #[test]
    fn notices_what_comes_sorted() {
        let keys = |order: [&str; 3]| order.map(|k| k.as_bytes().to_vec());
        assert!(filled(&keys(["a", "b", "c"])).is_sorted);
        assert!(!filled(&keys(["a", "c", "b"])).is_sorted);
    }

    #[test]
    fn always_holds_one_record() {
        let mut arena = Arena::new(0);
        assert!(arena.has_room(1000));
        arena.push(&Record::new(b"a", 0, &Object::default(), b""));
        assert!(!arena.has_room(0));
        arena.clear();
        assert!(arena.has_room(1000) && arena.is_empty());
    }
}
