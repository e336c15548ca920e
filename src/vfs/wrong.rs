//! `_error/<filter>` in every directory of files: the error in a filter, for programs that get EINVAL without a
//! reason.
//!
//! Never listed, found by name only if there is something to say: for a wrong filter its message with a caret;
//! for a right one that selects nothing the reason, if known. A recorded name wins, as over every filter.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::filters::as_name;
use super::inode::{Inode, Slot};
use super::place::Place;
use super::{Answer, Attr, Entry, Error, SHORT, Vfs};
use dcfs_core::error::Result;
use dcfs_core::expr::Query;
use dcfs_core::render::stranger::on_terminal;
use dcfs_data::lost;
use dcfs_data::pack::Dir;
use dcfs_data::query::{self, Version};

/// Number of texts that are kept: a `stat` is followed by an open at once.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// The texts looked up in `_error/`: a few, by number. Numbers are never reused, so one whose text was dropped
/// is ESTALE, and the name is looked up again.
#[derive(Debug)]
pub struct Notes {
    texts: Mutex<LruCache<u32, Arc<str>>>,
    next: AtomicU32,
}

impl Default for Notes {
    fn default() -> Self {
        Self { texts: Mutex::new(LruCache::new(MOST)), next: AtomicU32::new(0) }
    }
}

impl Notes {
    /// The number of a text.
    pub fn number(&self, text: &str) -> u32 {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, _)) = texts.iter().find(|(_, known)| &***known == text) {
            return *number;
        }
        let number = self.next.fetch_add(1, Relaxed);
        texts.put(number, text.into());
        number
    }

    /// The text with a number.
    pub fn text(&self, number: u32) -> Option<Arc<str>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }
}

/// The directory's name.
pub const NAME: &[u8] = b"_error";

impl Vfs {
    /// `_error` in the directory `dir` of a view, or at its top.
    pub(super) fn errors(&self, place: &Place, dir: Option<Dir>) -> Entry {
        let inode = match dir {
            None => Inode::Errors(place.slot),
            Some(dir) if dir.depth == 0 => Inode::ColumnErrors(place.slot, dir.column),
            Some(dir) => Inode::DirErrors(place.slot, dir.depth, dir.first),
        };
        Entry::Found(self.directory(inode, Some(&place.view.of)))
    }

    /// Looks up a filter in `_error/`.
    pub(super) fn lookup_error(
        self: &Arc<Self>,
        parent: u64,
        slot: Slot,
        name: &[u8],
    ) -> Answer<Entry> {
        let name = name.to_vec();
        self.with_place_in_task(parent, slot, move |vfs, place| {
            let Ok(text) = std::str::from_utf8(&name) else { return Ok(Entry::Absent(SHORT)) };
            let Some(message) = vfs.complaint(place, text)? else {
                return Ok(Entry::Absent(SHORT));
            };
            let inode = Inode::ErrorNote(slot, vfs.notes.number(text));
            let attr = vfs.fixed(inode, &place.view.of, message.len() as u64);
            // Another version may get the column that this one lacks.
            Ok(Entry::Found(Attr { ttl: SHORT, ..attr }))
        })
    }

    /// The text of such a file.
    pub(super) fn error_note(&self, place: &Place, number: u32) -> Result<String> {
        let unknown = || Error::Unknown(Inode::ErrorNote(place.slot, number).number());
        let text = self.notes.text(number).ok_or_else(unknown)?;
        Ok(self
            .complaint(place, &text)?
            .unwrap_or_else(|| "Nothing is wrong with this filter.\n".to_owned()))
    }

    /// The error in a filter of the rows of `place`, or why it selects none of them. Blocking.
    fn complaint(&self, place: &Place, text: &str) -> Result<Option<String>> {
        let schema = place.view.schema(&self.catalog)?;
        let message = match lost::check(&self.catalog, &place.view.of, &schema, text) {
            Err(error) => error.to_string(),
            Ok(query) => match self.why_empty(place, &query)? {
                Some(why) => format!("no row passes `{}`: {why}", as_name(&query.to_string())),
                None => return Ok(None),
            },
        };
        Ok(Some(on_terminal(&message) + "\n"))
    }

    /// Why a filter selects none of the rows of `place`; `None` if it selects some, or the reason is unknown.
    fn why_empty(&self, place: &Place, query: &Query) -> Result<Option<String>> {
        let version = Version {
            catalog: &self.catalog,
            of: &place.view.of,
            pack: &place.pack,
            each: &|_| {},
        };
        let within = place.set().map(|set| set.rows());
        match self.queries.select(version, query, within)?.rows.is_empty() {
            true => Ok(query::why(&self.queries, version, query, within)),
            false => Ok(None),
        }
    }

    /// Why the query directory `place` has no rows, judging by its own filter over the parent's rows.
    pub(super) fn why_none(&self, place: &Place, text: &str) -> Option<String> {
        let schema = place.view.schema(&self.catalog).ok()?;
        let query = dcfs_core::expr::check(text, &schema).ok()?;
        self.why_empty(&Place { shown: None, ..place.clone() }, &query).ok()?
    }
}
