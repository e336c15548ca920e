//! Serialises the head of a request, and parses the head of an answer. Pure.

use std::fmt::Write;

use chrono::DateTime;
use object_store::client::HttpRequest;
use reqwest::StatusCode;
use reqwest::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::header::{LOCATION, TRANSFER_ENCODING};

use dcfs_core::time::Timestamp;

/// Limit of a head in bytes.
pub const LONGEST: usize = 64 << 10;

/// Limit of a head in lines.
const LINES: usize = 128;

/// The server that a request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub is_secure: bool,
    /// As in a URL: an IPv6 address is in brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// `None` if a request is not for `http` or `https`, or names no host.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let uri = request.uri();
        let (is_secure, usual) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_owned();
        Some(Self { is_secure, host, port: uri.port_u16().unwrap_or(usual) })
    }

    /// The host without brackets.
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether a `Location` is on this server.
    fn has(&self, location: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(location) else { return !location.starts_with("//") };
        let scheme = if self.is_secure { "https" } else { "http" };
        let host = url.host_str().unwrap_or_default();
        url.scheme() == scheme
            && host.eq_ignore_ascii_case(&self.host)
            && url.port_or_known_default() == Some(self.port)
    }
}

/// Serialises a request without a body.
pub fn written(request: &HttpRequest, origin: &Origin) -> Vec<u8> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut head = begun(request.method().as_str(), [path], origin).into_bytes();
    let ours = ["host", "user-agent", "accept", "content-length", "connection"];
    for (name, value) in request.headers() {
        if !ours.contains(&name.as_str()) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The beginning of a request: the lines that are ours, without the empty line at its end. `path` is in parts.
pub fn begun<'a>(method: &str, path: impl IntoIterator<Item = &'a str>, origin: &Origin) -> String {
    let mut head = String::with_capacity(512);
    head.extend([method, " "]);
    head.extend(path);
    head.extend([" HTTP/1.1\r\nhost: ", &origin.host]);
    let usual = if origin.is_secure { 443 } else { 80 };
    if origin.port != usual {
        let _ = write!(head, ":{}", origin.port);
    }
    head.push_str(concat!(
        "\r\nuser-agent: dcfs/",
        env!("CARGO_PKG_VERSION"),
        "\r\naccept: */*\r\n"
    ));
    head
}

/// How the length of a body is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
    /// Whether the connection can be reused.
    pub is_kept: bool,
    /// Its length in bytes.
    pub length: usize,
}

/// An answer that is not HTTP/1, or contradicts itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its answer is no HTTP/1.1: {0}")]
pub struct Unreadable(&'static str);

impl Head {
    /// Parses a head that is complete in `bytes`; `None` if it is incomplete. `has_body`: not the answer to a
    /// HEAD.
    ///
    /// # Errors
    /// It is malformed, or longer than [`LONGEST`].
    pub fn read(bytes: &[u8], has_body: bool) -> Result<Option<Self>, Unreadable> {
        let mut lines = [httparse::EMPTY_HEADER; LINES];
        let mut answer = httparse::Response::new(&mut lines);
        let length = match answer.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= LONGEST => length,
            Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Ok(None),
            Ok(_) => return Err(Unreadable("its head is endless")),
            Err(_) => return Err(Unreadable("its head is malformed")),
        };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Unreadable("it has no status"))?;
        let mut headers = HeaderMap::with_capacity(answer.headers.len());
        for line in answer.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes());
            let value = HeaderValue::from_bytes(line.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Unreadable("a line of its head is malformed"));
            };
            headers.append(name, value);
        }
        let framing = match has_body && !is_bare(status) {
            true => framing(&headers)?,
            false => Framing::Length(0),
        };
        let is_kept = answer.version == Some(1) && framing != Framing::Close && !closes(&headers);
        Ok(Some(Self { status, headers, framing, is_kept, length }))
    }

    /// Whether it is an interim answer (1xx).
    pub fn is_interim(&self) -> bool {
        self.status.is_informational()
    }

    /// Whether it redirects to another URL on the same server.
    pub fn leads_on(&self, origin: &Origin) -> bool {
        let location = self.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        self.status.is_redirection() && location.is_some_and(|location| origin.has(location))
    }
}

/// Limit of a plain head in lines: those of AWS have some fifteen.
const FEW_LINES: usize = 32;

/// The head of the usual answer to a request for a whole object: HTTP/1.1, status 200, with the expected length, no header twice
/// that matters here, and every header plain text. All others, also those that are not complete yet, are for [`Head`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plain {
    pub etag: Option<String>,
    pub last_modified: Option<Timestamp>,
    /// S3's.
    pub version: Option<String>,
    /// Whether the connection can be reused.
    pub is_kept: bool,
    /// Its length in bytes.
    pub length: usize,
}

