//! A bucket that can only be listed, as fast as possible: keys come from a file and answers from memory.
//!
//!     bench_lister PORT KEYS
//!
//! KEYS has a line `key<TAB>size` for each object, sorted. Answers ListObjects, ListObjectsV2 and
//! ListObjectVersions, a thousand keys at a time, with `prefix`, `delimiter`, `start-after` and the tokens; an
//! etag is derived from key and size. Every bucket name is accepted, and nothing is computed twice.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Maximum of keys in one answer.
const PAGE: usize = 1000;

/// Every object: its key and its size.
type Keys = Arc<Vec<(String, u64)>>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, keys] = words.as_slice() else { panic!("usage: bench_lister PORT KEYS") };
    let keys = Arc::new(read(keys)?);
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(serve(client, Arc::clone(&keys)));
    }
}

fn read(path: &str) -> io::Result<Vec<(String, u64)>> {
    let text = std::fs::read_to_string(path)?;
    let keys = text.lines().filter_map(|line| {
        let (key, size) = line.rsplit_once('\t')?;
        Some((key.to_owned(), size.parse().ok()?))
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    Ok(keys)
}

/// Answers one connection until it ends.
async fn serve(client: TcpStream, keys: Keys) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (reader, mut writer) = client.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(request) = lines.next_line().await? {
        while lines.next_line().await?.is_some_and(|header| !header.is_empty()) {}
        let body = answer(&request, &keys);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let body = if request.starts_with("HEAD") { "" } else { &body };
        writer.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
    Ok(())
}

/// The parameters of a request.
#[derive(Default)]
struct Asked {
    prefix: String,
    has_delimiter: bool,
    /// The key to continue after.
    after: String,
    most: usize,
    is_versions: bool,
}

impl Asked {
    fn parse(request: &str) -> Self {
        let target = request.split(' ').nth(1).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut asked = Self { most: PAGE, ..Self::default() };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "prefix" => asked.prefix = value,
                "delimiter" => asked.has_delimiter = !value.is_empty(),
                "start-after" if asked.after.is_empty() => asked.after = value,
                "continuation-token" | "key-marker" | "marker" => asked.after = value,
                "max-keys" => asked.most = value.parse().unwrap_or(PAGE).min(PAGE),
                "versions" => asked.is_versions = true,
                _ => {}
            }
        }
        asked
    }

    /// The index of the first key of the answer: after the last one, and after all keys that a common prefix
    /// stood for.
    fn start(&self, keys: &[(String, u64)]) -> usize {
        let is_group = self.has_delimiter && self.after.ends_with('/');
        keys.partition_point(|(key, _)| {
            *key <= self.after || *key < self.prefix || (is_group && key.starts_with(&self.after))
        })
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut bytes = text.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        match byte {
            b'%' => found.extend(digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8)),
            other => found.push(other),
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

/// One page. Keys of the bench need no escaping.
fn answer(request: &str, keys: &[(String, u64)]) -> String {
    let asked = Asked::parse(request);
    let mut body = String::with_capacity(256 * asked.most);
    let mut at = asked.start(keys);
    let (mut count, mut last) = (0, String::new());
    while count < asked.most && at < keys.len() && keys[at].0.starts_with(&asked.prefix) {
        let (key, size) = &keys[at];
        let below = &key[asked.prefix.len()..];
        match below.find('/').filter(|_| asked.has_delimiter) {
            Some(end) => {
                last = key[..=asked.prefix.len() + end].to_owned();
                write!(body, "<CommonPrefixes><Prefix>{last}</Prefix></CommonPrefixes>")
                    .expect("text");
                at += keys[at..].partition_point(|(key, _)| key.starts_with(&last));
            }
            None => {
                last.clone_from(key);
                object(&mut body, key, *size, asked.is_versions);
                at += 1;
            }
        }
        count += 1;
    }
    let is_more = at < keys.len() && keys[at].0.starts_with(&asked.prefix);
    envelope(&asked, &body, is_more.then_some(last.as_str()), count)
}

fn object(body: &mut String, key: &str, size: u64, is_version: bool) {
    let (open, close, more) = match is_version {
        true => ("<Version>", "</Version>", "<VersionId>null</VersionId><IsLatest>true</IsLatest>"),
        false => ("<Contents>", "</Contents>", ""),
    };
    let etag = key
        .bytes()
        .fold(size, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    write!(
        body,
        "{open}<Key>{key}</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified>\
         <ETag>&quot;{etag:016x}{size:016x}&quot;</ETag><Size>{size}</Size>\
         <StorageClass>STANDARD</StorageClass>{more}{close}"
    )
    .expect("text");
}

fn envelope(asked: &Asked, body: &str, next: Option<&str>, count: usize) -> String {
    let root = if asked.is_versions { "ListVersionsResult" } else { "ListBucketResult" };
    let next = match (next, asked.is_versions) {
        (None, _) => String::new(),
        (Some(key), true) => format!(
            "<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>"
        ),
        (Some(key), false) => format!(
            "<NextContinuationToken>{key}</NextContinuationToken><NextMarker>{key}</NextMarker>"
        ),
    };
    let truncated = !next.is_empty();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <{root} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bench</Name><Prefix>{}</Prefix>\
         <KeyCount>{count}</KeyCount><MaxKeys>{}</MaxKeys><IsTruncated>{truncated}</IsTruncated>{body}{next}</{root}>",
        asked.prefix, asked.most
    )
}
