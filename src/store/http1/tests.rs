//! The client against misbehaving servers: real sockets, raw answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::poll_fn;
use http_body::Body;
use object_store::client::HttpRequestBody;

use super::*;
use crate::patience;

/// A server that plays one of `talks` on each connection: one answer per request; then it hangs up.
fn server(talks: Vec<Vec<Vec<u8>>>) -> u16 {
    server_that_waits(talks, |_| ())
}

/// The same. It calls `wait` before each answer, with the number of those before it.
fn server_that_waits(
    talks: Vec<Vec<Vec<u8>>>,
    mut wait: impl FnMut(usize) + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut answered = 0;
        for talk in talks {
            let Ok((mut peer, _)) = listener.accept() else { return };
            for answer in talk {
                if !has_asked(&mut peer) {
                    break;
                }
                wait(answered);
                answered += 1;
                if peer.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    port
}

fn has_asked(peer: &mut TcpStream) -> bool {
    let (mut asked, mut byte) = (Vec::new(), [0]);
    while !asked.ends_with(b"\r\n\r\n") {
        if !matches!(peer.read(&mut byte), Ok(1)) {
            return false;
        }
        asked.push(byte[0]);
    }
    true
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

fn client() -> Client {
    Client::new(&Net::new(Duration::from_secs(5), &Vec::new()), true).expect("a client")
}

/// The status and the body of an answer; or the error as text.
async fn get(client: &Client, port: u16) -> Result<(u16, Vec<u8>), String> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = format!("http://127.0.0.1:{port}/b/k").parse().expect("an address");
    let said = |error: HttpError| net::innermost(&error);
    let answer = client.call(request).await.map_err(said)?;
    let status = answer.status().as_u16();
    let (mut body, mut bytes) = (answer.into_body().bytes_stream(), Vec::new());
    while let Some(some) = body.next().await {
        bytes.extend_from_slice(&some.map_err(said)?);
    }
    Ok((status, bytes))
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()
}

#[test]
fn bodies_of_every_framing_come_whole_over_one_connection() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    let chunks = b"5;x=\"y\"\r\nhello\r\n0A\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
    let talk = vec![
        answer("200 OK\r\ncontent-length: 0", b""),
        answer("206 Partial\r\ncontent-length: 3000000", &large),
        answer("200 OK\r\ntransfer-encoding: chunked", chunks),
        answer("100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2", b"no"),
        answer("200 OK", b"until the end"),
    ];
    let port = server(vec![talk]);
    run(async {
        let client = client();
        assert_eq!(get(&client, port).await, Ok((200, Vec::new())));
        assert!(get(&client, port).await == Ok((206, large)));
        assert_eq!(get(&client, port).await, Ok((200, b"hello0123456789".to_vec())));
        assert_eq!(get(&client, port).await, Ok((404, b"no".to_vec())));
        assert_eq!(get(&client, port).await, Ok((200, b"until the end".to_vec())));
    });
}

fn origin(port: u16) -> Origin {
    Origin { is_secure: false, host: "127.0.0.1".into(), port }
}

/// The pieces of a whole object of `size` bytes; or the error as text, after the bytes before it.
async fn whole(client: &Client, port: u16, size: u64) -> Result<Vec<Bytes>, (Vec<Bytes>, String)> {
    let origin = origin(port);
    let sent = begun("GET", ["/b/k"], &origin) + "\r\n";
    let wanted = (size, &Arriving::default());
    let Ok(Whole { mut body, .. }) = client.whole(&origin, sent.as_bytes(), wanted).await else {
        return Err((Vec::new(), "another answer".into()));
    };
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame {
            Ok(frame) => pieces.extend(frame.into_data().ok()),
            Err(error) => return Err((pieces, net::innermost(&error))),
        }
    }
    Ok(pieces)
}