impl Plain {
    /// Parses such a head of an answer with a body of `want` bytes.
    pub fn read(bytes: &[u8], want: u64) -> Option<Self> {
        let mut lines = [httparse::EMPTY_HEADER; FEW_LINES];
        let mut answer = httparse::Response::new(&mut lines);
        let httparse::Status::Complete(length) = answer.parse(bytes).ok()? else { return None };
        if length > LONGEST || (answer.version, answer.code) != (Some(1), Some(200)) {
            return None;
        }
        let mut plain = Self { is_kept: true, length, ..Self::default() };
        let (mut size, mut changed) = (None, None);
        for line in answer.headers.iter() {
            let value = plain_text(line.value)?;
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            let once = |into: &mut Option<String>| into.replace(value.to_owned()).is_none();
            let is_sound = match line.name.len() {
                4 if is("etag") => once(&mut plain.etag),
                10 if is("connection") => {
                    plain.is_kept &= !has_close(value);
                    true
                }
                13 if is("last-modified") => changed.replace(value).is_none(),
                14 if is("content-length") => size.replace(value).is_none(),
                16 if is("x-amz-version-id") => once(&mut plain.version),
                13 if is("content-range") => false,
                17 if is("transfer-encoding") => false,
                _ => true,
            };
            if !is_sound {
                return None;
            }
        }
        if let Some(changed) = changed {
            let changed = DateTime::parse_from_rfc2822(changed).ok()?.timestamp_micros();
            plain.last_modified = Some(Timestamp::from_micros(changed));
        }
        (digits(size?) == Some(want)).then_some(plain)
    }
}

/// A value as text, if all of it is visible.
fn plain_text(value: &[u8]) -> Option<&str> {
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| is_plain)
}

/// Whether an answer of this status never has a body.
fn is_bare(status: StatusCode) -> bool {
    status.is_informational() || [204, 304].contains(&status.as_u16())
}

fn closes(headers: &HeaderMap) -> bool {
    let has = |value: &HeaderValue| has_close(value.to_str().unwrap_or("close"));
    // Both kinds of framing at once: two parsers could see two different answers (request smuggling).
    let is_double = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    is_double || headers.get_all(CONNECTION).iter().any(has)
}

/// Whether a `Connection` header contains `close`.
fn has_close(value: &str) -> bool {
    value.split(',').map(str::trim).any(|word| word.eq_ignore_ascii_case("close"))
}

fn framing(headers: &HeaderMap) -> Result<Framing, Unreadable> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if codings.next().is_some() {
            return Err(Unreadable("it has two transfer codings"));
        }
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return if is_chunked {
            Ok(Framing::Chunked)
        } else {
            Err(Unreadable("an unknown coding"))
        };
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(length);
    let Some(first) = lengths.next() else { return Ok(Framing::Close) };
    let first = first.ok_or(Unreadable("its length is not a number"))?;
    match lengths.all(|other| other == Some(first)) {
        true => Ok(Framing::Length(first)),
        false => Err(Unreadable("it has two lengths")),
    }
}

