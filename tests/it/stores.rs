//! Bytes from Google Cloud Storage, Azure, web servers and the Hugging Face hub, each played by a server that
//! answers correctly, or misbehaves in every way we know. The behaviour common to all stores is tested in
//! `store.rs`, with S3.

use std::future::Future;
use std::time::Duration;

use dcfs_core::error::{Error, Kind};
use dcfs_core::object::Object;
use dcfs_core::time::Timestamp;
use dcfs_store::{Config, Settings, Stores};

use crate::support::http::{Reply, Request, Served, Server, Then};

/// As in `store.rs`.
const LIMIT: Duration = Duration::from_millis(1500);
const MODIFIED: &str = "Tue, 02 Jan 2024 03:04:05 GMT";
const BIG: usize = 5 * 1024 * 1024 + 13;
const COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";
const BLOB: &str = "0123456789abcdef0123456789abcdef01234567";

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// All stores at `url`, without credentials except a token for the hub.
fn stores(url: &str) -> Stores {
    stores_within(url, LIMIT)
}

fn stores_within(url: &str, timeout: Duration) -> Stores {
    let environment = [
        ("STORAGE_EMULATOR_HOST", url),
        ("AZURE_STORAGE_ACCOUNT", "acc"),
        ("AZURE_STORAGE_ENDPOINT", url),
        ("AZURE_SKIP_SIGNATURE", "true"),
        ("HF_ENDPOINT", url),
        ("HF_TOKEN", "hf_secret"),
    ];
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Stores::with_environment(Config::new(timeout), environment.map(own).to_vec())
}

/// A project pays for requests to Google.
#[test]
fn who_reads_from_google_pays_where_the_owner_does_not() {
    let read = |environment: &[(&str, &str)]| {
        run(async {
            let server = Server::start(|request, _| match request.header("x-goog-user-project") {
                Some("p-1") => right(request, &google(9)),
                _ => Reply::refusal(400, "UserProjectMissing"),
            });
            let url = server.url();
            let all = environment.iter().copied().chain([("STORAGE_EMULATOR_HOST", url.as_str())]);
            let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let config = Config { request_payer: true, ..Config::new(LIMIT) };
            let reader = Stores::with_environment(config, all).open(&google(9)).await?;
            reader.read(0, 9).await
        })
    };
    assert_eq!(read(&[("GOOGLE_CLOUD_PROJECT", "p-1")]).expect("paid"), served(9).body);
    let error = read(&[]).expect_err("nobody pays");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("`GOOGLE_CLOUD_PROJECT`"), "{error}");
}

fn served(size: usize) -> Served {
    let body = (0..size).map(|n| (n % 251) as u8).collect();
    Served { body, etag: "0123abcd".into(), modified: MODIFIED }
}

fn row(source: &str, size: usize) -> Object {
    Object {
        source: source.into(),
        path: b"dir/a b.bin".to_vec(),
        size: Some(size as u64),
        last_modified: Timestamp::parse("2024-01-02 03:04:05.678"),
        ..Object::default()
    }
}

fn google(size: usize) -> Object {
    Object { version: "1700000000000001".into(), etag: "CJ+=".into(), ..row("gs://bkt", size) }
}

fn azure(size: usize) -> Object {
    Object { etag: "0123abcd".into(), ..row("az://con", size) }
}

/// An object of a web server.
fn page(size: usize) -> Object {
    Object { etag: "0123abcd".into(), ..row("HERE", size) }
}

fn hub(size: usize) -> Object {
    let (version, etag) = (COMMIT.into(), BLOB.into());
    let path = b"own/na.me/dir/a b.bin".to_vec();
    Object { version, etag, path, ..row("hf://datasets", size) }
}

/// The right answer of the store that `row` names.
fn right(request: &Request, row: &Object) -> Reply {
    let size = usize::try_from(row.size.expect("sized")).expect("small");
    let object = served(size);
    if row.source.starts_with("gs") {
        let reply = Served { etag: "of-xml".into(), ..object }.answer(request);
        return reply.with("x-goog-generation", "1700000000000001");
    }
    if row.source.starts_with("hf") {
        let reply = Served { etag: BLOB.into(), ..object }.answer(request);
        return reply.with("X-Repo-Commit", COMMIT);
    }
    object.answer(request)
}

