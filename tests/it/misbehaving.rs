//! A store that misbehaves in every way we know: the right bytes or a clear error, in bounded time, and never a request
//! too many. As in `store.rs`, which reads from stores that answer correctly, too.

use dcfs_core::error::Kind;

use crate::store::{Answer, BIG, row, served, try_all};
use crate::support::http::{Reply, Request, Served, Then};

/// A misbehaviour of a server, and the expected result.
struct Case {
    name: &'static str,
    size: usize,
    answer: Answer,
    /// `Err` contains a part of the message.
    result: Result<(), (Kind, &'static str)>,
    /// At most.
    requests: usize,
}

const CASES: &[Case] = &[
    Case {
        name: "all of it for a range",
        size: BIG,
        answer: |_, _| Reply { status: 200, ..served(BIG).answer(&no_range()) },
        result: Err((Kind::Broken, "the server ignores ranges")),
        requests: 1,
    },
    Case {
        name: "another range",
        size: BIG,
        answer: |request, _| {
            served(BIG).answer(request).with("Content-Range", "bytes 1-1179648/5242893")
        },
        result: Err((Kind::Broken, "is not what was asked for")),
        requests: 1,
    },
    Case {
        name: "a range that overflows",
        size: BIG,
        answer: |request, _| {
            let range = "bytes 0-18446744073709551615/5242893";
            served(BIG).answer(request).with("Content-Range", range)
        },
        result: Err((Kind::Broken, "`s3://bkt/dir/a b.bin`")),
        requests: 1,
    },
    Case {
        name: "no content-range",
        size: BIG,
        answer: |request, _| served(BIG).answer(request).without("Content-Range"),
        result: Err((Kind::Broken, "is not what was asked for: Content-Range header not present")),
        requests: 1,
    },
    Case {
        name: "a range of a longer object",
        size: BIG,
        answer: |request, _| served(BIG + 1).answer(request),
        result: Err((Kind::Stale, "its size was 5242893 bytes and is 5242894 bytes")),
        requests: 1,
    },
    Case {
        name: "a short body, then the rest",
        size: BIG,
        answer: |request, number| {
            let mut reply = served(BIG).answer(request);
            let length = reply.body.len().to_string();
            if number == 0 {
                reply.body.truncate(700_000);
                reply.then = Then::Close;
            }
            reply.with("Content-Length", &length)
        },
        result: Ok(()),
        requests: 5,
    },
    Case {
        name: "a short body, then another object's rest",
        size: BIG,
        answer: |request, number| {
            let mut reply = served(BIG).answer(request);
            let length = reply.body.len().to_string();
            if number > 0 {
                return reply.with("ETag", "\"ffff\"");
            }
            reply.body.truncate(700_000);
            reply.then = Then::Close;
            reply.with("Content-Length", &length)
        },
        result: Err((Kind::Stale, "its etag was `0123abcd` and is `ffff`")),
        requests: 2,
    },
    Case {
        name: "always a short body",
        size: 9,
        answer: |request, _| {
            let mut reply = served(9).answer(request);
            let length = reply.body.len().to_string();
            reply.body.truncate(reply.body.len() / 2);
            reply.then = Then::Close;
            reply.with("Content-Length", &length)
        },
        result: Err((Kind::Broken, "`s3://bkt/dir/a b.bin`")),
        requests: 7,
    },
    Case {
        name: "a short body of all of it, then the rest",
        size: 9,
        answer: |request, number| {
            let mut reply = served(9).answer(request);
            let length = reply.body.len().to_string();
            if number == 0 {
                reply.body.truncate(4);
                reply.then = Then::Close;
            }
            reply.with("Content-Length", &length)
        },
        result: Ok(()),
        requests: 2,
    },
    Case {
        name: "a short body of all of it, then another object's rest",
        size: 9,
        answer: |request, number| {
            let mut reply = served(9).answer(request);
            let length = reply.body.len().to_string();
            if number > 0 {
                return reply.with("ETag", "\"ffff\"");
            }
            reply.body.truncate(4);
            reply.then = Then::Close;
            reply.with("Content-Length", &length)
        },
        result: Err((Kind::Stale, "its etag was `0123abcd` and is `ffff`")),
        requests: 2,
    },
    Case {
        name: "a part for all of it",
        size: 9,
        answer: |request, _| {
            let reply = served(9).answer(request).with("Content-Range", "bytes 0-8/9");
            Reply { status: 206, ..reply }
        },
        result: Err((Kind::Broken, "it sent a part instead of the whole")),
        requests: 1,
    },
    Case {
        name: "a place on the same server",
        size: 9,
        answer: |request, _| match request.target.as_str() {
            "/there" => served(9).answer(request),
            _ => Reply { status: 307, ..served(9).answer(request) }.with("Location", "/there"),
        },
        result: Ok(()),
        requests: 3,
    },
    Case {
        name: "a place on another server",
        size: 9,
        answer: |request, _| {
            let reply = Reply { status: 307, ..served(9).answer(request) };
            reply.with("Location", "http://localhost:1/")
        },
        result: Err((Kind::Broken, "`s3://bkt/dir/a b.bin`")),
        requests: 1,
    },
    Case {
        name: "fewer bytes, and says so",
        size: 9,
        answer: |request, _| served(8).answer(request),
        result: Err((Kind::Stale, "its size was 9 bytes and is 8 bytes")),
        requests: 1,
    },
    Case {
        name: "chunks without a length",
        size: 9,
        answer: |request, _| {
            let body = b"9\r\n012345678\r\n0\r\n\r\n".to_vec();
            Reply { body, ..served(9).answer(request) }.with("Transfer-Encoding", "chunked")
        },
        result: Err((Kind::Broken, "is not what was asked for: Content-Length Header missing")),
        requests: 1,
    },
    Case {
        name: "another etag, If-Match ignored",
        size: 9,
        answer: |request, _| served(9).answer(request).with("ETag", "\"ffff\""),
        result: Err((Kind::Stale, "its etag was `0123abcd` and is `ffff`")),
        requests: 1,
    },
    Case {
        name: "another etag from the second window on",
        size: BIG,
        answer: |request, number| match number {
            0 => served(BIG).answer(request),
            _ => served(BIG).answer(request).with("ETag", "\"ffff\""),
        },
        result: Err((Kind::Stale, "its etag was `0123abcd` and is `ffff`")),
        requests: 6,
    },
    Case {
        name: "an object changed meanwhile",
        size: 9,
        answer: |request, _| Served { etag: "ffff".into(), ..served(9) }.answer(request),
        result: Err((Kind::Stale, "its etag was `0123abcd` and is `ffff`")),
        requests: 2,
    },
    Case {
        name: "412 and nothing else to say",
        size: 9,
        answer: |_, _| Reply::refusal(412, "PreconditionFailed"),
        result: Err((Kind::Stale, "its etag was `0123abcd` and is another one")),
        requests: 2,
    },
    Case {
        name: "no etag",
        size: 9,
        answer: |request, _| served(9).answer(request).without("ETag"),
        result: Err((Kind::Broken, "does not say the etag of `s3://bkt/dir/a b.bin`")),
        requests: 1,
    },
    Case {
        name: "no time of change",
        size: 9,
        answer: |request, _| served(9).answer(request).without("Last-Modified"),
        result: Ok(()),
        requests: 1,
    },
    Case {
        name: "a time of change that is none",
        size: 9,
        answer: |request, _| served(9).answer(request).with("Last-Modified", "yesterday"),
        result: Err((Kind::Broken, "Invalid last modified 'yesterday'")),
        requests: 1,
    },
    Case {
        name: "404",
        size: 9,
        answer: |_, _| Reply::refusal(404, "NoSuchKey"),
        result: Err((Kind::Stale, "is gone, or that version of it: the store answers 404 NoSuch")),
        requests: 1,
    },
    Case {
        name: "403",
        size: 9,
        answer: |_, _| Reply::refusal(403, "AccessDenied"),
        result: Err((
            Kind::Denied,
            "the store answers 403 AccessDenied (as told), requested without",
        )),
        requests: 1,
    },
    Case {
        name: "401",
        size: 9,
        answer: |_, _| Reply::refusal(401, ""),
        result: Err((Kind::Denied, "the store answers 401")),
        requests: 1,
    },
    Case {
        name: "416",
        size: BIG,
        answer: |_, _| Reply::refusal(416, "InvalidRange"),
        result: Err((
            Kind::Stale,
            "its size was 5242893 bytes and is smaller (the store answers 416",
        )),
        requests: 2,
    },
    Case {
        name: "301 with no place",
        size: 9,
        answer: |_, _| Reply::refusal(301, "PermanentRedirect"),
        result: Err((Kind::Broken, "another region; pass it as `--region`")),
        requests: 1,
    },
    Case {
        name: "500, then fine",
        size: 9,
        answer: |request, number| match number {
            0 | 1 => Reply::refusal(500, "InternalError"),
            _ => served(9).answer(request),
        },
        result: Ok(()),
        requests: 3,
    },
    Case {
        name: "always 500",
        size: 9,
        answer: |_, _| Reply::refusal(500, "InternalError"),
        result: Err((Kind::Broken, "`s3://bkt/dir/a b.bin`")),
        requests: 6,
    },
    Case {
        name: "nothing at all",
        size: 9,
        answer: |_, _| Reply::silence(),
        result: Err((Kind::Broken, "no complete answer for `s3://bkt/dir/a b.bin` within 1.5 s")),
        requests: 3,
    },
    Case {
        name: "half a body, then nothing",
        size: BIG,
        answer: |request, _| {
            let mut reply = served(BIG).answer(request);
            let length = reply.body.len().to_string();
            reply.body.truncate(700_000);
            reply.then = Then::Hang;
            reply.with("Content-Length", &length)
        },
        result: Err((Kind::Broken, "no complete answer for `s3://bkt/dir/a b.bin` within 1.5 s")),
        requests: 3,
    },
    Case {
        name: "no HTTP",
        size: 9,
        answer: |_, _| Reply { status: 0, then: Then::Close, ..Reply::silence() },
        result: Err((Kind::Broken, "`s3://bkt/dir/a b.bin`")),
        requests: 6,
    },
];

fn no_range() -> Request {
    Request { method: "GET".into(), target: String::new(), headers: Vec::new(), body: Vec::new() }
}

#[test]
fn right_bytes_or_a_clear_error_in_bounded_time() {
    for case in CASES {
        let (got, server) = try_all(case.size, &row(case.size), case.answer);
        match (&got, &case.result) {
            (Ok(bytes), Ok(())) => assert!(*bytes == served(case.size).body, "{}", case.name),
            (Err(error), Err((kind, message))) => {
                assert_eq!(error.kind(), *kind, "{}: {error}", case.name);
                assert!(error.to_string().contains(message), "{}: {error}", case.name);
            }
            _ => panic!("{}: {:?}", case.name, got.map(|bytes| bytes.len())),
        }
        let count = server.requests().len();
        assert!(count <= case.requests, "{}: {count} requests", case.name);
    }
}
