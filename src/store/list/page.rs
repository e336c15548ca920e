//! One answer of a store: its rows, the order of its keys, and its continuation.

use futures_util::future::BoxFuture;

use super::Listed;
use crate::error::Error;

/// A store with listings.
pub trait Pages: Send + Sync + 'static {
    /// Fetches one page, with retries.
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Page, Error>>;

    /// Whether a page can begin after any key, and keys come in the order of their bytes.
    fn can_begin_anywhere(&self) -> bool;

    /// Whether old versions are left out; known after the first page.
    fn is_current(&self) -> bool;

    /// The listed place, for messages.
    fn place(&self) -> &str;
}

/// The parameters of a page.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The prefix of every key.
    pub prefix: String,
    /// The page begins after this key, unless `token` names a position; empty means the beginning.
    pub after: String,
    /// Keys after this one are not needed.
    pub until: Option<String>,
    /// The continuation of the last page.
    pub token: Option<Token>,
}

/// A continuation: the store's token, and if that is a key, its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub String, pub Option<String>);

/// An answer.
#[derive(Debug, Default)]
pub struct Page {
    pub rows: Vec<Listed>,
    /// The least and the greatest key, including entries that are not rows.
    pub first: Option<String>,
    pub last: Option<String>,
    /// Number of entries, rows or not.
    pub seen: u64,
    /// Keys that DataChain skips.
    pub unfit: Vec<String>,
    /// Keys of delete markers.
    pub markers: Vec<String>,
    /// Number of folders listed as objects.
    pub special: u64,
    pub not_utf8: u64,
    /// Whether a key came after a greater one.
    pub is_disordered: bool,
    /// A key without the requested prefix.
    pub stray: Option<String>,
    pub token: Option<Token>,
}

impl Page {
    /// The least key for which `is_wanted` holds.
    pub fn least(&self, is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
        let rows = self.rows.iter().map(|row| row.path.as_str());
        let others = self.unfit.iter().chain(&self.markers).map(String::as_str);
        rows.chain(others).filter(|key| is_wanted(key)).min()
    }
}

/// Builds a page.
#[derive(Debug)]
pub struct Building<'a> {
    prefix: &'a str,
    page: Page,
}

impl<'a> Building<'a> {
    pub fn new(prefix: &'a str) -> Self {
        Self { prefix, page: Page::default() }
    }

    /// Records an entry; returns whether its key may be a row's.
    pub fn key(&mut self, key: &str) -> bool {
        self.page.is_disordered |= self.page.last.as_deref().is_some_and(|last| key < last);
        self.note(key);
        let is_fit = is_fit(key);
        if !is_fit {
            self.page.unfit.push(key.to_owned());
        }
        is_fit
    }

    /// Records a delete marker, after all calls of [`Building::key`]: markers are not in order with the other
    /// entries.
    pub fn marker(&mut self, key: String) {
        self.note(&key);
        self.page.markers.push(key);
    }

    fn note(&mut self, key: &str) {
        let page = &mut self.page;
        page.seen += 1;
        if page.stray.is_none() && !key.starts_with(self.prefix) {
            page.stray = Some(key.to_owned());
        }
        if page.first.as_deref().is_none_or(|first| key < first) {
            page.first = Some(key.to_owned());
        }
        match &mut page.last {
            Some(last) if key > last.as_str() => key.clone_into(last),
            Some(_) => {}
            None => page.last = Some(key.to_owned()),
        }
    }

    /// The greatest key so far.
    pub fn last(&self) -> Option<&str> {
        self.page.last.as_deref()
    }

    pub fn row(&mut self, row: Listed) {
        self.page.rows.push(row);
    }

    /// Records an entry that is not an object.
    pub fn special(&mut self) {
        self.page.special += 1;
    }

    pub fn not_utf8(&mut self) {
        self.page.seen += 1;
        self.page.not_utf8 += 1;
    }

    pub fn done(self, token: Option<Token>) -> Page {
        Page { token, ..self.page }
    }
}

/// DataChain's `_is_valid_key`.
fn is_fit(key: &str) -> bool {
    !(key.is_empty() || key.starts_with('/') || key.ends_with('/') || key.contains("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_its_ends_and_its_order() {
        let page = |keys: &[&str]| {
            let mut building = Building::new("a");
            for key in keys {
                building.key(key);
            }
            let page = building.done(None);
            (page.first, page.last, page.is_disordered, page.stray, page.unfit.len())
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(page(&[]), (None, None, false, None, 0));
        assert_eq!(page(&["a", "a", "ab"]), (own("a"), own("ab"), false, None, 0));
        assert_eq!(page(&["ab", "a"]), (own("a"), own("ab"), true, None, 0));
        assert_eq!(page(&["a", "b", "c"]), (own("a"), own("c"), false, own("b"), 0));
        assert_eq!(page(&["a/", "a//b", "a/b"]), (own("a/"), own("a/b"), false, None, 2));
    }
}
