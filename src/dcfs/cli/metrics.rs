//! `--metrics ADDRESS`: serves the contents of `_metrics.prom` to Prometheus over HTTP.
//!
//! One request at a time, each limited in time and length; only the path of a request is used.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Kind, Result};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause after a connection could not be accepted.
const REST: Duration = Duration::from_millis(100);

/// Limit of a request in bytes: Prometheus sends a few hundred.
const LONGEST: usize = 4096;

/// Listens at `address`, and answers with the text that `page` returns.
///
/// # Errors
/// The address is not available.
pub fn listen(address: SocketAddr, page: impl Fn() -> String + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind(address).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Invalid,
        };
        Error::new(kind, format!("cannot listen at `--metrics {address}`: {error}"))
    })?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answered = stream.map(|stream| answer(stream, &page));
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("a question for metrics: {error}"),
                // Without free descriptors, accepting fails at once, again and again.
                Err(error) => {
                    tracing::debug!("a question for metrics was not taken: {error}");
                    thread::sleep(REST);
                }
            }
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream, page: &impl Fn() -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = request(&mut stream)?;
    let (status, text) = match request.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/metrics", _] => ("200 OK", page()),
        ["GET", ..] => ("404 Not Found", "see /metrics\n".into()),
        _ => ("405 Method Not Allowed", "GET /metrics\n".into()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len(),
    )
}

/// Reads the request line. The rest is read as far as it has arrived, so that closing does not discard the
/// answer.
fn request(stream: &mut impl Read) -> io::Result<String> {
    let mut bytes = vec![0; LONGEST];
    let (mut length, end) = (0, Instant::now() + PATIENCE);
    while length < LONGEST && Instant::now() < end && !bytes[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes[length..])? {
            0 => break,
            read => length += read,
        }
    }
    let text = String::from_utf8_lossy(&bytes[..length]);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        text
    }

    #[test]
    fn the_page_is_answered_and_nothing_else() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        listen(address, || "dcfs_opened_total 1\n".into()).expect("listens");
        let cases = [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "\r\n\r\ndcfs_opened_total 1\n"),
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found", "see /metrics\n"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method", "GET /metrics\n"),
            (&("x".repeat(LONGEST)), "405 Method", "GET /metrics\n"),
        ];
        for (request, status, end) in cases {
            let answer = ask(address, request);
            assert!(answer.contains(status) && answer.ends_with(end), "{request}: {answer}");
        }
        let taken = listen(address, String::new).expect_err("taken").to_string();
        assert!(taken.contains("--metrics 127.0.0.1:"), "{taken}");
    }
}
