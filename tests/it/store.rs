//! Bytes from stores that answer correctly, and from some that do not: the right bytes or a clear error, in bounded
//! time, and never a request too many. A table of what one server may do wrong is in `misbehaving.rs`.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind};
use dcfs_core::object::Object;
use dcfs_core::time::Timestamp;
use dcfs_store::{Config, Reader, Stores};

use crate::support::http::{Reply, Request, Served, Server, Then};

/// Long enough for a busy machine, short enough for a test: waits in tests are cut here.
const LIMIT: Duration = Duration::from_millis(1500);
const MODIFIED: &str = "Tue, 02 Jan 2024 03:04:05 GMT";
pub const BIG: usize = 5 * 1024 * 1024 + 13;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn config(url: &str) -> Config {
    Config { endpoint_url: Some(url.to_owned()), anon: true, ..Config::new(LIMIT) }
}

pub fn served(size: usize) -> Served {
    let body = (0..size).map(|n| (n % 251) as u8).collect();
    Served { body, etag: "0123abcd".into(), modified: MODIFIED }
}

/// The row of [`served`].
pub fn row(size: usize) -> Object {
    Object {
        source: "s3://bkt".into(),
        path: b"dir/a b.bin".to_vec(),
        size: Some(size as u64),
        etag: "0123abcd".into(),
        last_modified: Timestamp::parse("2024-01-02 03:04:05.678"),
        ..Object::default()
    }
}

async fn open(server: &Server, row: &Object) -> Result<Reader, Error> {
    Stores::new(config(&server.url())).open(row).await
}

async fn read_all(server: &Server, row: &Object) -> Result<Vec<u8>, Error> {
    let reader = open(server, row).await?;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < reader.size() {
        let piece = reader.read(bytes.len() as u64, 131_072).await?;
        assert!(!piece.is_empty(), "never a short read");
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub type Answer = fn(&Request, usize) -> Reply;

/// Reads all of an object of `size` bytes from a server with these answers.
pub fn try_all(size: usize, row: &Object, answer: Answer) -> (Result<Vec<u8>, Error>, Server) {
    run(async {
        let server = Server::start(answer);
        // However wrong an answer is, the read ends; the limit is far above `LIMIT` for busy machines.
        let read = tokio::time::timeout(40 * LIMIT, read_all(&server, row)).await;
        (read.unwrap_or_else(|_| panic!("{size} bytes are read without end")), server)
    })
}

#[test]
fn a_small_object_is_one_plain_request() {
    let (got, server) = try_all(9, &row(9), |request, _| served(9).answer(request));
    assert_eq!(got.expect("served"), served(9).body);
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].target, "/bkt/dir/a%20b.bin");
    assert_eq!(requests[0].header("if-match"), Some("\"0123abcd\""));
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[0].header("authorization"), None);
}

#[test]
fn a_large_object_is_few_ranges_each_pinned_and_no_byte_twice() {
    let (got, server) = try_all(BIG, &row(BIG), |request, _| served(BIG).answer(request));
    assert_eq!(got.expect("served"), served(BIG).body);
    let requests = server.requests();
    let sum: usize = requests.iter().map(|r| r.range().map_or(0, |(a, b)| b - a)).sum();
    assert_eq!(sum, BIG);
    assert!(requests.len() <= 4, "{}", requests.len());
    assert!(requests.iter().all(|r| r.header("if-match") == Some("\"0123abcd\"")));
}

#[test]
fn a_random_read_asks_for_exactly_that() {
    run(async {
        let server = Server::start(|request, _| served(BIG).answer(request));
        let reader = open(&server, &row(BIG)).await.expect("opened");
        let bytes = reader.read(4_000_001, 4096).await.expect("served");
        assert_eq!(bytes, served(BIG).body[4_000_001..4_004_097]);
        let ranges: Vec<_> = server.requests().iter().map(Request::range).collect();
        assert_eq!(ranges, [Some((4_000_001, 4_004_097))]);
    });
}

#[test]
fn a_version_is_asked_for_by_its_id_alone() {
    let row = Object { version: "v/1 +&=".replace(' ', "_"), ..row(9) };
    let (got, server) = try_all(9, &row, |request, _| {
        served(9).answer(request).with("x-amz-version-id", "v/1_+&=")
    });
    assert_eq!(got.expect("served"), served(9).body);
    let request = &server.requests()[0];
    assert_eq!(request.target, "/bkt/dir/a%20b.bin?versionId=v%2F1_%2B%26%3D");
    assert_eq!(request.header("if-match"), None);
}

