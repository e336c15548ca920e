//! Reads the headers of many images, several at a time.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Watch;
use super::checkpoint::Checkpoint;
use crate::image::{self, Answer, Image, Pieces};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_store::Stores;

/// The most pieces of one file: a photograph may carry megabytes of metadata before its size.
const PIECES: usize = 128;

/// The result for one object.
#[derive(Clone, Debug)]
pub enum Seen {
    Image(Image),
    /// Not an image, or a damaged one.
    No,
    /// The object was replaced or removed since it was listed.
    Gone,
    /// The store returns an error instead of bytes.
    Unreadable(Arc<Error>),
}

/// Reads, with `look`, those of `objects` that the checkpoint does not have, and stores the results
/// in it at once.
///
/// # Errors
/// Errors of `look`.
pub fn look_anew(
    objects: Vec<Object>,
    checkpoint: &mut Checkpoint,
    watch: &dyn Watch,
    look: impl FnOnce(Vec<Object>, &mut dyn FnMut(usize, &Seen)) -> Result<Vec<Seen>>,
) -> Result<Vec<Seen>> {
    let known: Vec<Option<Seen>> = objects
        .iter()
        .map(|object| checkpoint.get(object))
        .map(|known| known.map(|image| image.map_or(Seen::No, Seen::Image)))
        .collect();
    watch.wrote(known.iter().flatten().count() as u64);
    let others = objects.into_iter().zip(&known).filter(|(_, known)| known.is_none());
    let others: Vec<Object> = others.map(|(object, _)| object).collect();
    let seen = look(others.clone(), &mut |number, seen| {
        match seen {
            Seen::Image(image) => checkpoint.keep(&others[number], Some(*image)),
            Seen::No => checkpoint.keep(&others[number], None),
            // It may be available another time.
            Seen::Gone | Seen::Unreadable(_) => {}
        }
        watch.wrote(1);
    })?;
    let mut seen = seen.into_iter();
    Ok(known.into_iter().filter_map(|known| known.or_else(|| seen.next())).collect())
}

/// Reads the headers of `objects`, `jobs` at a time; results are in their order. Calls `each` for
/// every one, with its index.
///
/// # Errors
/// A task that panics. An image that cannot be read is a result.
pub async fn look(
    stores: &Arc<Stores>,
    objects: Vec<Object>,
    jobs: usize,
    each: &mut dyn FnMut(usize, &Seen),
) -> Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = objects.iter().map(|_| Seen::No).collect();
    let mut running = JoinSet::new();
    for (number, object) in objects.into_iter().enumerate() {
        while running.len() >= jobs.max(1) {
            ended(running.join_next().await, &mut seen, each)?;
        }
        let stores = Arc::clone(stores);
        running.spawn(async move { (number, one(&stores, &object).await) });
    }
    while !running.is_empty() {
        ended(running.join_next().await, &mut seen, each)?;
    }
    Ok(seen)
}

type Ended = Option<std::result::Result<(usize, Seen), tokio::task::JoinError>>;

fn ended(ended: Ended, seen: &mut [Seen], each: &mut dyn FnMut(usize, &Seen)) -> Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok((number, found))) => {
            each(number, &found);
            seen[number] = found;
            Ok(())
        }
        Some(Err(error)) => Err(Error::new(Kind::Broken, format!("a look ended early: {error}"))),
    }
}

async fn one(stores: &Stores, object: &Object) -> Seen {
    let mut pieces = Pieces::new(object.size.unwrap_or(0));
    let (mut at, mut length) = (0, image::FIRST);
    loop {
        let bytes = match stores.part(object, at..at.saturating_add(length)).await {
            Ok(bytes) if bytes.is_empty() => return Seen::No,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Kind::Stale => return Seen::Gone,
            Err(error) => return Seen::Unreadable(Arc::new(error)),
        };
        pieces.add(at, bytes);
        match image::look(&pieces) {
            Answer::Is(image) => return Seen::Image(image),
            Answer::Needs(next) if pieces.count() < PIECES => (at, length) = (next, image::MORE),
            Answer::Needs(_) | Answer::No => return Seen::No,
        }
    }
}
