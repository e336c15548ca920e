//! The order in which a directory lists its files, and readers that follow it: policy, separate from I/O.
//!
//! A reader follows an order if its opens come one after another, a few places apart at most: workers that
//! share an epoch overtake each other. After [`SURE`] opens the next files are prefetched, if those opens would be a rare
//! coincidence: among 1,000 files that are opened at random, every second open is near one of the last 64.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use dcfs_core::id::EntryId;

/// Minimum of opens in order.
const SURE: u32 = 3;

/// Bits that do not count as evidence: an open at random is near one of many readers at one of many distances, and so
/// unlikely places come together often.
const COMMON: u32 = 3;

/// Evidence, in bits, after which it is no coincidence: of 900 files opened at random, one open in 900 prefetches (the tests).
/// A reader that opens one file after the other has it after three opens. A short order needs less evidence, because less
/// can be wrong, and one of fewer than 16 files none beyond the three opens.
const ENOUGH: u32 = 9;

/// Largest distance between the opens of one reader, or of several that share an order.
const NEAR: u64 = 8;

/// Number of files to prefetch beyond the last open: twice as many as are fetched at a time.
const AHEAD: u64 = 96;

/// Limits of orders per version in addition to its own, and of readers.
const ORDERS: usize = 4;
const READERS: usize = 64;

/// The files below a directory, in listing order.
#[derive(Clone, Debug)]
pub enum Order {
    /// Every entry of a File column.
    All(Range<u32>),
    /// Those of a query.
    Some(Arc<RoaringBitmap>),
    /// By rank.
    Ranked(Arc<[EntryId]>),
    /// In the order of a list.
    Told(Arc<Told>),
}

/// An order given by a list of any length.
#[derive(Debug)]
pub struct Told {
    entries: Vec<EntryId>,
    /// Places, by ascending entry.
    places: Vec<u32>,
}

impl Told {
    pub fn new(entries: Vec<EntryId>) -> Self {
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_by_key(|place| entries[*place as usize]);
        Self { entries, places }
    }

    fn entry_at(&self, place: u32) -> EntryId {
        self.entries[place as usize]
    }

    /// The first place of an entry.
    fn place(&self, entry: EntryId) -> Option<u64> {
        let at = self.places.partition_point(|place| self.entry_at(*place) < entry);
        let place = self.places.get(at).copied().filter(|place| self.entry_at(*place) == entry);
        place.map(u64::from)
    }
}

impl Order {
    /// The place of an entry.
    fn place(&self, entry: EntryId) -> Option<u64> {
        match self {
            Self::All(entries) => {
                let number = entry.number();
                entries.contains(&number).then(|| (number - entries.start).into())
            }
            Self::Some(entries) => {
                let number = entry.number();
                entries.contains(number).then(|| entries.rank(number) - 1)
            }
            Self::Ranked(entries) => {
                entries.iter().position(|one| *one == entry).map(|place| place as u64)
            }
            Self::Told(told) => told.place(entry),
        }
    }

    /// The entry at a place.
    pub fn entry(&self, place: u64) -> Option<EntryId> {
        let place = u32::try_from(place).ok()?;
        match self {
            Self::All(entries) => {
                let found = entries.start.checked_add(place);
                found.filter(|entry| entries.contains(entry)).map(EntryId::new)
            }
            Self::Some(entries) => entries.select(place).map(EntryId::new),
            Self::Ranked(entries) => entries.get(place as usize).copied(),
            Self::Told(told) => told.entries.get(place as usize).copied(),
        }
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::All(entries) => entries.len() as u64,
            Self::Some(entries) => entries.len(),
            Self::Ranked(entries) => entries.len() as u64,
            Self::Told(told) => told.entries.len() as u64,
        }
    }
}

/// The readers of one version.
#[derive(Debug, Default)]
pub struct Readers {
    /// Recently listed orders, by key; the latest first.
    orders: VecDeque<(u64, Order)>,
    readers: VecDeque<Reader>,
}

/// A reader that opens files in an order.
#[derive(Debug)]
struct Reader {
    order: Order,
    /// The place of the last open.
    last: u64,
    opens: u32,
    /// Evidence that this is no coincidence, in bits.
    evidence: u32,
    /// The place up to which files have been prefetched.
    until: u64,
}

