//! Connecting to a host with several addresses ("happy eyeballs", RFC 8305).
//!
//! A network that silently drops IPv6 never refuses a connection: trying addresses one by one costs the whole limit for
//! each. So the next address is tried as soon as the last one failed, or after [`APART`]; the first connection wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::head::Origin;

/// Head start of an address before the next one is tried too, as RFC 8305 recommends.
const APART: Duration = Duration::from_millis(250);

/// Connects to the first address of a host that accepts.
///
/// # Errors
/// No address accepts within `limit` each; the name is not resolved within it.
pub async fn reach(origin: &Origin, limit: Duration) -> io::Result<TcpStream> {
    let found = within(limit, tokio::net::lookup_host((origin.name(), origin.port))).await?;
    let connect = |address| within(limit, TcpStream::connect(address));
    first(in_turn(found), APART, connect).await
}

/// `work`, for so long at most.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "operation timed out"));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// The addresses in the system's order of preference, but alternating between families: if one family is unreachable,
/// the second try uses the other.
fn in_turn(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut found = found.peekable();
    let is_six = found.peek().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (VecDeque<_>, VecDeque<_>) =
        found.partition(|one| one.is_ipv6() == is_six);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut all = VecDeque::new();
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// The first connection that `connect` makes; the last error if there is none.
async fn first<T, W: Future<Output = io::Result<T>>>(
    mut addresses: VecDeque<SocketAddr>,
    apart: Duration,
    connect: impl Fn(SocketAddr) -> W,
) -> io::Result<T> {
    let mut tries = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    loop {
        let next = addresses.pop_front();
        let is_last = next.is_none();
        tries.extend(next.map(&connect));
        let came = match is_last {
            true => tries.next().await,
            false => match tokio::time::timeout(apart, tries.next()).await {
                Ok(came) => came,
                Err(_) => continue, // No response yet: try the next one as well.
            },
        };
        match came {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => last = error,
            None if is_last => return Err(last),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;

    /// The port of `address` says what it does: 1 refuses, 2 is silent, anything else answers.
    async fn behaves(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => Err(io::ErrorKind::ConnectionRefused.into()),
            2 => pending().await,
            port => Ok(port),
        }
    }

    fn addresses(ports: &[u16]) -> VecDeque<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// What came of it, and which were asked.
    fn tried(ports: &[u16], apart: Duration) -> (Result<u16, io::ErrorKind>, Vec<u16>) {
        let asked = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            asked.lock().expect("no panic").push(address.port());
            behaves(address)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let came = runtime.expect("a runtime").block_on(first(addresses(ports), apart, connect));
        (came.map_err(|error| error.kind()), asked.into_inner().expect("no panic"))
    }

    #[test]
    fn an_address_that_is_silent_keeps_nobody_from_the_next() {
        let (soon, never) = (Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(tried(&[2, 2, 7], soon), (Ok(7), vec![2, 2, 7]));
        assert_eq!(
            tried(&[1, 8, 7], never),
            (Ok(8), vec![1, 8]),
            "one that refuses is not waited for"
        );
        assert_eq!(
            tried(&[9, 7], never),
            (Ok(9), vec![9]),
            "one that answers is the only one asked"
        );
        assert_eq!(tried(&[1, 1], never).0, Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(tried(&[], never).0, Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let parsed = |all: &[&str]| -> Vec<SocketAddr> {
            all.iter().map(|one| one.parse().expect("an address")).collect()
        };
        let ordered = |all: &[&str]| Vec::from(in_turn(parsed(all).into_iter()));
        let (a, b, c, d) = ("[::1]:1", "[::2]:1", "1.0.0.1:1", "1.0.0.2:1");
        assert_eq!(ordered(&[a, b, c, d]), parsed(&[a, c, b, d]));
        assert_eq!(ordered(&[c, d, a]), parsed(&[c, a, d]));
        assert_eq!(ordered(&[]), []);
    }
}
