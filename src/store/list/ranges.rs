//! Concurrent requests over one listing: each reads a range of keys, and the rest of a range is split when a
//! request is free (`halves` chooses the keys).
//!
//! Rules:
//!
//! 1. Ranges `(after, until]` cover the listing and do not overlap; a row outside of its range is dropped, so
//!    each object is sent once, however the server treats the start key.
//! 2. `until` only shrinks, and only before the range's next page is requested.
//! 3. A first page is followed by the second; only then is a range split, so that small listings stay small.
//! 4. A server whose keys are unordered, or that ignores the start key, is read in one range. If that becomes
//!    apparent after a split, the listing may be incomplete, and that is an error.
//! 5. Where ranges meet, the lower one reads up to the first key that the upper one received, and no less: a
//!    server that skips keys after the start key (moto does) loses none.
//! 6. No server can keep this going for ever: a repeated token is an error, and so are [`EMPTY`] pages without
//!    an entry.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use super::halves::Known;
use super::{Ask, Listed, Page, Pages, Totals};
use crate::error::{Error, quoted};

/// Maximum of concurrent requests.
const MOST: usize = 32;

/// Maximum of consecutive pages with a token and nothing else.
const EMPTY: u32 = 1000;

/// Limit of distinct characters of keys that are remembered; others count as their neighbours.
const LETTERS: usize = 4096;

/// A part of the keys.
#[derive(Debug)]
struct Range {
    ask: Ask,
    /// The greatest key that was read.
    read_to: String,
    /// The greatest key of the page before.
    before: Option<String>,
    /// Pages read by this range and by those it was split from.
    age: u64,
    /// Pages read by this range.
    own: u64,
    /// Consecutive pages without an entry.
    empty: u32,
    /// Hashes of its tokens.
    tokens: HashSet<u64>,
    /// Whether its first key is known to the range below.
    is_met: bool,
    /// Whether it continues past `until`, to the first key of the range above.
    is_short: bool,
}

/// State of a range that the range below needs.
struct Above {
    /// The first key that the server returned; `None` if it returned none at all.
    first: Option<String>,
    until: Option<String>,
}

/// A page, and its range.
type Answered = (Range, Page);

/// A listing in progress.
struct Listing {
    pages: Arc<dyn Pages>,
    under_way: JoinSet<(Range, Result<Page, Error>)>,
    /// By start key: ranges whose lower neighbour has not reached them yet.
    above: HashMap<String, Above>,
    /// By end key: pages that went past it while the range above has no page yet.
    parked: HashMap<String, Answered>,
    letters: BTreeSet<char>,
    may_cut: bool,
    was_cut: bool,
    totals: Totals,
}

/// Sends every row below `prefix`.
///
/// # Errors
/// The store's; `Answer` if the server lists in a way that could lose or repeat rows.
pub async fn list(
    pages: Arc<dyn Pages>,
    prefix: &str,
    may_split: bool,
    to: &Sender<Vec<Listed>>,
) -> Result<Totals, Error> {
    let may_cut = may_split && pages.can_begin_anywhere();
    let (under_way, above, parked, letters, totals) = Default::default();
    let mut listing =
        Listing { pages, under_way, above, parked, letters, may_cut, was_cut: false, totals };
    listing.ask(Range::new(prefix, String::new(), None, 0));
    while let Some(done) = listing.under_way.join_next().await {
        let (range, page) = done.map_err(|error| listing.failed(error.to_string()))?;
        let mut next = Some(listing.arrived((range, page?))?);
        while let Some((answered, woken)) = next {
            let rows = listing.take(answered)?;
            if !rows.is_empty() {
                to.send(rows).await.map_err(|_| Error::Unheard)?;
            }
            next = woken.map(|woken| (woken, None));
        }
    }
    if !listing.parked.is_empty() {
        return Err(listing.failed("a part of the listing is endless".into()));
    }
    Ok(listing.totals)
}

/// The object called `key`, as it is now.
///
/// # Errors
/// As [`list`].
pub async fn single(pages: &dyn Pages, key: &str) -> Result<Option<Listed>, Error> {
    // It sorts first among all keys with this prefix.
    let mut ask = Ask { prefix: key.to_owned(), until: Some(key.to_owned()), ..Ask::default() };
    let mut tokens = HashSet::new();
    loop {
        let page = pages.page(ask.clone()).await?;
        if let Some(found) = page.rows.into_iter().find(|row| row.path == key && row.is_latest) {
            return Ok(Some(found));
        }
        let is_past = page.last.is_some_and(|last| last.as_str() > key);
        match page.token {
            Some(token)
                if !is_past && tokens.insert(token.clone()) && tokens.len() < EMPTY as usize =>
            {
                ask.token = Some(token);
            }
            _ => return Ok(None),
        }
    }
}

impl Range {
    fn new(prefix: &str, after: String, until: Option<String>, age: u64) -> Self {
        let read_to = after.clone();
        let ask = Ask { prefix: prefix.to_owned(), after, until, token: None };
        Self {
            ask,
            read_to,
            before: None,
            age,
            own: 0,
            empty: 0,
            tokens: HashSet::new(),
            is_met: false,
            is_short: false,
        }
    }

    fn covers(&self, key: &str) -> bool {
        key > self.ask.after.as_str() && !self.is_past(key)
    }

    fn is_past(&self, key: &str) -> bool {
        let is_past = |until: &str| key > until || (self.is_short && key == until);
        self.ask.until.as_deref().is_some_and(is_past)
    }

    fn is_unordered(&self, page: &Page) -> bool {
        page.is_disordered
            || page
                .first
                .as_ref()
                .zip(self.before.as_ref())
                .is_some_and(|(first, before)| first < before)
    }
}