async fn read_all(server: &Server, row: &Object) -> Result<Vec<u8>, Error> {
    let source = row.source.replace("HERE", &server.url());
    let reader = stores(&server.url()).open(&Object { source, ..row.clone() }).await?;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < reader.size() {
        let piece = reader.read(bytes.len() as u64, 131_072).await?;
        assert!(!piece.is_empty(), "never a short read");
        bytes.extend_from_slice(&piece);
    }
    if reader.size() == 0 {
        reader.read(0, 1).await?;
    }
    Ok(bytes)
}

/// Reads all of `row` from a server with these answers, given the request, its number and the right answer.
fn try_all(
    row: &Object,
    answer: impl Fn(&Request, usize, Reply) -> Reply + Send + Sync + 'static,
) -> (Result<Vec<u8>, Error>, Server) {
    let of = row.clone();
    run(async {
        let server =
            Server::start(move |request, number| answer(request, number, right(request, &of)));
        let read = tokio::time::timeout(40 * LIMIT, read_all(&server, row)).await;
        (read.expect("a read ends"), server)
    })
}

fn every_store(size: usize) -> [Object; 4] {
    [google(size), azure(size), page(size), hub(size)]
}

#[test]
fn a_small_object_is_one_request_pinned_as_its_store_allows() {
    let cases = [
        (google(9), "/bkt/dir%2Fa%20b%2Ebin?generation=1700000000000001", None, None),
        (azure(9), "/con/dir/a%20b.bin", Some("\"0123abcd\""), None),
        (page(9), "/dir/a%20b.bin", Some("\"0123abcd\""), None),
        (
            hub(9),
            "/datasets/own/na.me/resolve/89abcdef0123456789abcdef0123456789abcdef/dir/a%20b.bin",
            None,
            Some("Bearer hf_secret"),
        ),
    ];
    for (row, target, if_match, token) in cases {
        let (got, server) = try_all(&row, |_, _, right| right);
        assert_eq!(got.expect("served"), served(9).body, "{row}");
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(requests[0].target, target);
        assert_eq!(requests[0].header("if-match"), if_match);
        assert_eq!(requests[0].header("range"), None);
        assert_eq!(requests[0].header("authorization"), token);
    }
}

#[test]
fn large_objects_are_few_ranges_and_empty_ones_are_checked() {
    for row in every_store(BIG) {
        let (got, server) = try_all(&row, |_, _, right| right);
        assert!(got.expect("served") == served(BIG).body, "{row}");
        let requests = server.requests();
        let sum: usize = requests.iter().map(|r| r.range().map_or(0, |(a, b)| b - a)).sum();
        assert_eq!(sum, BIG, "{row}");
        assert!(requests.len() <= 4, "{row}: {}", requests.len());
    }
    for row in every_store(0) {
        let (got, _) = try_all(&row, |_, _, right| right);
        assert!(got.expect("empty").is_empty(), "{row}");
        let one = every_store(1).into_iter().find(|other| other.source == row.source);
        let one = one.expect("of each");
        let (got, _) = try_all(&row, move |request, _, _| right(request, &one));
        assert_eq!(got.expect_err("not empty").kind(), Kind::Stale, "{row}");
    }
}

#[test]
fn a_version_of_azure_is_asked_for_by_its_id() {
    let row = Object { version: "2024-01-02T03:04:05.6Z".into(), ..azure(9) };
    let (got, server) =
        try_all(&row, |_, _, right| right.with("x-ms-version-id", "2024-01-02T03:04:05.6Z"));
    assert_eq!(got.expect("served"), served(9).body);
    let request = &server.requests()[0];
    assert_eq!(request.target, "/con/dir/a%20b.bin?versionid=2024-01-02T03%3A04%3A05.6Z");
    assert_eq!(request.header("if-match"), None);
    let (got, _) = try_all(&row, |_, _, right| right.with("x-ms-version-id", "other"));
    assert_eq!(got.expect_err("another").kind(), Kind::Stale);
}

