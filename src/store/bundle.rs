//! Looking up several local files at once: one hand-over to a blocking thread, and one listing of the forbidden
//! files, for all of them. Each still has its own time limit: one that hangs does not fail the others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dcfs_core::object::Object;
use tokio::time::timeout;

use super::local::Pinned;
use super::place::Place;
use super::wanted::Wanted;
use super::whole::Here;
use super::{AT_FILES, Error, Result, Stores};

/// A file to look up: its index in the bundle, and its path.
type Ask = (usize, Wanted, PathBuf);

/// The results of a bundle so far, in the order of the request.
type Found = Mutex<Vec<Result<Pinned, Error>>>;

impl Stores {
    /// Does what [`Stores::here`] does for each object, in order; local files are looked up together.
    pub async fn all_here(&self, objects: &[&Object]) -> Vec<Result<Here>> {
        let mut answers: Vec<Option<Result<Here>>> = Vec::with_capacity(objects.len());
        let mut asks: Vec<Ask> = Vec::with_capacity(objects.len());
        for (at, object) in objects.iter().enumerate() {
            let wanted = match Wanted::of(object) {
                Ok(wanted) => wanted,
                Err(error) => {
                    answers.push(Some(Err(error.into())));
                    continue;
                }
            };
            match Place::of(&wanted.object) {
                Ok(Place::File(path)) if !wanted.is_member() => {
                    asks.push((at, wanted, path));
                    answers.push(None);
                }
                _ => answers.push(Some(self.here(object).await)),
            }
        }
        let asks: Arc<[Ask]> = asks.into();
        let mut done = 0;
        while done < asks.len() {
            for pinned in self.look_up(&asks, done).await {
                answers[asks[done].0] = Some(pinned.map(Here::Pinned).map_err(Into::into));
                done += 1;
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// Looks up files one after another from the index `from` on, until one takes too long; results after that
    /// one are missing. At least one is returned.
    async fn look_up(&self, asks: &Arc<[Ask]>, from: usize) -> Vec<Result<Pinned, Error>> {
        let place = |at: usize| asks[from + at].1.place.clone();
        let mut rules = self.rules(None);
        let found = Arc::new(Found::default());
        let is_given_up = Arc::new(AtomicBool::new(false));
        let Ok(right) = timeout(self.timeout, AT_FILES.acquire()).await else {
            let seconds = self.timeout.as_secs_f64();
            return vec![Err(Error::Timeout { place: place(0), seconds })];
        };
        let (to, stop, files) = (Arc::clone(&found), Arc::clone(&is_given_up), Arc::clone(asks));
        let mut work = tokio::task::spawn_blocking(move || {
            let _right = right;
            rules.listed = Some(rules.guard.files().collect());
            for (_, wanted, path) in &files[from..] {
                let (place, path) = (wanted.place.clone(), path.clone());
                let pinned = Pinned::new(place, path, &wanted.recorded, &rules);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                to.lock().unwrap_or_else(PoisonError::into_inner).push(pinned);
            }
        });
        let mut before = 0;
        loop {
            let ended = timeout(self.timeout, &mut work).await;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    let (place, cause) = (place(found.len()), cause.to_string());
                    found.push(Err(Error::Failed { place, cause }));
                }
                // Slow in total, but no single file took too long.
                Err(_) if found.len() > before => {
                    before = found.len();
                    continue;
                }
                Err(_) => {
                    is_given_up.store(true, Ordering::Relaxed);
                    let seconds = self.timeout.as_secs_f64();
                    let place = place(found.len());
                    found.push(Err(Error::Timeout { place, seconds }));
                }
            }
            return std::mem::take(&mut *found);
        }
    }
}