fn length(value: &HeaderValue) -> Option<u64> {
    digits(value.to_str().ok()?)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    fn request(uri: &str) -> HttpRequest {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = uri.parse().expect("an address");
        request
    }

    #[test]
    fn a_request_is_sent_as_it_is() {
        let mut asked = request("http://[::1]:9000/b/a%2Fb?x=1");
        asked.headers_mut().insert("range", HeaderValue::from_static("bytes=0-3"));
        let origin = Origin::of(&asked).expect("an origin");
        assert_eq!((origin.name(), origin.port), ("::1", 9000));
        let text = String::from_utf8(written(&asked, &origin)).expect("text");
        assert!(text.starts_with("GET /b/a%2Fb?x=1 HTTP/1.1\r\nhost: [::1]:9000\r\n"), "{text}");
        assert!(text.ends_with("\r\nrange: bytes=0-3\r\n\r\n"), "{text}");
        let usual = request("https://h/");
        let origin = Origin::of(&usual).expect("an origin");
        let text = String::from_utf8(written(&usual, &origin)).expect("text");
        assert!(text.contains("\r\nhost: h\r\n"), "{text}");
        assert_eq!(Origin::of(&request("ftp://h/")), None);
    }

    #[test]
    fn a_body_ends_in_one_way() {
        let cases: [(&str, Option<(Framing, bool)>); 15] = [
            ("content-length: 5\r\n", Some((Framing::Length(5), true))),
            ("content-length: 5\r\nContent-Length: 5\r\n", Some((Framing::Length(5), true))),
            ("content-length: 5\r\ncontent-length: 6\r\n", None),
            ("content-length: +5\r\n", None),
            ("content-length: 99999999999999999999\r\n", None),
            ("content-length:\r\n", None),
            ("transfer-encoding: Chunked\r\n", Some((Framing::Chunked, true))),
            (
                "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
                Some((Framing::Chunked, false)),
            ),
            ("transfer-encoding: gzip\r\n", None),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", None),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", None),
            ("", Some((Framing::Close, false))),
            ("content-length: 0\r\nconnection: x, Close\r\n", Some((Framing::Length(0), false))),
            ("content-length: 0\r\nconnection: keep-alive\r\n", Some((Framing::Length(0), true))),
            ("content length: 0\r\n", None),
        ];
        for (lines, want) in cases {
            let bytes = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
            let head = Head::read(bytes.as_bytes(), true);
            let found = head.ok().flatten().map(|head| (head.framing, head.is_kept));
            assert_eq!(found, want, "{lines:?}");
        }
    }

    #[test]
    fn the_usual_answer_is_plain_and_any_other_is_left_to_the_whole_parser() {
        let usual = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\nx-amz-version-id: v\r\n\
                     last-modified: Tue, 02 Jan 2024 03:04:05 GMT\r\nx-any: y\r\n\r\nhello";
        let plain = Plain::read(usual.as_bytes(), 5).expect("a head");
        let changed = Timestamp::parse("2024-01-02 03:04:05");
        assert_eq!((plain.etag.as_deref(), plain.last_modified), (Some("\"e\""), changed));
        assert_eq!((plain.version.as_deref(), plain.is_kept), (Some("v"), true));
        assert_eq!(plain.length, usual.len() - 5);
        assert_eq!(Plain::read(usual.as_bytes(), 6), None, "of another length");
        assert_eq!(Plain::read(&usual.as_bytes()[..usual.len() - 7], 5), None, "not complete");
        let read = |line: &str| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: e\r\n{line}\r\n\r\n");
            Plain::read(head.as_bytes(), 5)
        };
        let closed = ["connection: close", "connection: x, Close"];
        assert!(closed.iter().all(|line| read(line).is_some_and(|plain| !plain.is_kept)));
        assert!(read("connection: keep-alive").is_some_and(|plain| plain.is_kept));
        for odd in [
            "content-length: 5",
            "content-length: 6",
            "Transfer-Encoding: chunked",
            "transfer-encoding: identity",
            "content-range: bytes 0-4/5",
            "etag: f",
            "x-any: caf\u{e9}",
            "last-modified: yesterday",
            "last-modified: Tue, 02 Jan 2024 03:04:05 GMT\r\nlast-modified: x",
            "x-amz-version-id: v\r\nx-amz-version-id: w",
            "a b: c",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
        for odd in ["HTTP/1.0 200 OK", "HTTP/1.1 206 Partial Content", "HTTP/1.1 100 Continue", "x"]
        {
            let head = format!("{odd}\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(Plain::read(head.as_bytes(), 5), None, "{odd}");
        }
        for odd in ["+5", "5 5", "5, 5", "", "0x5"] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {odd}\r\n\r\n");
            assert_eq!(Plain::read(head.as_bytes(), 5), None, "{odd}");
        }
        let many =
            format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n{}\r\n", "x: y\r\n".repeat(FEW_LINES));
        assert_eq!(Plain::read(many.as_bytes(), 5), None);
    }

    #[test]
    fn what_is_no_head_is_an_error_and_half_of_one_is_waited_for() {
        let read = |bytes: &[u8]| Head::read(bytes, true).map(|head| head.map(|head| head.status));
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\ncontent-le"), Ok(None));
        assert_eq!(read(b"HTTP/1.1 204 \r\n\r\n"), Ok(Some(StatusCode::NO_CONTENT)));
        for wrong in [&b"HTTP/2 200\r\n\r\n"[..], b"220 smtp\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; LONGEST]].concat();
        assert!(read(&endless).is_err());
        let of_length = |length: usize| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: \r\n\r\n";
            let value = "y".repeat(length - head.len());
            head.replace("x: ", &format!("x: {value}")).into_bytes()
        };
        assert_eq!(read(&of_length(LONGEST)), Ok(Some(StatusCode::OK)));
        assert!(read(&of_length(LONGEST + 1)).is_err());
        assert!(Plain::read(&of_length(LONGEST), 5).is_some());
        assert_eq!(Plain::read(&of_length(LONGEST + 1), 5), None);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(LINES + 1));
        assert!(read(many.as_bytes()).is_err());
    }

    #[test]
    fn redirects_stay_on_their_server() {
        let origin = Origin::of(&request("http://h:81/")).expect("an origin");
        let cases = [
            ("/there", true),
            ("http://h:81/there", true),
            ("http://h/there", false),
            ("https://h:81/there", false),
            ("http://other:81/", false),
            ("//other/", false),
        ];
        for (location, want) in cases {
            let bytes = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\n\r\n");
            let head = Head::read(bytes.as_bytes(), true).expect("a head").expect("whole");
            assert_eq!(head.leads_on(&origin), want, "{location}");
        }
    }
}