/// Files to prefetch: places of an order.
pub type Wanted = (Order, Range<u64>);

impl Readers {
    /// Records that a directory was listed, whose files have this order.
    pub fn listed(&mut self, key: u64, order: impl FnOnce() -> Option<Order>) {
        let listed = match self.orders.iter().position(|(known, _)| *known == key) {
            Some(0) => return,
            Some(at) => self.orders.remove(at),
            None => order().map(|order| (key, order)),
        };
        self.orders.extend(listed);
        self.orders.rotate_right(1.min(self.orders.len()));
        self.orders.truncate(ORDERS);
    }

    /// Whether an order is known.
    pub fn knows(&self, key: u64) -> bool {
        self.orders.iter().any(|(known, _)| *known == key)
    }

    /// Records that a file was opened; returns the files to prefetch. `whole` is the order of the version.
    pub fn opened(
        &mut self,
        entry: EntryId,
        whole: impl FnOnce() -> Option<Order>,
    ) -> Option<Wanted> {
        let follows =
            |(at, reader): (usize, &Reader)| Some((reader.order.len(), at, reader.follows(entry)?));
        // If a query and its version both match, the query wins.
        let Some((_, at, place)) = self.readers.iter().enumerate().filter_map(follows).min() else {
            self.begin(entry, whole());
            return None;
        };
        let mut reader = self.readers.remove(at)?;
        let later = self.readers.iter().take(at);
        let age = 1 + later.filter(|one| one.order.len() == reader.order.len()).count();
        let wanted = reader.advance(place, age as u64);
        self.readers.push_front(reader);
        wanted
    }

    /// The most likely order in which a file is opened, and its place there.
    pub fn likely(&self, entry: EntryId, whole: Option<Order>) -> Option<(Order, u64)> {
        let orders = self.orders.iter().map(|(_, order)| order.clone()).chain(whole);
        orders.filter_map(|order| order.place(entry).map(|place| (order, place))).next()
    }

    /// Adds a reader in one of the orders that contain the file.
    fn begin(&mut self, entry: EntryId, whole: Option<Order>) {
        for order in self.orders.iter().map(|(_, order)| order.clone()).chain(whole) {
            if let Some(last) = order.place(entry) {
                self.readers.push_front(Reader { order, last, opens: 1, evidence: 0, until: 0 });
            }
        }
        self.readers.truncate(READERS);
    }
}

impl Reader {
    fn follows(&self, entry: EntryId) -> Option<u64> {
        self.order.place(entry).filter(|place| place.abs_diff(self.last) <= NEAR)
    }

    /// `age`: 1 if this was the latest reader of its order, 2 for the one before it, and so on.
    fn advance(&mut self, place: u64, age: u64) -> Option<Wanted> {
        if place > self.last {
            self.evidence = match self.bits(age * (place - self.last)) {
                // As likely by chance: what came before was chance too.
                0 => 0,
                bits => self.evidence.saturating_add(bits),
            };
            self.last = place;
            self.opens += 1;
        } else if place < self.last {
            self.evidence = self.evidence.saturating_sub(1);
        }
        let enough = ENOUGH.min((SURE - 1) * self.bits(1));
        if self.opens < SURE || self.evidence < enough || self.until > self.last + AHEAD / 2 {
            return None;
        }
        let from = self.until.max(self.last + 1);
        let until = (self.last + 1 + AHEAD).min(self.order.len());
        self.until = until;
        (from < until).then(|| (self.order.clone(), from..until))
    }

