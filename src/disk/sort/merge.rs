//! Several sources in order become one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

/// The records of all `sources`, each of which is in order.
///
/// # Errors
/// That of a source whose first record cannot be read; later ones are items.
pub fn merge<R, S>(sources: impl IntoIterator<Item = S>) -> io::Result<Merge<R, S>>
where
    R: Ord,
    S: Iterator<Item = io::Result<R>>,
{
    let mut heads = BinaryHeap::new();
    for mut rest in sources {
        if let Some(record) = rest.next().transpose()? {
            heads.push(Head { record, rest });
        }
    }
    Ok(Merge { heads })
}

/// Sources on their way, as an iterator over their records in order.
pub struct Merge<R, S> {
    heads: BinaryHeap<Head<R, S>>,
}

/// The next record of a source, and what follows it there.
struct Head<R, S> {
    record: R,
    rest: S,
}

impl<R: Ord, S: Iterator<Item = io::Result<R>>> Iterator for Merge<R, S> {
    type Item = io::Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut top = self.heads.peek_mut()?;
        match top.rest.next() {
            Some(Ok(next)) => Some(Ok(std::mem::replace(&mut top.record, next))),
            None => Some(Ok(PeekMut::pop(top).record)),
            Some(Err(error)) => {
                PeekMut::pop(top);
                Some(Err(error))
            }
        }
    }
}

/// The heap gives its greatest first, so the order is turned round.
impl<R: Ord, S> Ord for Head<R, S> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record.cmp(&self.record)
    }
}

impl<R: Ord, S> PartialOrd for Head<R, S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, S> PartialEq for Head<R, S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Ord, S> Eq for Head<R, S> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_where_it_is_met_and_ends_its_source() {
        let bad = || Err(io::Error::other("torn"));
        let sources = vec![vec![Ok(1), Ok(4), bad()], vec![Ok(2), Ok(3), Ok(9)]];
        let merged = merge(sources.into_iter().map(Vec::into_iter)).expect("heads");
        let told: Vec<Option<u32>> = merged.map(Result::ok).collect();
        assert_eq!(told, [Some(1), Some(2), Some(3), None, Some(9)]);
        assert!(merge::<u32, _>([vec![bad()].into_iter()]).is_err());
    }
}