#[test]
fn a_whole_object_is_one_piece_over_a_connection_that_is_kept() {
    let long = format!("ETag: e\r\nx: {}", "y".repeat(3 << 10));
    let sizes = [1, 5_000, 200_000, 1_100_000];
    for (size, lines) in sizes.into_iter().flat_map(|size| [(size, "ETag: e"), (size, &*long)]) {
        let large: Vec<u8> = (0..size).map(|at: u32| (at / 7) as u8).collect();
        let one = || answer(&format!("200 OK\r\nContent-Length: {size}\r\n{lines}"), &large);
        // Nobody asks for the last, so the server does not hang up.
        let port = server(vec![vec![one(), one(), one(), one()]]);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _within = runtime.enter();
        let client = client();
        let want = Ok(vec![Bytes::from(large.clone())]);
        // There is one connection.
        let told = runtime.block_on(whole(&client, port, size.into()));
        assert!(told == want);
        // Larger ones are in memory that is reused.
        if is_joined(size.into()) {
            assert!(told.into_iter().flatten().all(has_little_room), "{size}");
        }
        assert!(patiently(whole(&client, port, size.into())) == want);
        assert!(runtime.block_on(get(&client, port)) == Ok((200, large)));
        let idle = client.pool.take(&origin(port)).expect("it is kept");
        assert_eq!(idle.rest.capacity(), 0, "without memory");
    }
}

/// Whether bytes are in memory of little more than their size.
fn has_little_room(bytes: Bytes) -> bool {
    let size = bytes.len();
    bytes.try_into_mut().is_ok_and(|memory| memory.capacity() <= size + FIRST)
}

