//! External sorting: more records than memory should hold, in order.
//!
//! Records are gathered in arenas, one for each *lane*: a lane is an order of its own. A full arena is sorted and
//! written as a run into a scratch file, and runs are merged while they are read. What fits in the arenas never touches
//! the disk. Runs are read as memory, so their pages are the system's to drop.
//!
//! Whoever fills arenas alone has a second thread that sorts and writes one while the next one fills; threads that read
//! side by side have a sorter each, which sorts and writes by itself, and [`Sorter::finish`] puts them together.
//!
//! How records are held, compared and split is the user's: see [`Arena`].
//!
//! | file | contents |
//! |---|---|
//! | [`spill`] | runs in a scratch file, and the thread that writes them |
//! | [`mod@merge`] | several sources in order become one |

mod merge;
mod spill;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::merge::{Merge, merge};
pub use self::spill::{Run, Spill};
use self::spill::{Spiller, spill_of};

/// Records in memory, up to a limit that is its own.
pub trait Arena: Send + 'static {
    /// Whether it holds nothing.
    fn is_empty(&self) -> bool;

    /// Puts the records in order.
    fn sort(&mut self);

    /// Writes every record, in the order they lie in, so that they can be told apart when they are read again.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Empties it and keeps its memory.
    fn clear(&mut self);
}

/// One arena per lane, and the runs that were full before.
pub struct Sorter<A: Arena> {
    /// On whose disk scratch files are made.
    folder: PathBuf,
    arenas: Vec<A>,
    spilling: Spilling<A>,
}

/// Who sorts and writes full arenas.
enum Spilling<A: Arena> {
    /// Another thread, which starts when it is needed. Until then, the arena that it begins with.
    Beside(Beside<A>),
    /// The one that fills them; the runs of each lane.
    Here(Vec<Option<Spill>>),
}

enum Beside<A: Arena> {
    Spare(A),
    Started(Spiller<A>),
    /// It ended early, and was joined.
    Over,
}

impl<A: Arena> Sorter<A> {
    /// For the only thread that fills arenas; `spare` is the one that fills while another is written.
    pub fn beside(folder: &Path, arenas: Vec<A>, spare: A) -> Self {
        let spilling = Spilling::Beside(Beside::Spare(spare));
        Self { folder: folder.to_path_buf(), arenas, spilling }
    }

    /// For one of several threads that each fill arenas.
    pub fn alone(folder: &Path, arenas: Vec<A>) -> Self {
        let spilling = Spilling::Here(arenas.iter().map(|_| None).collect());
        Self { folder: folder.to_path_buf(), arenas, spilling }
    }

    /// The arena of a lane, to be filled.
    pub fn arena(&mut self, lane: usize) -> &mut A {
        &mut self.arenas[lane]
    }

    /// Empties the full arena of a lane: sorts and writes it, or hands it to the other thread, waiting for it if the
    /// disk is slower than whoever fills.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk, no thread to be had.
    pub fn spill(&mut self, lane: usize) -> io::Result<()> {
        let arena = &mut self.arenas[lane];
        let beside = match &mut self.spilling {
            Spilling::Here(spills) => {
                arena.sort();
                spill_of(spills, lane, &self.folder)?.run(arena)?;
                arena.clear();
                return Ok(());
            }
            Spilling::Beside(beside) => beside,
        };
        if let Beside::Spare(_) = beside
            && let Beside::Spare(spare) = std::mem::replace(beside, Beside::Over)
        {
            *beside = Beside::Started(Spiller::start(&self.folder, self.arenas.len(), spare)?);
        }
        match beside {
            Beside::Started(spiller) if spiller.swap(lane, &mut self.arenas[lane]) => Ok(()),
            ended => match std::mem::replace(ended, Beside::Over) {
                Beside::Started(spiller) => Err(spiller.finish().err().unwrap_or_else(ended_early)),
                Beside::Spare(_) | Beside::Over => Err(ended_early()),
            },
        }
    }

    /// Ends the other thread, which else would go on writing runs that nobody wants.
    pub fn abandon(self) {
        if let Spilling::Beside(Beside::Started(spiller)) = self.spilling {
            let _ = spiller.finish();
        }
    }

    /// What was never full of each lane, and its runs.
    fn parts(self) -> io::Result<Vec<(A, Option<Spill>)>> {
        let spilled = match self.spilling {
            Spilling::Here(spills) => spills,
            Spilling::Beside(Beside::Started(spiller)) => spiller.finish()?,
            Spilling::Beside(Beside::Spare(_)) => self.arenas.iter().map(|_| None).collect(),
            Spilling::Beside(Beside::Over) => return Err(ended_early()),
        };
        Ok(self.arenas.into_iter().zip(spilled).collect())
    }

    /// Every lane's records, of sorters that have the same lanes.
    ///
    /// # Errors
    /// As [`Sorter::spill`].
    pub fn finish(all: Vec<Self>) -> io::Result<Vec<Sorted<A>>> {
        let mut lanes: Vec<Vec<(A, Option<Spill>)>> = Vec::new();
        for sorter in all {
            for (lane, part) in sorter.parts()?.into_iter().enumerate() {
                match lanes.get_mut(lane) {
                    Some(parts) => parts.push(part),
                    None => lanes.push(vec![part]),
                }
            }
        }
        lanes.into_iter().map(Sorted::new).collect()
    }
}

