//! Writes a column's index on a separate thread while the rest of the column is settled and
//! written.
//!
//! Inserting a random name costs as much as everything else for its entry. So keys go in batches to
//! a thread, which is started when the first batch is full: small versions need none.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::error::PackError;
use super::fst_writer::FstWriter;
use super::output::Output;

/// Bytes of keys per batch.
const BATCH: usize = 64 * 1024;

/// The most waiting batches: enough that neither side waits for a thread to wake up.
const WAITING: usize = 4;

/// Writes an FST that maps keys, which must arrive in order, to their numbers from 0 on.
pub struct IndexWriter {
    batch: Batch,
    inserter: Inserter,
}

/// Where keys are inserted: on this thread, or on another.
enum Inserter {
    Here(Box<FstWriter>),
    Thread {
        full: SyncSender<Batch>,
        thread: JoinHandle<Result<FstWriter, PackError>>,
    },
    /// It failed and reported why.
    Gone,
}

/// Keys concatenated, and the end of each.
#[derive(Default)]
struct Batch {
    keys: Vec<u8>,
    ends: Vec<u32>,
}

impl IndexWriter {
    pub fn new(out: Output) -> Result<Self, PackError> {
        let inserter = Inserter::Here(Box::new(FstWriter::new(out)?));
        Ok(Self { batch: Batch::default(), inserter })
    }

    pub fn push(&mut self, key: &[u8]) -> Result<(), PackError> {
        self.batch.keys.extend_from_slice(key);
        // A batch ends with the key that fills it, and keys are at most `key::LONGEST` long.
        self.batch.ends.push(self.batch.keys.len() as u32);
        if self.batch.keys.len() < BATCH {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.send(batch)
    }

    fn send(&mut self, batch: Batch) -> Result<(), PackError> {
        self.inserter = match std::mem::replace(&mut self.inserter, Inserter::Gone) {
            Inserter::Here(index) => start(*index)?,
            other => other,
        };
        let Inserter::Thread { full, .. } = &self.inserter else { return Err(died()) };
        if full.send(batch).is_ok() { Ok(()) } else { Err(self.join().err().unwrap_or_else(died)) }
    }

    /// The index with all keys sent.
    fn join(&mut self) -> Result<FstWriter, PackError> {
        match std::mem::replace(&mut self.inserter, Inserter::Gone) {
            Inserter::Here(index) => Ok(*index),
            Inserter::Thread { full, thread } => {
                drop(full);
                thread.join().map_err(|_| died())?
            }
            Inserter::Gone => Err(died()),
        }
    }

    /// The complete file.
    pub fn finish(mut self) -> Result<Output, PackError> {
        let mut index = self.join()?;
        self.batch.insert_into(&mut index)?;
        index.finish()
    }
}

impl Batch {
    fn insert_into(&self, index: &mut FstWriter) -> Result<(), PackError> {
        let mut start = 0;
        for end in &self.ends {
            let end = *end as usize;
            index.insert(&self.keys[start..end])?;
            start = end;
        }
        Ok(())
    }
}

fn start(mut index: FstWriter) -> Result<Inserter, PackError> {
    let (full, batches): (_, Receiver<Batch>) = sync_channel(WAITING);
    let work = move || {
        for batch in batches {
            batch.insert_into(&mut index)?;
        }
        Ok(index)
    };
    let thread = std::thread::Builder::new().name("dcfs-index".into()).spawn(work);
    let thread = thread.map_err(|e| PackError::Thread(e.to_string()))?;
    Ok(Inserter::Thread { full, thread })
}

fn died() -> PackError {
    PackError::Thread("the thread of the index ended early".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` with zeros before it, `length` bytes long.
    fn key(n: u32, length: usize) -> Vec<u8> {
        let digits = n.to_string();
        [&vec![b'0'; length.saturating_sub(digits.len())], digits.as_bytes()].concat()
    }

    fn written(count: u32, length: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("fst");
        let mut index =
            IndexWriter::new(Output::create(path.clone()).expect("created")).expect("new");
        for n in 0..count {
            index.push(&key(n, length)).expect("pushed");
        }
        index.finish().expect("finished").finish().expect("closed");
        std::fs::read(path).expect("readable")
    }

    #[test]
    fn one_batch_or_many_give_the_same_index() {
        for (count, length) in [(0, 1), (1, 1), (10, 10), (3, BATCH), (10_000, 100)] {
            let map = fst::Map::new(written(count, length)).expect("an index");
            assert_eq!(map.len(), count as usize);
            for n in (0..count).step_by(997) {
                assert_eq!(map.get(key(n, length)), Some(n.into()));
            }
        }
    }

    #[test]
    fn keys_out_of_order_are_an_error_wherever_they_are_inserted() {
        for length in [1, BATCH] {
            let folder = tempfile::tempdir().expect("a folder");
            let out = Output::create(folder.path().join("fst")).expect("created");
            let mut index = IndexWriter::new(out).expect("new");
            let pushed = (0..20).try_for_each(|_| index.push(&vec![b'a'; length]));
            let error = pushed.and_then(|()| index.finish().map(drop)).expect_err("twice the same");
            assert!(matches!(error, PackError::Damaged(_)), "{error}");
        }
    }
}