#[test]
fn keys_reach_the_server_exactly_or_not_at_all() {
    run(async {
        let exact = [
            ("%20", "%2520"),
            ("a+b", "a%2Bb"),
            ("#", "%23"),
            ("?x=y&z", "%3Fx%3Dy%26z"),
            ("[*]", "%5B%2A%5D"),
            ("~tilde", "~tilde"),
            ("back\\slash", "back%5Cslash"),
            ("\u{e9}", "%C3%A9"),
            ("a/.../%2e%2e/b", "a/.../%252e%252e/b"),
            ("\"'<>`", "%22%27%3C%3E%60"),
        ];
        for (key, encoded) in exact {
            let server = Server::start(|request, _| served(9).answer(request));
            let row = Object { path: key.into(), ..row(9) };
            assert_eq!(read_all(&server, &row).await.expect(key), served(9).body);
            assert_eq!(server.requests()[0].target, format!("/bkt/{encoded}"));
        }
        let server = Server::start(|request, _| served(9).answer(request));
        for key in ["/a", "a/", "a//b", "a/../b", ".", "a\nb", "\u{1b}[2J", ""] {
            let row = Object { path: key.into(), ..row(9) };
            let error = open(&server, &row).await.expect_err(key);
            assert_eq!(error.kind(), Kind::Broken, "{error}");
            let text = error.to_string();
            assert!(text.contains("exactly as recorded") && !text.contains('\u{1b}'), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        assert!(server.requests().is_empty());
    });
}

#[test]
fn a_row_with_neither_version_nor_etag_is_held_to_its_time() {
    let bare = Object { etag: String::new(), ..row(9) };
    let (got, server) = try_all(9, &bare, |request, _| served(9).answer(request));
    assert_eq!(got.expect("the same time"), served(9).body);
    assert_eq!(server.requests()[0].header("if-match"), None);
    let (got, _) = try_all(9, &bare, |request, _| {
        served(9).answer(request).with("Last-Modified", "Tue, 02 Jan 2024 03:04:09 GMT")
    });
    let error = got.expect_err("another time");
    assert_eq!(error.kind(), Kind::Stale);
    assert!(error.to_string().contains("2024-01-02 03:04:09 UTC"), "{error}");
    let (got, _) =
        try_all(9, &bare, |request, _| served(9).answer(request).without("Last-Modified"));
    assert!(got.expect_err("no time").to_string().contains("does not say the time of change"));
}

#[test]
fn a_row_that_records_only_a_size_reads_one_object_throughout() {
    let bare = Object { etag: String::new(), last_modified: None, ..row(BIG) };
    let (got, server) = try_all(BIG, &bare, |request, _| served(BIG).answer(request));
    assert!(got.expect("served") == served(BIG).body);
    assert_eq!(server.requests()[0].header("if-match"), None);
    assert_eq!(server.requests()[1].header("if-match"), Some("\"0123abcd\""));
    let (got, _) = try_all(BIG, &bare, |request, number| {
        let etag = if number == 0 { "\"0123abcd\"" } else { "\"ffff\"" };
        served(BIG).answer(request).with("ETag", etag)
    });
    assert_eq!(got.expect_err("two objects").kind(), Kind::Stale);
}

#[test]
fn a_server_that_ignores_versions_is_found_out() {
    let versioned = Object { version: "v1".into(), ..row(9) };
    let (got, _) = try_all(9, &versioned, |request, _| {
        served(9).answer(request).with("x-amz-version-id", "v2")
    });
    let error = got.expect_err("another version");
    assert!(error.to_string().contains("its version was `v1` and is `v2`"), "{error}");
    let (got, _) =
        try_all(9, &versioned, |request, _| served(9).answer(request).with("ETag", "\"ffff\""));
    assert_eq!(got.expect_err("another etag").kind(), Kind::Stale);
}

#[test]
fn an_empty_object_is_asked_for_once_and_must_be_empty() {
    run(async {
        let server = Server::start(|request, _| served(0).answer(request));
        let reader = open(&server, &row(0)).await.expect("opened");
        for _ in 0..3 {
            assert!(reader.read(0, 4096).await.expect("empty").is_empty());
        }
        assert_eq!(server.requests().len(), 1);
        let server = Server::start(|request, _| served(9).answer(request));
        let reader = open(&server, &row(0)).await.expect("opened");
        let error = reader.read(0, 4096).await.expect_err("not empty");
        assert_eq!(error.kind(), Kind::Stale, "{error}");
    });
}

#[test]
fn a_store_that_asks_to_slow_down_is_waited_for_until_the_time_is_up() {
    run(async {
        let server = Server::start(|_, _| Reply::refusal(503, "SlowDown"));
        let reader = Stores::new(config(&server.url())).open(&row(9)).await.expect("opened");
        let began = Instant::now();
        let error = reader.read(0, 9).await.expect_err("busy");
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        assert!(error.to_string().contains("503 SlowDown"), "{error}");
        let (took, asked) = (began.elapsed(), server.requests().len());
        assert!(took > LIMIT / 3 && (3..=7).contains(&asked), "{asked} times in {took:?}");
    });
}

#[test]
fn a_store_is_left_alone_for_as_long_as_it_wants() {
    let cases = [(429, "1"), (503, "1"), (500, "1"), (503, "0")];
    for (status, after) in cases {
        let began = Instant::now();
        let config = Config { timeout: 40 * LIMIT, ..config("") };
        let (got, server) = run(async {
            let server = Server::start(move |request, number| match number {
                0 => Reply::refusal(status, "SlowDown").with("Retry-After", after),
                _ => served(9).answer(request),
            });
            let config = Config { endpoint_url: Some(server.url()), ..config };
            let reader = Stores::new(config).open(&row(9)).await.expect("opened");
            (reader.read(0, 9).await, server)
        });
        assert_eq!(got.expect("served"), served(9).body);
        assert_eq!(server.requests().len(), 2, "{status}");
        let wanted = Duration::from_secs(after.parse().expect("seconds"));
        assert!(began.elapsed() >= wanted, "{status}");
    }
}

#[test]
fn a_store_that_is_away_is_waited_for_once_and_not_by_each_file() {
    run(async {
        let stores = Stores::new(config("http://127.0.0.1:1"));
        let began = Instant::now();
        for number in 0..20 {
            let row = Object { path: format!("file {number}").into(), ..row(9) };
            let error =
                stores.open(&row).await.expect("opened").read(0, 9).await.expect_err("away");
            let text = error.to_string();
            assert!(text.contains(&format!("file {number}`")), "{text}");
            assert!(text.contains("asking `http://127.0.0.1:1`: "), "{text}");
        }
        assert!(began.elapsed() < 4 * LIMIT, "{:?}", began.elapsed());
    });
}

#[test]
fn a_store_that_was_away_is_read_as_soon_as_it_is_back() {
    run(async {
        let is_back = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&is_back);
        let server = Server::start(move |request, _| match back.load(Ordering::SeqCst) {
            false => Reply::refusal(503, "SlowDown"),
            true => served(9).answer(request),
        });
        let stores = Stores::new(config(&server.url()));
        let reader = stores.open(&row(9)).await.expect("opened");
        assert_eq!(reader.read(0, 9).await.expect_err("busy").kind(), Kind::Busy);
        let asked = server.requests().len();
        assert_eq!(reader.read(0, 9).await.expect_err("busy").kind(), Kind::Busy);
        assert_eq!(server.requests().len(), asked + 1, "once more, to see");
        is_back.store(true, Ordering::SeqCst);
        assert_eq!(reader.read(0, 9).await.expect("served"), served(9).body);
    });
}

#[test]
fn a_reader_of_a_slow_line_waits_while_bytes_come() {
    const SIZE: usize = 1 << 20;
    let slowly = |request: &Request, _: usize| Reply {
        then: Then::Slowly(LIMIT / 10),
        ..served(SIZE).answer(request)
    };
    let began = Instant::now();
    let (got, _) = try_all(SIZE, &row(SIZE), slowly);
    assert!(got.expect("served") == served(SIZE).body);
    assert!(began.elapsed() > LIMIT, "longer than a silent line is given");
}

#[test]
fn a_bucket_in_another_region_is_read_there() {
    let refusals = [
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (307, "TemporaryRedirect"),
    ];
    for (status, code) in refusals {
        run(async {
            let server = Server::start(move |request, _| {
                let signed = request.header("authorization").unwrap_or_default();
                match signed.contains("/eu-west-7/s3/") {
                    true => served(9).answer(request),
                    false => Reply::refusal(status, code).with("x-amz-bucket-region", "eu-west-7"),
                }
            });
            let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
            let keys = keys.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let config = Config { anon: false, ..config(&server.url()) };
            let stores = Stores::with_environment(config, keys.to_vec());
            for _ in 0..2 {
                let reader = stores.open(&row(9)).await.expect("opened");
                assert_eq!(reader.read(0, 9).await.expect("served"), served(9).body, "{status}");
            }
            assert_eq!(server.requests().len(), 3, "where it is, is asked once");
        });
    }
}

#[test]
fn a_store_that_sends_around_and_around_is_told_so() {
    run(async {
        let server = Server::start(|_, number| {
            let region = format!("r-{number}");
            Reply::refusal(301, "PermanentRedirect").with("x-amz-bucket-region", &region)
        });
        let stores = Stores::new(config(&server.url()));
        let reader = stores.open(&row(9)).await.expect("opened");
        let error = reader.read(0, 9).await.expect_err("nowhere").to_string();
        assert!(error.contains("another region; pass it as `--region`"), "{error}");
        assert_eq!(server.requests().len(), 2);
    });
}

#[test]
fn readers_of_one_small_object_share_one_request() {
    run(async {
        let server = Server::start(|request, _| served(1_000_000).answer(request));
        let reader = open(&server, &row(1_000_000)).await.expect("opened");
        let reads = (0..8).map(|n| reader.read(n * 125_000, 125_000));
        let got = futures_util::future::join_all(reads).await;
        let bytes: Vec<u8> = got.into_iter().flat_map(|b| b.expect("served").to_vec()).collect();
        assert!(bytes == served(1_000_000).body);
        assert_eq!(server.requests().len(), 1);
    });
}

fn location(source: &str, path: &str, size: usize, (offset, length): (u64, u64)) -> String {
    format!(
        r#"[{{"vtype":"tar","parent":{{"source":"{source}","path":"{path}","size":{size},
        "version":"","etag":"0123abcd","location":null}},"size":{length},"offset":{offset}}}]"#
    )
}

