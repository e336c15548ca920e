//! Pinning: what to ask a store for so that it can answer with the recorded object only, and
//! whether the answer is that object. Pure.
//!
//! | the row has | asked | proof in the answer |
//! |---|---|---|
//! | a version | `versionId` | the same version id, or else as below |
//! | an etag | `If-Match` | the same etag |
//! | neither | nothing | the same size and, to the second, the same time of change |
//!
//! Whatever was asked, everything that both the row and the answer tell must agree: servers exist
//! that ignore `If-Match` and `versionId`. An answer that proves nothing is refused. DataChain
//! writes 1970-01-01 for a time that it does not know; of a row with no version, no etag and no
//! time only the size can be held, and the first answer then pins those that follow ([`Seen`]).

use std::sync::OnceLock;

use super::error::quoted;
use crate::object::Object;
use crate::time::Timestamp;

/// The longest version or etag that is put into a request.
const LONGEST: usize = 1024;

/// Which object a row means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Length in bytes.
    pub size: u64,
    /// Empty where the bucket is not versioned.
    pub version: String,
    /// As recorded, usually without quotes; may be empty.
    pub etag: String,
    /// `None` where unknown.
    pub last_modified: Option<Timestamp>,
}

/// What an answer of a store says of the object it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Length of the whole object in bytes.
    pub size: u64,
    pub version: Option<String>,
    /// As sent: quoted, maybe weak.
    pub etag: Option<String>,
    pub last_modified: Option<Timestamp>,
}

/// What to add to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Only this version.
    Version(String),
    /// Only while the etag is this one; quoted.
    IfMatch(String),
    /// The store cannot be held to anything.
    Any,
}

/// Why an answer is not, or may not be, the object recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another object.
    Changed { what: &'static str, recorded: String, found: String },
    /// The answer lacks what would tell.
    Unproven { what: &'static str, recorded: String },
}

/// The first answer for an open object. All later ones must agree with it.
pub type Seen = OnceLock<Answer>;

impl Recorded {
    /// `None` where the row has no size: nothing could be checked, and no file shown.
    pub fn of(object: &Object) -> Option<Self> {
        Some(Self {
            size: object.size?,
            version: object.version.clone(),
            etag: object.etag.clone(),
            last_modified: object.last_modified.filter(|t| t.micros() != 0),
        })
    }

    /// What to ask for. A weak etag cannot be asked for: `If-Match` never holds for one.
    ///
    /// # Errors
    /// The reason, where the version could not stand in a request: asking without it would mean
    /// another object.
    pub fn ask(&self, seen: &Seen) -> Result<Ask, &'static str> {
        if !self.version.is_empty() {
            let plain = is_plain(&self.version);
            return if plain { Ok(Ask::Version(self.version.clone())) } else { Err(BAD_VERSION) };
        }
        let first = seen.get().and_then(|answer| answer.etag.as_deref()).unwrap_or_default();
        let etag = if self.etag.is_empty() { first } else { &self.etag };
        let bare = opaque(etag);
        let strong = !bare.is_empty() && !etag.starts_with("W/") && is_plain(bare);
        Ok(if strong { Ask::IfMatch(format!("\"{bare}\"")) } else { Ask::Any })
    }

    /// Whether `answer` is the object recorded.
    pub fn check(&self, answer: &Answer) -> Result<(), Mismatch> {
        if answer.size != self.size {
            let bytes = |n: u64| format!("{n} bytes");
            return Err(changed("size", bytes(self.size), bytes(answer.size)));
        }
        let version = agree("version", &self.version, answer.version.as_deref())?;
        let etag = agree("etag", opaque(&self.etag), answer.etag.as_deref().map(opaque))?;
        if version == Proof::Same || etag == Proof::Same {
            return Ok(());
        }
        match (self.last_modified, answer.last_modified) {
            // A row with an etag is held to it; a time alone is weaker than what was recorded.
            _ if etag == Proof::Lacking => Err(unproven("etag", &self.etag)),
            (Some(recorded), Some(found)) if apart(recorded, found) => {
                Err(changed("time of change", recorded.to_string(), found.to_string()))
            }
            (Some(_), Some(_)) => Ok(()),
            _ if version == Proof::Lacking => Err(unproven("version", &self.version)),
            (Some(recorded), None) => {
                Err(Mismatch::Unproven { what: "time of change", recorded: recorded.to_string() })
            }
            (None, _) => Ok(()),
        }
    }
}

impl Answer {
    /// Whether two answers may be of one object: whatever both say is equal.
    pub fn agrees(&self, later: &Self) -> Result<(), Mismatch> {
        let first = Recorded {
            size: self.size,
            version: self.version.clone().unwrap_or_default(),
            etag: self.etag.clone().unwrap_or_default(),
            last_modified: self.last_modified,
        };
        first.check(later)
    }
}

const BAD_VERSION: &str = "its version is not one that a store gives";

/// What comparing one property told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Same,
    /// Recorded, but the answer does not say.
    Lacking,
    /// Not recorded.
    Unasked,
}

fn agree(what: &'static str, recorded: &str, found: Option<&str>) -> Result<Proof, Mismatch> {
    match found.filter(|found| !found.is_empty()) {
        _ if recorded.is_empty() => Ok(Proof::Unasked),
        None => Ok(Proof::Lacking),
        Some(found) if found == recorded => Ok(Proof::Same),
        Some(found) => Err(changed(what, quoted(recorded), quoted(found))),
    }
}

fn changed(what: &'static str, recorded: String, found: String) -> Mismatch {
    Mismatch::Changed { what, recorded, found }
}

fn unproven(what: &'static str, recorded: &str) -> Mismatch {
    Mismatch::Unproven { what, recorded: quoted(recorded) }
}

