//! Memory for large answers, reused while answers follow one another.
//!
//! The allocator returns a large block to the system as soon as it is freed, and the next one costs a page
//! fault for each of its pages: a seventh of the daemon's time for a large file. So blocks are kept while
//! others like them are in use; with the last of them all are freed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::window::MOST;

/// Answers of at least this size use such memory: smaller ones are recycled by the allocator itself.
pub const LARGE: u64 = 1 << 20;

/// Maximum of free blocks that are kept. In sequential reads, one is free when the next is needed.
const FREE: usize = 4;

/// A buffer for an answer in progress.
#[derive(Debug)]
pub enum Buffer {
    Small(BytesMut),
    Large(Piece),
}

/// As much memory as the largest request needs; it returns to the stock when dropped.
#[derive(Debug)]
pub struct Piece(Vec<u8>);

/// The free blocks, and the number in use.
#[derive(Debug)]
struct Stock {
    free: Vec<Vec<u8>>,
    used: usize,
}

static STOCK: Mutex<Stock> = Mutex::new(Stock { free: Vec::new(), used: 0 });

impl Buffer {
    /// Allocates room for `want` bytes.
    pub fn new(want: u64) -> Self {
        match usize::try_from(want) {
            Ok(_) if (LARGE..=MOST).contains(&want) => Self::Large(Piece::new()),
            want => Self::Small(BytesMut::with_capacity(want.unwrap_or(0))),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Small(small) => small.extend_from_slice(bytes),
            Self::Large(Piece(large)) => large.extend_from_slice(bytes),
        }
    }

    pub fn freeze(self) -> Bytes {
        match self {
            Self::Small(small) => small.freeze(),
            Self::Large(large) => Bytes::from_owner(large),
        }
    }
}

impl Piece {
    /// The memory, to append to.
    pub fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn new() -> Self {
        let mut stock = stock();
        stock.used += 1;
        let free = stock.free.pop();
        drop(stock);
        Self(free.unwrap_or_else(|| Vec::with_capacity(usize::try_from(MOST).unwrap_or(0))))
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.0);
        memory.clear();
        let over = stock().take_back(memory);
        drop(over);
    }
}

impl Stock {
    /// Takes back a block; returns the blocks that are to be freed.
    fn take_back(&mut self, memory: Vec<u8>) -> Vec<Vec<u8>> {
        self.used -= 1;
        if self.free.len() < FREE {
            self.free.push(memory);
        }
        if self.used == 0 { std::mem::take(&mut self.free) } else { Vec::new() }
    }
}

fn stock() -> MutexGuard<'static, Stock> {
    // Every change under this lock is a single step.
    STOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_while_others_are_in_use() {
        let mut stock = Stock { free: Vec::new(), used: 3 };
        assert!(stock.take_back(vec![1]).is_empty());
        assert!(stock.take_back(vec![2]).is_empty());
        assert_eq!(stock.free.pop(), Some(vec![2]));
        stock.used += 1;
        assert!(stock.take_back(vec![2]).is_empty());
        assert_eq!(stock.take_back(vec![3]).len(), 3, "with the last, everything");
        assert!(stock.free.is_empty());
    }

    #[test]
    fn bytes_are_those_that_were_pushed() {
        for want in [0, 3, LARGE - 1, LARGE, MOST, MOST + 1] {
            let bytes: Vec<u8> = (0..want).map(|n| n as u8).collect();
            let mut buffer = Buffer::new(want);
            bytes.chunks(100_000).for_each(|chunk| buffer.push(chunk));
            assert_eq!(buffer.freeze(), bytes);
        }
    }
}
