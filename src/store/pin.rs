//! Pinning: request conditions that only the recorded object can satisfy, and the check that an answer is that
//! object. Pure.
//!
//! | the row has | the request | proof in the answer |
//! |---|---|---|
//! | a version | that version: `versionId` of S3, `generation` of Google, `versionid` of Azure, the commit in the URL of the hub | the same version, or else as below |
//! | an etag | `If-Match`, if it is strong; not for Google and the hub | the same etag |
//! | neither | no condition | the same size and, to the second, the same mtime |
//!
//! Whatever was requested, everything that both the row and the answer contain must agree: some servers ignore
//! `If-Match` and `versionId`. An answer that proves nothing is refused. DataChain writes 1970-01-01 for an
//! unknown time; for a row with no version, no etag and no time only the size can be checked, and the first
//! answer then pins those that follow ([`Seen`]).
//!
//! DataChain records different properties per store ([`Rules`]): Google's etags come from another API than the
//! one used for reading; for a URL it records the time of indexing as the mtime.

use std::sync::OnceLock;

use super::backend;
use super::error::quoted;
use super::mtime;
use dcfs_core::object::Object;
use dcfs_core::time::Timestamp;

/// In microseconds.
const SECOND: i64 = 1_000_000;

/// Limit of a version or etag in a request, in bytes.
const LONGEST: usize = 1024;

/// The store's conventions by which a row is interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// The etag is an mtime.
    File,
    /// Answers contain what is recorded.
    #[default]
    Bucket,
    /// The etag is that of the JSON API; answers have another.
    Google,
    /// There are no versions, and a time with a fraction of a second is the time of indexing.
    Http,
    /// The version is a commit, the etag a blob id, and answers have no time.
    Hub,
}

impl Rules {
    /// The rules of the store that `source` names.
    pub fn of(source: &str) -> Self {
        match source.split_once(':') {
            Some(("file", _)) => Self::File,
            Some((scheme, _)) => backend::kind(scheme).map_or(Self::Bucket, |kind| kind.rules),
            None => Self::Bucket,
        }
    }
}

/// How well a row identifies its object, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Version,
    Etag,
    /// An etag that allows different bytes with the same meaning.
    WeakEtag,
    SizeAndTime,
    SizeOnly,
}

impl Held {
    /// `None` if it cannot be read at all.
    pub fn of(object: &Object) -> Option<Self> {
        let container = object.member().ok()?.map(|member| member.container);
        let recorded = Recorded::of(container.as_ref().unwrap_or(object))?;
        Some(match &recorded {
            Recorded { version, .. } if !version.is_empty() => Self::Version,
            Recorded { rules: Rules::File, etag, .. } if mtime::parse(etag).is_some() => {
                Self::SizeAndTime
            }
            Recorded { rules, .. } if *rules == Rules::File => recorded.by_time(),
            Recorded { etag, .. } if opaque(etag).is_empty() => recorded.by_time(),
            Recorded { etag, .. } if etag.starts_with("W/") => Self::WeakEtag,
            _ => Self::Etag,
        })
    }

    /// Whether fetched bytes stay right for good; otherwise the object may be another one next time.
    pub const fn is_for_good(self) -> bool {
        matches!(self, Self::Version | Self::Etag)
    }

    /// A short description.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Etag => "etag",
            Self::WeakEtag => "weak etag",
            Self::SizeAndTime => "size and time",
            Self::SizeOnly => "size only",
        }
    }
}

/// The identity of the object that a row records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub rules: Rules,
    /// Length in bytes.
    pub size: u64,
    /// Empty if the bucket is not versioned.
    pub version: String,
    /// As recorded, usually without quotes; may be empty.
    pub etag: String,
    /// `None` where unknown.
    pub last_modified: Option<Timestamp>,
    /// The object has not changed after this time; `None` if unknown.
    pub unchanged_since: Option<Timestamp>,
}

/// The identity of the object in a store's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Length of the whole object in bytes.
    pub size: u64,
    pub version: Option<String>,
    /// As sent: quoted, maybe weak.
    pub etag: Option<String>,
    pub last_modified: Option<Timestamp>,
}

/// The condition to add to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Only this version.
    Version(String),
    /// Only while the etag is this one; quoted.
    IfMatch(String),
    /// No condition: the store supports none.
    Any,
}