#[test]
fn a_head_that_comes_in_two_parts_takes_no_more_memory() {
    let large = vec![b'x'; 200_000];
    let first = answer("200 OK\r\ncontent-length: 0", b"");
    let second = answer("200 OK\r\ncontent-length: 200000", &large);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (open, gate) = channel();
    std::thread::spawn(move || {
        let Ok((mut peer, _)) = listener.accept() else { return };
        if !has_asked(&mut peer) || peer.write_all(&first).is_err() || !has_asked(&mut peer) {
            return;
        }
        let (beginning, rest) = second.split_at(20);
        for part in [beginning, rest] {
            let _ = gate.recv_timeout(Duration::from_secs(20));
            if peer.write_all(part).is_err() {
                return;
            }
        }
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _within = runtime.enter();
    let client = client();
    assert_eq!(runtime.block_on(get(&client, port)), Ok((200, Vec::new())));
    // The rest is sent once the beginning was received, and more is waited for.
    let told = patiently_until(whole(&client, port, 200_000), || {
        let _ = open.send(());
    });
    assert!(told == Ok(vec![Bytes::from(large)]));
    assert!(told.into_iter().flatten().all(has_little_room));
}

#[test]
fn a_whole_object_that_is_cut_or_followed_by_anything_is_found_out() {
    let cut = vec![answer("200 OK\r\ncontent-length: 9", b"abc")];
    let more = vec![answer("200 OK\r\ncontent-length: 2", b"abHTTP/1.1 200 OK\r\n\r\nforged")];
    let honest = vec![answer("200 OK\r\ncontent-length: 2", b"cd")];
    let closed = vec![answer("200 OK\r\ncontent-length: 2\r\nconnection: close", b"ef")];
    let port = server(vec![cut, more, honest, closed, vec![Vec::new()]]);
    run(async {
        let client = client();
        let (pieces, error) = whole(&client, port, 9).await.expect_err("cut");
        assert_eq!(pieces, [&b"abc"[..]]);
        assert!(error.contains("end of file"), "{error}");
        for want in [b"ab", b"cd", b"ef"] {
            assert_eq!(whole(&client, port, 2).await, Ok(vec![Bytes::from_static(want)]));
        }
        assert!(whole(&client, port, 2).await.is_err(), "no answer");
    });
}

/// Does `work` on this thread, which itself waits for its sockets, as that of the mount.
fn patiently<T>(work: impl Future<Output = T>) -> T {
    patiently_until(work, || ())
}

/// The same. It calls `wait` before each time that it waits.
fn patiently_until<T>(work: impl Future<Output = T>, mut wait: impl FnMut()) -> T {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let (polled, waits) = patience::within(|| work.as_mut().poll(&mut context));
        if let Poll::Ready(done) = polled {
            return done;
        }
        wait();
        assert!(waits.arrived(Duration::from_secs(20)), "it waits for a socket");
        waits.wake();
    }
}

#[test]
fn a_connection_goes_from_the_runtime_to_a_patient_thread_and_back() {
    let large: Vec<u8> = (0..9_000_000_u32).map(|at| (at / 7) as u8).collect();
    let whole = || answer("200 OK\r\ncontent-length: 9000000", &large);
    let (open, gate) = channel();
    let wait = move |answered: usize| {
        if answered == 4 {
            let _ = gate.recv_timeout(Duration::from_secs(20));
        }
    };
    let port = server_that_waits(vec![vec![whole(), whole(), whole(), whole(), whole()]], wait);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _within = runtime.enter();
    let (client, want) = (client(), Ok((200, large.clone())));
    // There is one connection: whoever connected a second time would be refused.
    assert!(runtime.block_on(get(&client, port)) == want);
    assert!(patiently(get(&client, port)) == want && patiently(get(&client, port)) == want);
    assert!(runtime.block_on(get(&client, port)) == want);
    // Begun patiently, and, for the answer does not come, left to the runtime.
    let mut asked = Box::pin(get(&client, port));
    let mut context = Context::from_waker(Waker::noop());
    let (begun, waits) = patience::within(|| asked.as_mut().poll(&mut context));
    assert!(begun.is_pending() && !waits.is_empty(), "it waits for the socket");
    open.send(()).expect("awaited");
    assert!(runtime.block_on(asked) == want);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_made_anew() {
    let short = || vec![answer("200 OK\r\ncontent-length: 2", b"ab")];
    let port = server(vec![short(), short(), short()]);
    run(async {
        let client = client();
        for _ in 0..3 {
            assert_eq!(get(&client, port).await, Ok((200, b"ab".to_vec())));
        }
    });
}

#[test]
fn what_was_cut_is_an_error_after_what_came() {
    let port = server(vec![vec![answer("200 OK\r\ncontent-length: 9", b"abc")]]);
    run(async {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = format!("http://127.0.0.1:{port}/").parse().expect("an address");
        let answer = client().call(request).await.expect("a head");
        let mut body = answer.into_body().bytes_stream();
        assert_eq!(body.next().await.expect("some").expect("bytes"), &b"abc"[..]);
        let error = body.next().await.expect("an end").expect_err("cut");
        assert_eq!(error.kind(), HttpErrorKind::Interrupted);
        assert!(body.next().await.is_none());
    });
}

#[test]
fn what_is_no_answer_is_an_error_and_never_a_hang() {
    let wrong: [&[u8]; 8] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
    ];
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM + 1);
    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n".to_vec();
    let trailer = b"x: y\r\n".repeat(8 << 10);
    let endless = [[interim, whole].concat(), [chunked, trailer, b"\r\n".to_vec()].concat()];
    run(async {
        for wrong in wrong.into_iter().chain(endless.iter().map(Vec::as_slice)) {
            let port = server(vec![vec![wrong.to_vec()]]);
            let told = get(&client(), port).await;
            assert!(told.is_err(), "{:?}: {told:?}", String::from_utf8_lossy(wrong));
        }
    });
}

#[test]
fn bytes_that_nobody_asked_for_are_no_answer_to_the_next_request() {
    let talk = vec![answer("200 OK\r\ncontent-length: 2", b"abHTTP/1.1 200 OK\r\n\r\nforged")];
    let honest = vec![answer("200 OK\r\ncontent-length: 2", b"cd")];
    let port = server(vec![talk, honest]);
    run(async {
        let client = client();
        assert_eq!(get(&client, port).await, Ok((200, b"ab".to_vec())));
        assert_eq!(get(&client, port).await, Ok((200, b"cd".to_vec())));
    });
}