/// A second or more apart: headers tell whole seconds, rows more.
fn apart(a: Timestamp, b: Timestamp) -> bool {
    a.micros().abs_diff(b.micros()) >= 1_000_000
}

/// The etag without `W/` and quotes.
fn opaque(etag: &str) -> &str {
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(etag)
}

/// Whether `text` may stand in a header and a URL.
fn is_plain(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn row(version: &str, etag: &str, time: i64) -> Recorded {
        let object = Object {
            size: Some(9),
            version: version.into(),
            etag: etag.into(),
            last_modified: Some(Timestamp::from_micros(time)),
            ..Object::default()
        };
        Recorded::of(&object).unwrap()
    }

    fn answer(version: &str, etag: &str, time: i64) -> Answer {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let last_modified = (time != 0).then(|| Timestamp::from_micros(time));
        Answer { size: 9, version: some(version), etag: some(etag), last_modified }
    }

    #[test]
    fn asks_for_the_one_object_where_the_store_can_be_held_to_it() {
        let seen = Seen::from(answer("", "\"first\"", 0));
        let unseen = Seen::new();
        let cases = [
            (row("v.1_-", "e", 1), &unseen, Ok(Ask::Version("v.1_-".into()))),
            (row("", "e-2", 1), &seen, Ok(Ask::IfMatch("\"e-2\"".into()))),
            (row("", "\"e\"", 1), &unseen, Ok(Ask::IfMatch("\"e\"".into()))),
            (row("", "", 1), &unseen, Ok(Ask::Any)),
            (row("", "", 1), &seen, Ok(Ask::IfMatch("\"first\"".into()))),
            (row("", "W/\"e\"", 1), &unseen, Ok(Ask::Any)),
            (row("", "e\r\nX: y", 1), &unseen, Ok(Ask::Any)),
            (row("", "a\"b", 1), &unseen, Ok(Ask::Any)),
            (row("", &"e".repeat(5000), 1), &unseen, Ok(Ask::Any)),
            (row("v\n", "e", 1), &unseen, Err(BAD_VERSION)),
            (row("v\u{e9}", "", 1), &unseen, Err(BAD_VERSION)),
        ];
        for (row, seen, ask) in cases {
            assert_eq!(row.ask(seen), ask, "{row:?}");
        }
    }

    #[test]
    fn an_answer_is_the_object_or_is_refused() {
        let s = SECOND;
        let same = [
            (row("v", "e", s), answer("v", "\"e\"", 5 * s)),
            (row("v", "e", s), answer("", "\"e\"", 5 * s)),
            (row("v", "e", s), answer("v", "", 0)),
            (row("v", "", s), answer("v", "", 0)),
            (row("v", "", s), answer("", "", s)),
            (row("", "e", s), answer("other", "\"e\"", 5 * s)),
            (row("", "e", s), answer("", "W/\"e\"", 0)),
            (row("", "W/\"e\"", s), answer("", "\"e\"", 0)),
            (row("", "", s + 123_456), answer("any", "\"any\"", s)),
            (row("", "", 0), answer("", "", 7 * s)),
            (row("", "", 0), answer("", "", 0)),
        ];
        for (row, answer) in same {
            assert_eq!(row.check(&answer), Ok(()), "{row:?} {answer:?}");
        }
        let other = [
            (row("v", "e", s), answer("w", "\"e\"", s), "version"),
            (row("v", "e", s), answer("v", "\"f\"", s), "etag"),
            (row("v", "e", s), answer("", "\"f\"", s), "etag"),
            (row("", "e", s), answer("", "\"E\"", s), "etag"),
            (row("", "e\n", s), answer("", "\"e\"", s), "etag"),
            (row("", "", 2 * s), answer("", "\"e\"", s), "time of change"),
            (row("v", "", 2 * s), answer("", "\"e\"", s), "time of change"),
        ];
        for (row, answer, at) in other {
            match row.check(&answer) {
                Err(Mismatch::Changed { what, .. }) => assert_eq!(what, at, "{row:?} {answer:?}"),
                got => panic!("{row:?} {answer:?}: {got:?}"),
            }
        }
        let unproven = [
            (row("", "e", s), answer("", "", s), "etag"),
            (row("", "e", s), answer("", "\"\"", s), "etag"),
            (row("v", "e", s), answer("", "", s), "etag"),
            (row("v", "", 0), answer("", "\"e\"", s), "version"),
            (row("v", "", s), answer("", "\"e\"", 0), "version"),
            (row("", "", s), answer("", "\"e\"", 0), "time of change"),
        ];
        for (row, answer, at) in unproven {
            match row.check(&answer) {
                Err(Mismatch::Unproven { what, .. }) => assert_eq!(what, at, "{row:?} {answer:?}"),
                got => panic!("{row:?} {answer:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn the_size_always_counts() {
        let answer = Answer { size: 8, ..answer("v", "\"e\"", SECOND) };
        let (what, recorded, found) = ("size", "9 bytes".into(), "8 bytes".into());
        let changed = Mismatch::Changed { what, recorded, found };
        assert_eq!(row("v", "e", SECOND).check(&answer), Err(changed));
        assert_eq!(Recorded::of(&Object::default()), None);
    }

    #[test]
    fn the_first_answer_pins_the_next() {
        let first = answer("", "\"e\"", SECOND);
        assert!(first.agrees(&answer("", "\"e\"", SECOND)).is_ok());
        assert!(first.agrees(&answer("", "\"f\"", SECOND)).is_err());
        assert!(first.agrees(&answer("", "", SECOND)).is_err());
        let timed = answer("", "", SECOND);
        assert!(timed.agrees(&answer("", "", 9 * SECOND)).is_err());
    }
}