/// Why an answer is not, or may not be, the recorded object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Another object.
    Changed { what: &'static str, recorded: String, found: String },
    /// The answer lacks the property that would prove it.
    Unproven { what: &'static str, recorded: String },
}

/// The first answer for an open object. All later ones must agree with it.
pub type Seen = OnceLock<Answer>;

impl Recorded {
    /// `None` if the row has no size: nothing could be checked, and no file shown.
    pub fn of(object: &Object) -> Option<Self> {
        let rules = Rules::of(&object.source);
        let time = object.last_modified.filter(|t| t.micros() != 0);
        // DataChain gets no mtime for a URL, and records its own clock instead.
        let (indexed, changed) = match rules {
            Rules::Http => time.map_or((None, None), |t| {
                if is_whole(t) { (None, Some(t)) } else { (Some(t), None) }
            }),
            Rules::Hub => (None, None),
            _ => (None, time),
        };
        let unless = |left_out: &[Rules], text: &str| {
            if left_out.contains(&rules) { String::new() } else { text.to_owned() }
        };
        Some(Self {
            rules,
            size: object.size?,
            version: unless(&[Rules::Http, Rules::File], &object.version),
            etag: unless(&[Rules::Google], &object.etag),
            last_modified: changed,
            unchanged_since: indexed,
        })
    }

    fn by_time(&self) -> Held {
        if self.last_modified.is_some() { Held::SizeAndTime } else { Held::SizeOnly }
    }

    /// The condition of a request. A weak etag cannot be used: `If-Match` never holds for one.
    ///
    /// # Errors
    /// The reason, if the version is not valid in a request: a request without it would mean another object.
    pub fn ask(&self, seen: &Seen) -> Result<Ask, &'static str> {
        if !self.version.is_empty() {
            let plain = is_plain(&self.version);
            return if plain { Ok(Ask::Version(self.version.clone())) } else { Err(BAD_VERSION) };
        }
        if self.rules == Rules::Hub {
            return Ok(Ask::Any);
        }
        let first = seen.get().and_then(|answer| answer.etag.as_deref()).unwrap_or_default();
        let etag = if self.etag.is_empty() { first } else { &self.etag };
        let bare = opaque(etag);
        let strong = !bare.is_empty() && !etag.starts_with("W/") && is_plain(bare);
        Ok(if strong { Ask::IfMatch(format!("\"{bare}\"")) } else { Ask::Any })
    }

    /// Whether `answer` is the recorded object.
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
            // A row with an etag must match it; a time alone is weaker than what was recorded.
            _ if etag == Proof::Lacking => Err(unproven("etag", &self.etag)),
            (Some(recorded), Some(found)) if apart(recorded, found) => {
                Err(changed("time of change", recorded.to_string(), found.to_string()))
            }
            (Some(_), Some(_)) => Ok(()),
            _ if version == Proof::Lacking => Err(unproven("version", &self.version)),
            (Some(recorded), None) => {
                Err(Mismatch::Unproven { what: "time of change", recorded: recorded.to_string() })
            }
            (None, Some(found)) => self.check_unchanged(found),
            (None, None) => Ok(()),
        }
    }

    fn check_unchanged(&self, found: Timestamp) -> Result<(), Mismatch> {
        match self.unchanged_since {
            Some(since) if found.micros() - since.micros() >= SECOND => {
                let recorded = format!("not after {since}, when it was indexed,");
                Err(changed("time of change", recorded, found.to_string()))
            }
            _ => Ok(()),
        }
    }
}

impl Answer {
    /// Whether two answers may be of one object: properties that both contain are equal.
    pub fn agrees(&self, later: &Self) -> Result<(), Mismatch> {
        let first = Recorded {
            size: self.size,
            version: self.version.clone().unwrap_or_default(),
            etag: self.etag.clone().unwrap_or_default(),
            last_modified: self.last_modified,
            ..Recorded::default()
        };
        first.check(later)
    }
}

const BAD_VERSION: &str = "its version is not a valid version of a store";

/// Result of comparing one property.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    Same,
    /// Recorded, but missing in the answer.
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

/// Whether they differ by a second or more: headers have whole seconds, rows are more precise.
fn apart(a: Timestamp, b: Timestamp) -> bool {
    a.micros().abs_diff(b.micros()) >= SECOND.unsigned_abs()
}

/// Whether a time has no fraction of a second, as in headers.
fn is_whole(time: Timestamp) -> bool {
    time.micros() % SECOND == 0
}

/// The etag without `W/` and quotes. DataChain strips quotes at both ends, so that `W/"e"` is recorded as
/// `W/"e`.
fn opaque(etag: &str) -> &str {
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    let etag = etag.strip_prefix('"').unwrap_or(etag);
    etag.strip_suffix('"').unwrap_or(etag)
}