/// Makes the 512 bytes before `at` the header of a member of a tar, as far as its checksum goes.
fn put_header(body: &mut [u8], at: usize) {
    let header = &mut body[at - 512..at];
    header.fill(0);
    header[..5].copy_from_slice(b"a.txt");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A plain tar of that size, whose first member begins at 512.
fn archive(size: usize) -> Served {
    let mut served = served(size);
    put_header(&mut served.body, 512);
    served
}

#[test]
fn members_of_archives_are_pinned_as_their_archive() {
    run(async {
        let server = Server::start(|request, _| archive(10_240).answer(request));
        let member = |part: (u64, u64)| Object {
            path: b"a.tar/in/side.txt".to_vec(),
            size: Some(part.1),
            etag: "of the member".into(),
            location: Some(location("s3://bkt", "a.tar", 10_240, part)),
            ..row(9)
        };
        let bytes = read_all(&server, &member((512, 9))).await.expect("served");
        assert_eq!(bytes, archive(10_240).body[512..521]);
        // The first is for its beginning: to see whether it is compressed.
        assert_eq!(server.requests()[0].range(), Some((0, 512)));
        let request = &server.requests()[1];
        assert_eq!((request.target.as_str(), request.range()), ("/bkt/a.tar", Some((512, 521))));
        assert_eq!(request.header("if-match"), Some("\"0123abcd\""));
        assert!(read_all(&server, &member((10_240, 0))).await.expect("empty").is_empty());
        for part in [(10_240, 1), (0, 10_241), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
            let error = open(&server, &member(part)).await.expect_err("outside");
            assert_eq!(error.kind(), Kind::Broken);
            assert!(error.to_string().contains("ends at byte 10240"), "{error}");
        }
        let sizes = [(Some(100), "has 100 bytes by its row and 9 by"), (None, "records no size")];
        for (size, message) in sizes {
            let other = Object { size, ..member((512, 9)) };
            let error = open(&server, &other).await.expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert_eq!(server.requests().len(), 2);
    });
}

#[test]
fn members_of_compressed_archives_are_refused_whatever_their_name() {
    run(async {
        for magic in [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd", b"BZh91AY&SY", b"\xfd7zXZ\0"] {
            let server = Server::start(move |request, _| {
                let mut served = served(10_240);
                served.body[..magic.len()].copy_from_slice(magic);
                served.answer(request)
            });
            let member = |part: (u64, u64)| Object {
                path: b"a.tar/x".to_vec(),
                size: Some(part.1),
                location: Some(location("s3://bkt", "a.tar", 10_240, part)),
                ..row(9)
            };
            for part in [(512, 9), (2048, 100)] {
                let error = read_all(&server, &member(part)).await.expect_err("compressed");
                assert!(error.to_string().contains("is compressed"), "{error}");
            }
        }
    });
}

#[test]
fn where_no_magic_tells_the_block_before_a_member_must_be_its_header() {
    run(async {
        // Brotli has no magic number.
        let server = Server::start(|request, _| {
            let mut served = served(10_240);
            put_header(&mut served.body, 2048);
            served.answer(request)
        });
        let stores = Stores::new(config(&server.url()));
        let read = async |part: (u64, u64)| {
            let member = Object {
                path: b"a.tar/x".to_vec(),
                size: Some(part.1),
                location: Some(location("s3://bkt", "a.tar", 10_240, part)),
                ..row(9)
            };
            stores.open(&member).await?.read(0, 99).await
        };
        assert_eq!(read((2048, 9)).await.expect("a member"), served(10_240).body[2048..2057]);
        for part in [(512, 9), (100, 9), (2049, 9), (4096, 9)] {
            let error = read(part).await.expect_err("no member");
            assert!(error.to_string().contains("is compressed"), "{part:?}: {error}");
        }
    });
}

#[test]
fn files_and_their_members_are_read_and_pinned() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("real");
        let content = archive(3_000_000).body;
        std::fs::write(path.join("a %20#.bin"), &content).expect("written");
        std::fs::write(path.join("db"), &content).expect("written");
        let mut config = config("http://127.0.0.1:1");
        config.forbidden = vec![PathBuf::from(&path).join("db")];
        let stores = Stores::new(config);
        let source = format!("file://{}", path.display());
        let row = |name: &str| Object {
            source: source.clone(),
            path: name.into(),
            size: Some(3_000_000),
            ..Object::default()
        };
        let reader = stores.open(&row("a %20#.bin")).await.expect("opened");
        let bytes = reader.read(0, u32::MAX).await.expect("read");
        assert!(bytes == content);
        let bytes = reader.read(2_999_990, 4096).await.expect("read");
        assert_eq!(bytes, content[2_999_990..]);
        let member = Object {
            location: Some(location(&source, "a %20#.bin", 3_000_000, (512, 5))),
            size: Some(5),
            ..row("a %20#.bin/x")
        };
        let reader = stores.open(&member).await.expect("opened");
        assert_eq!(reader.read(1, 99).await.expect("read"), content[513..517]);
        let cases = [
            ("none", Kind::Stale, "is gone"),
            ("../x", Kind::Broken, "exactly as recorded"),
            ("db", Kind::Denied, "is never served"),
        ];
        for (name, kind, message) in cases {
            let error = stores.open(&row(name)).await.expect_err(name);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        let unsized_row = Object { size: None, ..row("a %20#.bin") };
        let error = stores.open(&unsized_row).await.expect_err("no size");
        assert!(error.to_string().contains("records no size"), "{error}");
    });
}

#[test]
fn other_stores_are_named() {
    run(async {
        let stores = Stores::new(config("http://127.0.0.1:1"));
        for source in ["hf://spaces", "ftp://h", "what", ""] {
            let row = Object { source: source.into(), ..row(9) };
            let error = stores.open(&row).await.expect_err(source);
            assert_eq!(error.kind(), Kind::Broken, "{error}");
        }
    });
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    run(async {
        let reader = Stores::new(config("http://127.0.0.1:1"))
            .open(&row(9))
            .await
            .expect("nothing is asked yet");
        let error = reader.read(0, 9).await.expect_err("nobody listens");
        assert_eq!(error.kind(), Kind::Broken);
        let message = "`s3://bkt/dir/a b.bin` could not be read: asking `http://127.0.0.1:1`: ";
        assert!(error.to_string().starts_with(message), "{error}");
    });
}