type Wrong = fn(&Request, usize, Reply) -> Reply;

/// A misbehaviour in every store, and a part of the message.
const WRONG: &[(&str, usize, Wrong, Kind, &str)] = &[
    (
        "all of it for a range",
        BIG,
        |_, _, right| Reply { status: 200, ..right.without("Content-Range") },
        Kind::Broken,
        "the server ignores ranges",
    ),
    (
        "another range",
        BIG,
        |_, _, right| right.with("Content-Range", "bytes 1-1179648/5242893"),
        Kind::Broken,
        "is not what was asked for",
    ),
    (
        "a range of a longer object",
        BIG,
        |_, _, right| right.with("Content-Range", "bytes 0-1179647/5242894"),
        Kind::Stale,
        "its size was 5242893 bytes and is 5242894 bytes",
    ),
    (
        "no content-range",
        BIG,
        |_, _, right| right.without("Content-Range"),
        Kind::Broken,
        "is not what was asked for",
    ),
    (
        "a shorter object",
        9,
        |_, _, mut right| {
            right.body.truncate(8);
            right
        },
        Kind::Stale,
        "its size was 9 bytes and is 8 bytes",
    ),
    ("404", 9, |_, _, _| Reply::refusal(404, "NoSuchKey"), Kind::Stale, "is gone, or that version"),
    ("412", 9, |_, _, _| Reply::refusal(412, "Changed"), Kind::Stale, "and is another one"),
    ("416", BIG, |_, _, _| Reply::refusal(416, "InvalidRange"), Kind::Stale, "and is smaller"),
    ("403", 9, |_, _, _| Reply::refusal(403, "Denied"), Kind::Denied, "the store answers 403"),
    ("401", 9, |_, _, _| Reply::refusal(401, "Denied"), Kind::Denied, "the store answers 401"),
    ("418", 9, |_, _, _| Reply::refusal(418, ""), Kind::Broken, "the store answers 418"),
    ("nothing", 9, |_, _, _| Reply::silence(), Kind::Broken, "no complete answer for"),
    (
        "half a body, then nothing",
        BIG,
        |_, _, mut right| {
            let length = right.body.len().to_string();
            right.body.truncate(700_000);
            right.then = Then::Hang;
            right.with("Content-Length", &length)
        },
        Kind::Broken,
        "no complete answer for",
    ),
    (
        "no HTTP",
        9,
        |_, _, _| Reply { status: 0, then: Then::Close, ..Reply::silence() },
        Kind::Broken,
        "a b.bin`",
    ),
    ("always 500", 9, |_, _, _| Reply::refusal(500, "InternalError"), Kind::Broken, "a b.bin`"),
];

#[test]
fn a_wrong_answer_is_a_clear_error_in_bounded_time() {
    for (name, size, wrong, kind, message) in WRONG {
        for row in every_store(*size) {
            let (got, server) = try_all(&row, *wrong);
            let error = got.err().unwrap_or_else(|| panic!("{name} {row}: no error"));
            assert_eq!(error.kind(), *kind, "{name} {row}: {error}");
            let text = error.to_string();
            assert!(text.contains(message), "{name} {row}: {error}");
            assert!(!text.contains("secret"), "{error}");
            assert!(server.requests().len() <= 7, "{name} {row}: {}", server.requests().len());
        }
    }
}

#[test]
fn failures_that_pass_are_tried_again_and_a_broken_body_goes_on() {
    for row in every_store(9) {
        let (got, server) = try_all(&row, |_, number, right| match number {
            0 | 1 => Reply::refusal(500, "InternalError"),
            _ => right,
        });
        assert_eq!(got.expect("served"), served(9).body, "{row}");
        assert_eq!(server.requests().len(), 3);
    }
    fn short(number: usize, mut reply: Reply) -> Reply {
        if number > 0 {
            return reply;
        }
        let length = reply.body.len().to_string();
        reply.body.truncate(700_000);
        reply.then = Then::Close;
        reply.with("Content-Length", &length)
    }
    for row in every_store(BIG) {
        let (got, _) = try_all(&row, |_, number, right| short(number, right));
        assert!(got.expect("served") == served(BIG).body, "{row}");
        let (got, server) = try_all(&row, |_, number, right| {
            let other = right.with("ETag", "\"ffff\"").with("X-Repo-Commit", "ffff");
            let other = other.with("x-goog-generation", "2");
            if number == 0 { short(0, other) } else { other }
        });
        assert!(got.is_err(), "{row}");
        let (got, _) = try_all(&row, |_, number, right| match number {
            0 => short(0, right),
            _ => right.with("ETag", "\"ffff\"").with("X-Repo-Commit", "ffff"),
        });
        assert!(got.is_err(), "{row}: {} requests", server.requests().len());
    }
}