/// Whether `text` is valid in a header and a URL.
fn is_plain(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn of(source: &str, version: &str, etag: &str, micros: i64) -> Recorded {
        Recorded::of(&object(source, version, etag, micros)).unwrap()
    }

    fn object(source: &str, version: &str, etag: &str, micros: i64) -> Object {
        Object {
            source: source.into(),
            path: b"a".to_vec(),
            size: Some(9),
            version: version.into(),
            etag: etag.into(),
            last_modified: Some(Timestamp::from_micros(micros)),
            ..Object::default()
        }
    }

    #[test]
    fn every_store_is_asked_by_its_own_rules() {
        let seen = Seen::new();
        let cases = [
            (of("gs://b", "17", "CJ=", 1), Ask::Version("17".into())),
            (of("gs://b", "", "CJ=", 1), Ask::Any),
            (of("az://c", "", "0x8D", 1), Ask::IfMatch("\"0x8D\"".into())),
            (of("https://h", "v", "e", 1), Ask::IfMatch("\"e\"".into())),
            (of("https://h", "", "W/\"e", 1), Ask::Any),
            (of("hf://datasets", "0a", "1b", 1), Ask::Version("0a".into())),
            (of("hf://datasets", "", "1b", 1), Ask::Any),
        ];
        for (row, ask) in cases {
            assert_eq!(row.ask(&seen), Ok(ask), "{row:?}");
        }
    }

    #[test]
    fn every_store_is_checked_by_its_own_rules() {
        let s = SECOND;
        let same = [
            (of("gs://b", "17", "CJ=", s), answer("17", "\"md5\"", s)),
            (of("gs://b", "", "CJ=", s), answer("17", "\"md5\"", s)),
            (of("https://h", "", "W/\"e", 1), answer("", "W/\"e\"", 9 * s)),
            (of("https://h", "", "", 5 * s + 1), answer("", "", 3 * s)),
            (of("https://h", "", "", 5 * s + 1), answer("", "\"e\"", 6 * s)),
            (of("https://h", "", "", 5 * s + 1), answer("", "", 0)),
            (of("https://h", "", "", 5 * s), answer("", "", 5 * s)),
            (of("hf://datasets", "0a", "1b", 1), answer("0a", "", 0)),
            (of("hf://datasets", "", "1b", 1), answer("0a", "\"1b\"", 0)),
        ];
        for (row, answer) in same {
            assert_eq!(row.check(&answer), Ok(()), "{row:?} {answer:?}");
        }
        let other = [
            (of("gs://b", "17", "CJ=", s), answer("18", "\"md5\"", s), "version"),
            (of("gs://b", "", "CJ=", s), answer("17", "\"md5\"", 3 * s), "time of change"),
            (of("https://h", "", "", 5 * s + 1), answer("", "", 7 * s), "time of change"),
            (of("https://h", "", "", 5 * s), answer("", "", 3 * s), "time of change"),
            (of("https://h", "", "W/\"e", 1), answer("", "\"f\"", 0), "etag"),
            (of("hf://datasets", "0a", "1b", 1), answer("0b", "\"1b\"", 0), "version"),
            (of("hf://datasets", "0a", "1b", 1), answer("0a", "\"1c\"", 0), "etag"),
        ];
        for (row, answer, at) in other {
            match row.check(&answer) {
                Err(Mismatch::Changed { what, .. }) => assert_eq!(what, at, "{row:?} {answer:?}"),
                got => panic!("{row:?} {answer:?}: {got:?}"),
            }
        }
        let large = of("hf://datasets", "0a", "1b", 1).check(&answer("", "", 0));
        assert!(matches!(large, Err(Mismatch::Unproven { what: "etag", .. })), "{large:?}");
    }

    #[test]
    fn a_row_says_how_far_it_is_held() {
        let whole = 5 * SECOND;
        let tar = r#"[{"vtype":"tar","parent":{"source":"s3://b","path":"a.tar","size":9,
            "version":"v"},"size":1,"offset":0}]"#;
        let member = Object { location: Some(tar.into()), ..object("s3://b", "", "", 0) };
        let cases = [
            (object("s3://b", "v", "e", 1), "version"),
            (object("s3://b", "", "e", 1), "etag"),
            (object("s3://b", "", "", 1), "size and time"),
            (object("s3://b", "", "", 0), "size only"),
            (object("gs://b", "17", "CJ=", 1), "version"),
            (object("gs://b", "", "CJ=", 1), "size and time"),
            (object("az://c", "", "0x8D", 1), "etag"),
            (object("https://h", "v", "e", 1), "etag"),
            (object("https://h", "", "W/\"e", 1), "weak etag"),
            (object("https://h", "", "", whole + 1), "size only"),
            (object("https://h", "", "", whole), "size and time"),
            (object("hf://datasets", "0a", "1b", 1), "version"),
            (object("hf://datasets", "", "", 1), "size only"),
            (object("file:///d", "", "0x1.8p+3", 0), "size and time"),
            (object("file:///d", "", "md5", 1), "size and time"),
            (object("file:///d", "", "", 0), "size only"),
            (member, "version"),
        ];
        for (object, text) in cases {
            assert_eq!(Held::of(&object).map(Held::text), Some(text), "{object:?}");
        }
        assert_eq!(Held::of(&Object::default()), None, "no size");
    }
}