    /// Evidence in an open at one of `near` places: the fewer there are in a long order, the more.
    fn bits(&self, near: u64) -> u32 {
        let odds = self.order.len() / near.max(1);
        odds.checked_ilog2().unwrap_or(0).saturating_sub(COMMON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Order = Order::All(100..1000);

    fn ids(numbers: &[u32]) -> Vec<EntryId> {
        numbers.iter().copied().map(EntryId::new).collect()
    }

    /// The files to prefetch after each of some opens, as entries.
    fn wanted(readers: &mut Readers, opens: &[u32]) -> Vec<Vec<u32>> {
        let each = |entry: &u32| match readers.opened(EntryId::new(*entry), || Some(WHOLE)) {
            Some((order, places)) => {
                places.filter_map(|place| order.entry(place)).map(EntryId::number).collect()
            }
            None => Vec::new(),
        };
        opens.iter().map(each).collect()
    }

    #[test]
    fn after_three_opens_in_order_the_next_are_wanted_once() {
        let mut readers = Readers::default();
        let got = wanted(&mut readers, &[100, 101, 102]);
        assert!(got[0].is_empty() && got[1].is_empty());
        assert_eq!(got[2], (103..103 + AHEAD as u32).collect::<Vec<_>>());
        let all: Vec<u32> = (103..1000).collect();
        let more: Vec<u32> = wanted(&mut readers, &all).concat();
        assert_eq!(more, (103 + AHEAD as u32..1000).collect::<Vec<_>>(), "each once, to the end");
    }

    #[test]
    fn workers_who_share_an_order_are_one_reader() {
        let mut readers = Readers::default();
        let got = wanted(&mut readers, &[100, 104, 101, 105, 102, 106]).concat();
        assert_eq!(got.first(), Some(&106));
    }

    #[test]
    fn random_opens_want_nothing() {
        let mut readers = Readers::default();
        let opens: Vec<u32> = (0..200).map(|n| 100 + n * 337 % 900).collect();
        assert!(wanted(&mut readers, &opens).concat().is_empty());
        assert!(wanted(&mut readers, &[500, 500, 500, 499, 498]).concat().is_empty());
    }

    #[test]
    fn a_random_order_wants_few_files_however_few_there_are() {
        for (count, most) in [(300_u32, 3000), (900, 1300), (5000, 700), (100_000, 0)] {
            let (mut readers, whole) = (Readers::default(), Order::All(0..count));
            let listed = Order::Some(Arc::new((1..count).collect()));
            readers.listed(1, || Some(listed));
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut wanted = 0;
            for _ in 0..10_000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let entry = EntryId::new((state % u64::from(count)) as u32);
                let places = readers.opened(entry, || Some(whole.clone()));
                wanted += places.map_or(0, |(_, places)| places.end - places.start);
            }
            assert!(wanted <= most, "{wanted} for 10,000 opens of {count} files");
        }
    }

    #[test]
    fn many_workers_that_each_read_in_order_are_readers() {
        let mut readers = Readers::default();
        let opens: Vec<u32> =
            (0..50).flat_map(|n| (0..16).map(move |worker| 100 + worker * 56 + n)).collect();
        let got = wanted(&mut readers, &opens).concat();
        let all: std::collections::HashSet<u32> = got.into_iter().collect();
        assert!(all.len() > 700, "{} of 900", all.len());
    }

    #[test]
    fn a_query_that_was_listed_wants_its_own_files() {
        let mut readers = Readers::default();
        let entries: Arc<RoaringBitmap> = Arc::new((100..1000).filter(|n| n % 7 == 0).collect());
        readers.listed(1, || Some(Order::Some(entries.clone())));
        readers.listed(1, || unreachable!("it is known"));
        let got = wanted(&mut readers, &[105, 112, 119]).concat();
        assert_eq!(got[..3], [126, 133, 140]);
        let ranked = ids(&[900, 200, 700, 300, 800]).into();
        readers.listed(2, || Some(Order::Ranked(ranked)));
        assert_eq!(wanted(&mut readers, &[900, 200, 700]).concat(), [300, 800]);
        let (order, place) = readers.likely(EntryId::new(300), Some(WHOLE)).expect("in both");
        assert_eq!((order.len(), place), (5, 3));
    }

    #[test]
    fn a_list_that_was_read_wants_what_it_says() {
        let mut readers = Readers::default();
        let told: Vec<u32> = (0..900).map(|n| 100 + n * 337 % 900).collect();
        readers.listed(1, || Some(Order::Told(Arc::new(Told::new(ids(&told))))));
        let got = wanted(&mut readers, &told[..50]).concat();
        assert_eq!(got[..AHEAD as usize], told[3..3 + AHEAD as usize]);
        let shared = Told::new(ids(&[7, 5, 7])).place(EntryId::new(7));
        assert_eq!(shared, Some(0), "a file that rows share");
    }
}