impl Listing {
    fn ask(&mut self, range: Range) {
        let pages = Arc::clone(&self.pages);
        self.under_way.spawn(async move {
            let page = pages.page(range.ask.clone()).await;
            (range, page)
        });
    }

    /// Checks a page, and passes its first key to the range below; returns that range's page if it was waiting
    /// for it.
    fn arrived(
        &mut self,
        (mut range, page): Answered,
    ) -> Result<(Answered, Option<Answered>), Error> {
        self.check(&range, &page)?;
        range.age += 1;
        range.own += 1;
        range.empty = if page.seen == 0 { range.empty + 1 } else { 0 };
        let after = &range.ask.after;
        let first = page.least(|key| key > after.as_str());
        let mut woken = None;
        if !range.is_met && !after.is_empty() && (first.is_some() || page.token.is_none()) {
            let above = Above { first: first.map(str::to_owned), until: range.ask.until.clone() };
            self.above.insert(after.clone(), above);
            woken = self.parked.remove(after);
            range.is_met = true;
        }
        Ok(((range, page), woken))
    }

    /// Requests what follows a page, and returns its rows.
    fn take(&mut self, (mut range, mut page): Answered) -> Result<Vec<Listed>, Error> {
        let Some(is_over) = self.meet(&mut range, &page) else {
            let until = range.ask.until.clone().unwrap_or_default();
            self.parked.insert(until, (range, page));
            return Ok(Vec::new());
        };
        page.rows.retain(|row| range.covers(&row.path));
        page.unfit.retain(|key| range.covers(key));
        self.count(&page);
        if let Some(last) = page.last.take() {
            if last > range.read_to {
                range.read_to.clone_from(&last);
            }
            range.before = Some(last);
        }
        if let Some(token) = page.token.filter(|_| !is_over) {
            self.remember(&mut range, &token)?;
            range.ask.token = Some(token);
            self.learn(&range.read_to);
            if let Some(first) = page.first.filter(|_| range.own > 1 || !range.ask.after.is_empty())
            {
                self.cut(&mut range, &first);
            }
            self.ask(range);
        }
        Ok(page.rows)
    }

    /// Whether a range is complete: read up to the first key of the range above. `None` if not known yet.
    fn meet(&mut self, range: &mut Range, page: &Page) -> Option<bool> {
        while let Some(past) = page.least(|key| range.is_past(key)) {
            let until =
                range.ask.until.clone().filter(|_| !range.is_short && !range.is_unordered(page));
            let Some(until) = until else { return Some(range.is_short) };
            let above = self.above.remove(&until)?;
            match above.first {
                Some(first) if past < first.as_str() => {
                    tracing::debug!("`{}` skips keys after `{until}`", self.pages.place());
                    (range.ask.until, range.is_short) = (Some(first), true);
                }
                Some(_) => return Some(true),
                None => range.ask.until = above.until,
            }
        }
        Some(false)
    }

    /// Checks the page for misbehaviour of the server.
    fn check(&mut self, range: &Range, page: &Page) -> Result<(), Error> {
        if let Some(stray) = &page.stray {
            let what = format!(
                "it lists {}, which does not begin with {}",
                quoted(stray),
                quoted(&range.ask.prefix)
            );
            return Err(self.wrong(what));
        }
        let is_unordered = range.is_unordered(page);
        if is_unordered && self.was_cut {
            return Err(self.wrong(
                "its keys are unordered, so some may be missing; see `--sequential`".into(),
            ));
        }
        // A server may begin at any key; only rows after `after` count.
        let is_early = page.first.as_deref().is_some_and(|first| first < range.ask.after.as_str());
        self.may_cut &= !is_unordered && !is_early;
        Ok(())
    }

    fn remember(&self, range: &mut Range, token: &super::page::Token) -> Result<(), Error> {
        let mut hash = DefaultHasher::new();
        token.hash(&mut hash);
        if !range.tokens.insert(hash.finish()) {
            return Err(self.wrong("it repeats a continuation token".into()));
        }
        if range.empty >= EMPTY {
            return Err(self.wrong(format!("{EMPTY} consecutive pages are empty")));
        }
        Ok(())
    }

    fn learn(&mut self, key: &str) {
        if self.letters.len() < LETTERS {
            self.letters.extend(key.chars());
        }
    }

    /// Splits off the end of a range for free requests.
    fn cut(&mut self, range: &mut Range, page_start: &str) {
        // The range's own next request counts too.
        let free = MOST.saturating_sub(self.under_way.len() + 1);
        if !self.may_cut || free == 0 || range.is_short {
            return;
        }
        let known = Known {
            prefix: &range.ask.prefix,
            after: &range.ask.after,
            until: range.ask.until.as_deref(),
            read_to: &range.read_to,
            page_start,
            age: range.age,
            letters: &self.letters,
        };
        for cut in known.cuts().into_iter().take(free) {
            let until = range.ask.until.replace(cut.clone());
            self.was_cut = true;
            self.ask(Range::new(&range.ask.prefix, cut, until, range.age));
        }
    }

    fn count(&mut self, page: &Page) {
        self.totals.count(&page.rows);
        self.totals.seen += page.seen;
        self.totals.keys += page.unfit.len() as u64;
        self.totals.special += page.special;
        self.totals.not_utf8 += page.not_utf8;
    }

    fn wrong(&self, answer: String) -> Error {
        Error::Answer { place: self.pages.place().to_owned(), answer }
    }

    fn failed(&self, cause: String) -> Error {
        Error::Failed { place: self.pages.place().to_owned(), cause }
    }
}
