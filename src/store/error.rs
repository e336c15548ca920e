//! Errors of reading bytes. One line each: the object, the recorded state, the current state, and what to do.
//! Nothing in a message is raw: keys, etags and answers come from strangers.

use std::fmt::Write as _;

use dcfs_core::error::Kind;
use dcfs_core::object::Object;

/// The longest name or answer that a message repeats, in characters.
const LONGEST: usize = 600;

/// Why an object cannot be read. `place` is `source/path`, safe to print.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store that dcfs does not support, or was built without.
    #[error("dcfs does not read `{scheme}` yet, which `{place}` asks for")]
    Scheme { place: String, scheme: String },
    /// The source or the path has no exact address.
    #[error("`{place}` cannot be requested exactly as recorded: {reason}")]
    Unaskable { place: String, reason: &'static str },
    /// A hand-made row.
    #[error("the row of `{place}` records no size; index it again with DataChain")]
    NoSize { place: String },
    /// A `location` that cannot be followed.
    #[error("`{place}`: {cause}")]
    Location { place: String, cause: dcfs_core::object::Error },
    /// A member with two different sizes: `stat` would report another size than a read returns.
    #[error(
        "`{place}` has {row} bytes by its row and {location} by its `location`; index it again"
    )]
    MemberSize { place: String, row: u64, location: u64 },
    /// Offsets in decompressed data say nothing about the archive's own bytes.
    #[error(
        "`{place}` is compressed, and the row records its member by an offset in the decompressed data, or it is no tar; unpack \
         the archive and index it again"
    )]
    Compressed { place: String },
    /// A member outside its archive.
    #[error(
        "`{place}` ends at byte {size}, but the row's member is {length} bytes from byte {offset}"
    )]
    Outside { place: String, size: u64, offset: u64, length: u64 },
    /// An object other than the recorded one.
    #[error(
        "`{place}` is no longer the object recorded: its {what} was {recorded} and is {found}; \
         index it again and save a new version"
    )]
    Changed { place: String, what: &'static str, recorded: String, found: String },
    /// An object of more bytes than it should have.
    #[error("`{place}` is longer than expected")]
    Longer { place: String },
    /// The name of an open file now leads to another file.
    #[error("`{place}` was replaced while it was read")]
    Replaced { place: String },
    /// No such object.
    #[error("`{place}` is gone, or that version of it: {answer}; index it again")]
    Gone { place: String, answer: String },
    /// The answer carries nothing to tell the recorded object from another one.
    #[error(
        "the store does not say the {what} of `{place}`, recorded as {recorded}, so it may be \
         another object"
    )]
    Unproven { place: String, what: &'static str, recorded: String },
    /// The store or the system denies it.
    #[error("`{place}` may not be read: {answer}; {hint}")]
    Denied { place: String, answer: String, hint: &'static str },
    /// The catalog, the cache, or the mount itself.
    #[error("`{place}` is never served: it belongs to the catalog, the cache or the mount")]
    Forbidden { place: String },
    /// Still busy after all retries.
    #[error("the store is busy and did not return `{place}`: {answer}; try again later")]
    Busy { place: String, answer: String },
    /// No answer, or an incomplete one.
    #[error("no complete answer for `{place}` within {seconds} s; see `--timeout`")]
    Timeout { place: String, seconds: f64 },
    /// The store sent a whole object when asked for a part.
    #[error(
        "the server ignores ranges: when asked for a part of `{place}`, it sent all of it; large \
         objects cannot be read from it"
    )]
    RangeIgnored { place: String },
    /// Bytes other than the requested ones.
    #[error("the store's answer for `{place}` is not what was asked for: {answer}")]
    Answer { place: String, answer: String },
    /// No bucket, folder or prefix of that name.
    #[error("there is no `{place}`: {answer}")]
    Missing { place: String, answer: String },
    /// The receiver of the rows is gone.
    #[error("the receiver of the listing is gone")]
    Unheard,
    /// Any other failure of the store, the network or the disk.
    #[error("`{place}` could not be read: {cause}")]
    Failed { place: String, cause: String },
    /// An invalid flag or environment variable.
    #[error("{0}")]
    Setting(String),
}

impl From<Error> for dcfs_core::error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Changed { .. }
            | Error::Longer { .. }
            | Error::Replaced { .. }
            | Error::Gone { .. } => Kind::Stale,
            Error::Denied { .. } | Error::Forbidden { .. } => Kind::Denied,
            Error::Busy { .. } => Kind::Busy,
            Error::Missing { .. } => Kind::Missing,
            Error::Setting(_) => Kind::Invalid,
            Error::Scheme { .. }
            | Error::Unaskable { .. }
            | Error::NoSize { .. }
            | Error::Location { .. }
            | Error::MemberSize { .. }
            | Error::Compressed { .. }
            | Error::Outside { .. }
            | Error::Unproven { .. }
            | Error::Timeout { .. }
            | Error::RangeIgnored { .. }
            | Error::Answer { .. }
            | Error::Unheard
            | Error::Failed { .. } => Kind::Broken,
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// The error for an object whose address has no exact meaning.
    pub fn unaskable(object: &Object, reason: &'static str) -> Self {
        Self::Unaskable { place: place(object), reason }
    }

    /// The error for an object of a store that dcfs does not read.
    pub fn scheme(object: &Object, scheme: &str) -> Self {
        Self::Scheme { place: place(object), scheme: show(scheme) }
    }
}

/// `source/path` of `object` for a message: for a URL, without user name, password and query, which may contain
/// a signature.
pub fn place(object: &Object) -> String {
    let text = object.to_string();
    match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let (path, more) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?..."));
            show(&format!("{scheme}://{host}/{path}{more}"))
        }
        _ => show(&text),
    }
}

/// `text` on one line, without control or invisible characters, cut at [`LONGEST`] characters.
pub fn show(text: &str) -> String {
    let mut shown = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == LONGEST {
            shown.push_str("...");
            break;
        }
        match c {
            '"' | '\'' => shown.push(c),
            _ => write!(shown, "{}", c.escape_debug()).expect("a String takes anything"),
        }
    }
    shown
}

/// A value of a row or an answer: `text` in backquotes.
pub fn quoted(text: &str) -> String {
    format!("`{}`", show(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let cases = [
            ("https://h", "a/b", "https://h/a/b"),
            ("https://u:secret@h:1", "a", "https://h:1/a"),
            ("https://h", "a?X-Amz-Signature=secret", "https://h/a?..."),
            ("https://secret@h/x", "?secret", "https://h/x/?..."),
            ("s3://b", "a?b@c", "s3://b/a?b@c"),
        ];
        for (source, path, shown) in cases {
            let object = Object { source: source.into(), path: path.into(), ..Object::default() };
            assert_eq!(place(&object), shown);
        }
    }

    #[test]
    fn names_of_strangers_are_shown_on_one_line() {
        let cases = [
            ("s3://b/it's a \"key\"", "s3://b/it's a \"key\""),
            ("a\nb\t\u{1b}[31m\\", "a\\nb\\t\\u{1b}[31m\\\\"),
            ("\u{e9}\u{202e}", "\u{e9}\\u{202e}"),
        ];
        for (text, shown) in cases {
            assert_eq!(show(text), shown, "{text:?}");
        }
        assert_eq!(show(&"k".repeat(100_000)).len(), LONGEST + 3);
    }
}
