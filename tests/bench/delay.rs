//! A proxy that makes a server distant: every answer begins some milliseconds later.
//!
//! Data from a client is passed on that much later, in order; data from the server at once. So neither the
//! bandwidth nor the number of concurrent requests is limited: requests are small. The timer of tokio counts
//! whole milliseconds, so 20 are 20 to 21.
//!
//!     bench_delay PORT SERVER_PORT MILLISECONDS

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Bytes read from the server at a time: few system calls, and they stay in the processor's cache.
const ROOM: usize = 256 << 10;

/// Larger than any request.
const REQUEST: usize = 16 << 10;

/// One thread: a second one would have to be woken for each answer.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let [port, server, delay] = arguments();
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(connect(client, server, Duration::from_millis(u64::from(delay))));
    }
}

fn arguments() -> [u16; 3] {
    let numbers = std::env::args().skip(1).filter_map(|text| text.parse().ok());
    let numbers: Vec<u16> = numbers.collect();
    numbers.try_into().expect("usage: bench_delay PORT SERVER_PORT MILLISECONDS")
}

/// Serves one connection until both sides have ended it.
async fn connect(client: TcpStream, server: u16, delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(later(receiver, to_server));
    tokio::spawn(async move {
        copy_buf(&mut BufReader::with_capacity(ROOM, from_server), &mut to_client).await?;
        to_client.shutdown().await
    });
    take(from_client, delay, &sender).await
}

/// Records when each piece of a request is due.
async fn take(
    mut client: OwnedReadHalf,
    delay: Duration,
    pieces: &mpsc::UnboundedSender<(Instant, Vec<u8>)>,
) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(REQUEST);
        let length = client.read_buf(&mut piece).await?;
        if length == 0 || pieces.send((Instant::now() + delay, piece)).is_err() {
            return Ok(());
        }
    }
}

/// Passes pieces on, each when it is due.
async fn later(
    mut pieces: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    mut server: OwnedWriteHalf,
) -> io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        server.write_all(&piece).await?;
    }
    server.shutdown().await
}