fn ended_early() -> io::Error {
    io::Error::other("the sorting thread ended early")
}

/// The records of one lane: several sources, each in order, to be [merged](merge()) as often as they are wanted.
pub enum Sorted<A> {
    Memory(Vec<Arc<A>>),
    Runs(Vec<Run>),
}

impl<A: Arena> Sorted<A> {
    /// Of each part, what was never full, and its runs. Where any is on the disk, all go there: memory is wanted for
    /// what comes next.
    fn new(mut parts: Vec<(A, Option<Spill>)>) -> io::Result<Self> {
        parts.iter_mut().for_each(|(rest, _)| rest.sort());
        let Some(first) = parts.iter().position(|(_, spill)| spill.is_some()) else {
            return Ok(Self::Memory(parts.into_iter().map(|(rest, _)| Arc::new(rest)).collect()));
        };
        // The first has a spill, so that one without any finds a file.
        parts.swap(0, first);
        let mut spills: Vec<Spill> = Vec::new();
        for (rest, spill) in parts {
            spills.extend(spill);
            if let Some(spill) = spills.last_mut().filter(|_| !rest.is_empty()) {
                spill.run(&rest)?;
            }
        }
        let runs: io::Result<Vec<Vec<Run>>> = spills.into_iter().map(Spill::finish).collect();
        Ok(Self::Runs(runs?.into_iter().flatten().collect()))
    }
}

impl<A> Clone for Sorted<A> {
    fn clone(&self) -> Self {
        match self {
            Self::Memory(arenas) => Self::Memory(arenas.clone()),
            Self::Runs(runs) => Self::Runs(runs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of four bytes, so many at most.
    struct Numbers(Vec<u32>, usize);

    impl Arena for Numbers {
        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        fn sort(&mut self) {
            self.0.sort_unstable();
        }

        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            self.0.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
        }

        fn clear(&mut self) {
            self.0.clear();
        }
    }

    fn push(sorter: &mut Sorter<Numbers>, lane: usize, number: u32) -> io::Result<()> {
        let Numbers(numbers, most) = sorter.arena(lane);
        if numbers.len() >= *most {
            sorter.spill(lane)?;
        }
        sorter.arena(lane).0.push(number);
        Ok(())
    }

    fn all(sorted: &Sorted<Numbers>) -> Vec<u32> {
        let sources: Vec<Vec<u32>> = match sorted {
            Sorted::Memory(arenas) => arenas.iter().map(|arena| arena.0.clone()).collect(),
            Sorted::Runs(runs) => runs
                .iter()
                .map(|run| {
                    run.bytes().as_chunks().0.iter().map(|n| u32::from_le_bytes(*n)).collect()
                })
                .collect(),
        };
        let merged = merge(sources.into_iter().map(|source| source.into_iter().map(Ok)));
        merged.expect("heads").collect::<io::Result<_>>().expect("whole")
    }

    #[test]
    fn any_memory_and_any_threads_give_the_same_order() {
        let numbers = |lane: u32| (0..3000_u32).map(move |n| n * 7919 % 700 + lane);
        for most in [1, 70, 2000, 10_000] {
            for threads in [0_u32, 1, 3] {
                let folder = tempfile::tempdir().expect("a folder");
                let arena = || Numbers(Vec::new(), most);
                let lanes = || vec![arena(), arena()];
                let mut sorters: Vec<Sorter<Numbers>> = match threads {
                    0 => vec![Sorter::beside(folder.path(), lanes(), arena())],
                    _ => (0..threads).map(|_| Sorter::alone(folder.path(), lanes())).collect(),
                };
                for lane in 0..2_u32 {
                    for (turn, number) in numbers(lane).enumerate() {
                        let of = turn % sorters.len();
                        push(&mut sorters[of], lane as usize, number).expect("pushed");
                    }
                }
                let sorted = Sorter::finish(sorters).expect("sorted");
                assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
                for (lane, sorted) in sorted.iter().enumerate() {
                    let mut want: Vec<u32> = numbers(lane as u32).collect();
                    want.sort_unstable();
                    assert_eq!(all(sorted), want, "{most} {threads}");
                    assert_eq!(all(&sorted.clone()), want, "as often as they are wanted");
                }
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let nowhere = Path::new("/nonexistent");
        let arena = || Numbers(Vec::new(), 1);
        let both = [
            Sorter::beside(nowhere, vec![arena()], arena()),
            Sorter::alone(nowhere, vec![arena()]),
        ];
        for mut sorter in both {
            let error = (0..100).find_map(|n| push(&mut sorter, 0, n).err());
            assert_eq!(error.expect("it spills").kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        let sorter = Sorter::alone(Path::new("/nonexistent"), vec![Numbers(Vec::new(), 1)]);
        let sorted = Sorter::finish(vec![sorter]).expect("nothing was written");
        assert!(all(&sorted[0]).is_empty());
    }
}
