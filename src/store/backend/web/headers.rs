//! Parsing of response headers. Pure; every byte comes from a stranger.

use std::ops::Range;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::error::show;
use dcfs_core::time::Timestamp;

/// The headers of an answer with status 200 or 206.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether the body is a part, by its status or by `Content-Range`: some servers use one status for
    /// everything.
    pub is_part: bool,
    /// The byte range of the body in the object; `None` if no length is given.
    pub range: Option<Range<u64>>,
    /// Length of the whole object; `None` if it is not given.
    pub size: Option<u64>,
    /// As sent.
    pub etag: Option<String>,
    pub last_modified: Option<Timestamp>,
}

impl Head {
    /// Reads the headers. `Content-Encoding` is ignored: the request accepts none, so the object is stored
    /// encoded, and its length and etag are those of the encoded bytes. An answer encoded in transit has a
    /// different length, which is detected.
    ///
    /// # Errors
    /// The reason why the answer is unusable, for a message.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Result<Self, String> {
        let is_part =
            status == StatusCode::PARTIAL_CONTENT || headers.contains_key("content-range");
        let (range, size) = if is_part {
            let value = text(headers, "content-range").ok_or("a part without Content-Range")?;
            let found = content_range(&value);
            let (range, size) =
                found.ok_or_else(|| format!("Content-Range is `{}`", show(&value)))?;
            (Some(range), Some(size))
        } else {
            let size = text(headers, "content-length").and_then(|length| length.parse().ok());
            (size.map(|size| 0..size), size)
        };
        let (etag, time) = (text(headers, "etag"), text(headers, "last-modified"));
        Ok(Self { is_part, range, size, etag, last_modified: time.and_then(|time| date(&time)) })
    }
}

/// A header as text, if present and readable.
pub fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

/// Parses `bytes 0-9/100` into a range with an exclusive end, and the size.
fn content_range(value: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (u64, u64) = (start.trim().parse().ok()?, last.trim().parse().ok()?);
    let (end, size) = (last.checked_add(1)?, size.trim().parse().ok()?);
    (start < end && end <= size).then_some((start..end, size))
}

/// Parses `Tue, 02 Jan 2024 03:04:05 GMT`.
fn date(text: &str) -> Option<Timestamp> {
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_micros(date.timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'static str, &'a str)];

    fn head(status: u16, pairs: Pairs<'_>) -> Result<Head, String> {
        let pairs = pairs.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        Head::of(StatusCode::from_u16(status).unwrap(), &pairs.collect::<HeaderMap>())
    }

    #[test]
    fn reads_what_an_answer_says() {
        let whole = head(200, &[("content-length", "9"), ("etag", "\"e\"")]).unwrap();
        assert_eq!(
            (whole.range, whole.size, whole.etag),
            (Some(0..9), Some(9), Some("\"e\"".into()))
        );
        let date =
            [("last-modified", "Tue, 02 Jan 2024 03:04:05 GMT"), ("content-encoding", "identity")];
        let unsized_ = head(200, &date).unwrap();
        assert_eq!((unsized_.range, unsized_.size), (None, None));
        assert_eq!(unsized_.last_modified, Timestamp::parse("2024-01-02 03:04:05"));
        assert_eq!(head(200, &[("last-modified", "yesterday")]).unwrap().last_modified, None);
        let part =
            head(206, &[("content-range", "bytes 2-4/9"), ("content-length", "77")]).unwrap();
        assert_eq!((part.range, part.size), (Some(2..5), Some(9)));
        let other = head(200, &[("content-range", "bytes 2-4/9"), ("content-length", "3")]);
        assert_eq!(
            other.map(|part| (part.range, part.size)),
            Ok((Some(2..5), Some(9))),
            "whatever the status"
        );
        let packed = head(200, &[("content-encoding", "gzip"), ("content-length", "9")]);
        assert_eq!(packed.map(|whole| whole.size), Ok(Some(9)), "as it is stored");
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused() {
        let cases: [(u16, Pairs<'_>, &str); 2] = [
            (206, &[], "a part without Content-Range"),
            (206, &[("content-range", "bytes */9")], "Content-Range is `bytes */9`"),
        ];
        for (status, pairs, message) in cases {
            let error = head(status, pairs).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        for value in [
            "",
            "bytes",
            "bytes 0-8",
            "bytes 5-4/9",
            "bytes 0-9/9",
            "bytes 0-18446744073709551615/18446744073709551615",
            "bytes 0-0/*",
            "bytes -1-0/9",
            "items 0-0/9",
        ] {
            assert_eq!(content_range(value), None, "{value}");
        }
    }
}
