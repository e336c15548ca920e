//! A server of one object that answers correctly, or misbehaves as a test wants. HTTP/1.1 by hand, because no
//! library would send some of this.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request, as received.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`.
    pub method: String,
    /// `/bucket/key?query`, still encoded.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.0 == name).map(|h| h.1.as_str())
    }

    /// The requested bytes, end exclusive.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (start, end) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, end.parse::<usize>().ok()? + 1))
    }
}

/// An answer before it is written.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// `Content-Length` is added if it is not among them.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub then: Then,
}

/// The state of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    /// Nothing more is sent, and the connection stays open.
    Hang,
    /// It stays open, and the body comes in pieces of 64 KiB with these pauses.
    Slowly(Duration),
}

impl Reply {
    /// A refusal as S3 writes it.
    pub fn refusal(status: u16, code: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
        Self { status, headers: Vec::new(), body: body.into_bytes(), then: Then::Keep }
    }

    /// Nothing at all, for ever.
    pub fn silence() -> Self {
        Self { status: 0, headers: Vec::new(), body: Vec::new(), then: Then::Hang }
    }

    /// Removes the header `name`.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|h| h.0 != name);
        self
    }

    /// Sets the header `name`.
    pub fn with(self, name: &'static str, value: &str) -> Self {
        let mut reply = self.without(name);
        reply.headers.push((name, value.to_owned()));
        reply
    }
}

/// The object served.
#[derive(Clone, Debug)]
pub struct Served {
    pub body: Vec<u8>,
    /// Without quotes.
    pub etag: String,
    /// As in the header.
    pub modified: &'static str,
}

impl Served {
    /// The correct answer to `request`.
    pub fn answer(&self, request: &Request) -> Reply {
        let etag = format!("\"{}\"", self.etag);
        if request.header("if-match").is_some_and(|wanted| wanted != etag) {
            return Reply::refusal(412, "PreconditionFailed");
        }
        let size = self.body.len();
        let mut headers = vec![("ETag", etag), ("Last-Modified", self.modified.to_owned())];
        let (status, body) = match request.range() {
            Some((start, _)) if start >= size => return Reply::refusal(416, "InvalidRange"),
            Some((start, end)) => {
                let end = end.min(size);
                headers.push(("Content-Range", format!("bytes {start}-{}/{size}", end - 1)));
                (206, self.body[start..end].to_vec())
            }
            None => (200, self.body.clone()),
        };
        Reply { status, headers, body, then: Then::Keep }
    }
}

type Answer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A server on this machine, until dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request, numbered from 0, with `answer`.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let answer: Arc<Answer> = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A client that goes away is no error of the test.
                thread::spawn(move || stream.and_then(|s| serve(s, &seen, &*answer)));
            }
        });
        Self { address, requests, stop }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic in a thread").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let number = {
            let mut seen = seen.lock().expect("no panic in a thread");
            seen.push(request.clone());
            seen.len() - 1
        };
        let reply = answer(&request, number);
        if reply.status != 0 {
            write(&mut writer, &request, &reply)?;
        }
        match reply.then {
            Then::Keep | Then::Slowly(_) => {}
            Then::Close => return Ok(()),
            Then::Hang => {
                // Until the client gives up.
                let _ = reader.read_to_end(&mut Vec::new());
            }
        }
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => {
                let length = headers.iter().find(|(name, _)| name == "content-length");
                let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                reader.read_exact(&mut body)?;
                return Ok(Some(Request { method, target, headers, body }));
            }
        }
    }
}

fn write(writer: &mut impl Write, request: &Request, reply: &Reply) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} As Told\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let lengths = ["Content-Length", "Transfer-Encoding"];
    if !reply.headers.iter().any(|h| lengths.contains(&h.0)) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes())?;
    let apart = if let Then::Slowly(apart) = reply.then { apart } else { Duration::ZERO };
    if request.method != "HEAD" {
        for piece in reply.body.chunks(64 << 10) {
            thread::sleep(apart);
            writer.write_all(piece)?;
        }
    }
    writer.flush()
}