#[test]
fn another_object_is_found_out_whatever_the_server_ignores() {
    let cases = [
        (google(9), "x-goog-generation", "7", "its version was `1700000000000001` and is `7`"),
        (azure(9), "ETag", "\"ffff\"", "its etag was `0123abcd` and is `ffff`"),
        (page(9), "ETag", "\"ffff\"", "its etag was `0123abcd` and is `ffff`"),
        (hub(9), "X-Repo-Commit", "ffff", "its version was `89abcdef0123456789abcdef"),
        (hub(9), "ETag", "\"ffffffffffffffffffffffffffffffffffffffff\"", "its etag was `0123456"),
    ];
    for (row, header, value, message) in cases {
        let (got, _) = try_all(&row, move |_, _, right| right.with(header, value));
        let error = got.expect_err(message);
        assert_eq!(error.kind(), Kind::Stale, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let silent = [
        (Object { last_modified: None, ..google(9) }, "x-goog-generation"),
        (page(9), "ETag"),
        (Object { etag: String::new(), ..hub(9) }, "X-Repo-Commit"),
    ];
    for (row, header) in silent {
        let (got, _) = try_all(&row, move |_, _, right| right.without(header));
        let error = got.expect_err(header);
        assert!(error.to_string().contains("so it may be another object"), "{error}");
    }
}

#[test]
fn an_object_of_google_without_a_generation_is_held_to_its_time() {
    let row = Object { version: String::new(), ..google(9) };
    let (got, server) = try_all(&row, |_, _, right| right);
    assert_eq!(got.expect("served"), served(9).body);
    assert_eq!(server.requests()[0].target, "/bkt/dir%2Fa%20b%2Ebin");
    assert_eq!(server.requests()[0].header("if-match"), None, "its etag is of another API");
    let (got, _) =
        try_all(&row, |_, _, right| right.with("Last-Modified", "Tue, 02 Jan 2024 03:04:09 GMT"));
    assert_eq!(got.expect_err("another time").kind(), Kind::Stale);
}

#[test]
fn a_page_without_an_etag_is_held_to_the_time_of_indexing() {
    let bare = Object { etag: String::new(), ..page(9) };
    let early = |_: &Request, _: usize, right: Reply| right.without("ETag");
    assert_eq!(try_all(&bare, early).0.expect("not changed since"), served(9).body);
    let silent =
        |_: &Request, _: usize, right: Reply| right.without("ETag").without("Last-Modified");
    assert_eq!(try_all(&bare, silent).0.expect("only its size is known"), served(9).body);
    let late = |_: &Request, _: usize, right: Reply| {
        right.without("ETag").with("Last-Modified", "Tue, 02 Jan 2024 03:04:07 GMT")
    };
    let error = try_all(&bare, late).0.expect_err("changed since");
    assert_eq!(error.kind(), Kind::Stale);
    let message =
        "its time of change was not after 2024-01-02 03:04:05.678 UTC, when it was indexed,";
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn a_page_with_a_weak_etag_is_compared_and_not_asked_for_by_it() {
    // DataChain strips the quotes.
    let row = Object { etag: "W/\"0123abcd".into(), ..page(9) };
    let (got, server) = try_all(&row, |_, _, right| right.with("ETag", "W/\"0123abcd\""));
    assert_eq!(got.expect("served"), served(9).body);
    assert_eq!(server.requests()[0].header("if-match"), None);
    let (got, _) = try_all(&row, |_, _, right| right.with("ETag", "W/\"ffff\""));
    assert_eq!(got.expect_err("another").kind(), Kind::Stale);
}

#[test]
fn a_page_may_come_in_chunks_and_as_it_is_stored() {
    let chunked = |_: &Request, _: usize, right: Reply| {
        let mut body = b"9\r\n".to_vec();
        body.extend_from_slice(&right.body);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        Reply { body, ..right }.with("Transfer-Encoding", "chunked")
    };
    let (got, server) = try_all(&page(9), chunked);
    assert_eq!(got.expect("served"), served(9).body);
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
    let row = Object { size: Some(8), ..page(9) };
    let (got, _) =
        try_all(&row, move |request, number, _| chunked(request, number, right(request, &page(9))));
    assert_eq!(got.expect_err("longer").kind(), Kind::Stale);
    // An object stored compressed has the recorded bytes; one compressed in transit has another length.
    let (got, _) = try_all(&page(9), |_, _, right| right.with("Content-Encoding", "gzip"));
    assert_eq!(got.expect("as stored"), served(9).body);
    let (got, _) = try_all(&row, move |request, _, _| {
        right(request, &page(9)).with("Content-Encoding", "gzip")
    });
    assert_eq!(got.expect_err("packed on the way").kind(), Kind::Stale);
}

#[test]
fn urls_reach_the_server_as_datachain_writes_them() {
    let cases = [
        ("a%20b", "/a%20b"),
        ("a b", "/a%20b"),
        ("a?x=1&y=%2F#f", "/a?x=1&y=%2F"),
        ("a//b", "/a//b"),
        ("\u{e9}", "/%C3%A9"),
        ("a|b\\c\"d", "/a%7Cb%5Cc%22d"),
        ("a;b=c,d:e@f", "/a%3Bb%3Dc%2Cd%3Ae%40f"),
    ];
    for (path, target) in cases {
        let row = Object { path: path.into(), ..page(9) };
        let (got, server) = try_all(&row, |_, _, right| right);
        assert_eq!(got.expect(path), served(9).body);
        assert_eq!(server.requests()[0].target, target);
    }
}

#[test]
fn redirects_are_followed_and_tokens_stay_at_home() {
    let cdn =
        Server::start(|request, _| Served { etag: "cdn".into(), ..served(BIG) }.answer(request));
    let to = format!("{}/cdn/x?X-Amz-Signature=signed", cdn.url());
    let away = move |status: u16, to: String| {
        Reply { status, body: Vec::new(), ..Reply::silence() }.with("Location", &to)
    };
    let there = to.clone();
    let (got, server) = try_all(&hub(BIG), move |_, _, _| {
        let reply = Reply { then: Then::Keep, ..away(302, there.clone()) };
        reply.with("X-Repo-Commit", COMMIT).with("X-Linked-Etag", "\"sha\"").with("ETag", "\"sha\"")
    });
    assert!(got.expect("served") == served(BIG).body);
    let asked = |server: &Server| {
        server
            .requests()
            .iter()
            .filter_map(|r| r.header("authorization").map(str::to_owned))
            .count()
    };
    assert_eq!(asked(&server), server.requests().len());
    assert_eq!(asked(&cdn), 0);
    assert_eq!(cdn.requests()[0].target, "/cdn/x?X-Amz-Signature=signed");
    assert!(cdn.requests().iter().all(|r| r.range().is_some()));

    let moved = Object { etag: "cdn".into(), ..page(BIG) };
    let (got, _) =
        try_all(&moved, move |_, _, _| Reply { then: Then::Keep, ..away(307, to.clone()) });
    assert!(got.expect("served") == served(BIG).body);
    for to in ["/dir/a%20b.bin", "ftp://h/x", "http://[", ""] {
        let (got, server) = try_all(&page(9), move |_, _, _| Reply {
            then: Then::Keep,
            ..away(301, to.to_owned())
        });
        assert_eq!(got.expect_err(to).kind(), Kind::Broken);
        assert!(server.requests().len() <= 10);
    }
}

#[test]
fn a_large_file_of_the_hub_must_name_its_commit() {
    let cdn = Server::start(|request, _| served(9).answer(request));
    let to = format!("{}/x?sig=secret", cdn.url());
    let (got, _) = try_all(&hub(9), move |_, _, _| {
        let reply = Reply { status: 302, then: Then::Keep, ..Reply::silence() };
        reply.with("Location", &to).with("X-Linked-Etag", "\"sha\"")
    });
    let error = got.expect_err("nothing proves it").to_string();
    assert!(error.contains("so it may be another object") && !error.contains("secret"), "{error}");
}

#[test]
fn what_the_hub_says_is_repeated() {
    let (got, _) = try_all(&hub(9), |_, _, _| {
        Reply::refusal(403, "")
            .with("X-Error-Code", "GatedRepo")
            .with("X-Error-Message", "Ask for it")
    });
    let text = got.expect_err("gated").to_string();
    let message = "the store answers 403 GatedRepo (Ask for it); the token does not allow it";
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_private_container_is_no_missing_object() {
    let (got, _) = try_all(&azure(9), |_, _, _| Reply::refusal(404, "ResourceNotFound"));
    let error = got.expect_err("private");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains("`az login`"), "{error}");
    let (got, _) = try_all(&azure(9), |_, _, _| Reply::refusal(404, "BlobNotFound"));
    assert_eq!(got.expect_err("gone").kind(), Kind::Stale);
}

#[test]
fn keys_of_clouds_reach_the_server_exactly() {
    for (key, encoded) in [
        ("%20", "%2520"),
        ("a+b#c?d", "a%2Bb%23c%3Fd"),
        ("\u{e9}", "%C3%A9"),
        ("back\\slash", "back%5Cslash"),
        ("[*]", "%5B%2A%5D"),
    ] {
        let (got, server) = try_all(&Object { path: key.into(), ..google(9) }, |_, _, right| right);
        assert_eq!(got.expect(key), served(9).body);
        let target = &server.requests()[0].target;
        assert_eq!(target.split('?').next(), Some(&*format!("/bkt/{encoded}")));
        let (got, server) = try_all(&Object { path: key.into(), ..azure(9) }, |_, _, right| right);
        assert_eq!(got.expect(key), served(9).body);
        let target = server.requests()[0].target.trim_start_matches("/con/").to_owned();
        assert!(!target.contains(['?', '#', ' ']), "{target}");
        assert_eq!(decoded(&target), key.as_bytes(), "{target}");
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = (*first == b'%').then(|| std::str::from_utf8(&more[..2]).expect("ASCII"));
        bytes.push(hex.map_or(*first, |hex| u8::from_str_radix(hex, 16).expect("hex")));
        rest = &more[if hex.is_some() { 2 } else { 0 }..];
    }
    bytes
}

#[test]
fn servers_that_are_not_there_are_said_so() {
    run(async {
        let rows = [
            google(9),
            azure(9),
            hub(9),
            Object { source: "http://127.0.0.1:1".into(), ..page(9) },
        ];
        for row in rows {
            let stores = stores_within("http://127.0.0.1:1", LIMIT);
            let reader = stores.open(&row).await.expect("nothing is asked yet");
            let error = reader.read(0, 9).await.expect_err("nobody listens");
            assert_eq!(error.kind(), Kind::Broken);
            assert!(error.to_string().contains("asking `http://127.0.0.1:1`: "), "{error}");
        }
    });
}

#[test]
fn settings_change_without_a_new_mount() {
    let stores = stores("http://127.0.0.1:9");
    let settings = |text: &str| Settings::parse("/c.toml".as_ref(), text).expect("settings");
    let table = |stores: &Stores| {
        let said = stores.describe("gs://pets/x").expect("known").expect("said");
        said.into_iter().find(|(name, _)| *name == "settings").expect("the table").1
    };
    assert_eq!(table(&stores), "no table");
    stores.reset(settings("[\"gs://pets\"]\nanon = true")).expect("right");
    assert_eq!(table(&stores), "[\"gs://pets\"]");
    let wrong = settings("[\"https://h\"]\nca_bundle = \"/nonexistent\"");
    assert!(stores.reset(wrong).is_err(), "a bundle that is not there");
    assert_eq!(table(&stores), "[\"gs://pets\"]", "what is wrong changes nothing");
}
