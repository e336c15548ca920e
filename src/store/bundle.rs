//! Opening several local files at once: one hand-over to a blocking thread, and one listing of the forbidden
//! files, for all of them. Each still has its own time limit: one that hangs does not fail the others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dcfs_core::object::Object;
use tokio::time::timeout;

use super::place::Place;
use super::reader::Source;
use super::wanted::Wanted;
use super::whole::Here;
use super::{AT_FILES, Error, Result, Stores, error, is_lasting, local};

/// A file to open: its index in the bundle, and its path.
type Ask = (usize, Wanted, PathBuf);

/// The results of a bundle so far, in the order of the request.
type Opened = Mutex<Vec<Result<local::File, Error>>>;

impl Stores {
    /// Does what [`Stores::here`] does for each object, in order; local files are opened together.
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
            // For a member, the place of its archive.
            match Place::of(&wanted.object) {
                Ok(Place::File(path)) => {
                    asks.push((at, wanted, path));
                    answers.push(None);
                }
                _ => answers.push(Some(self.here(object).await)),
            }
        }
        while !asks.is_empty() {
            let opened = self.open_all(&asks).await;
            for ((at, wanted, path), file) in asks.drain(..opened.len()).zip(opened) {
                let label = error::place(objects[at]).into();
                let here = file.map(|file| {
                    let source = Source::Local(Arc::new(file));
                    let reader = self.reader(label, wanted.size, source, is_lasting(objects[at]));
                    Here::local(reader, path)
                });
                answers[at] = Some(here.map_err(Into::into));
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// Opens files one after another, until one takes too long; results after that one are missing. At least
    /// one is returned.
    async fn open_all(&self, asks: &[Ask]) -> Vec<Result<local::File, Error>> {
        let place = |at: usize| asks[at].1.place.clone();
        let mut rules = self.rules(None);
        let opens: Vec<_> = asks
            .iter()
            .map(|(_, wanted, path)| {
                let part = (wanted.base, wanted.size);
                (wanted.place.clone(), path.clone(), wanted.recorded.clone(), part)
            })
            .collect();
        let opened = Arc::new(Opened::default());
        let is_given_up = Arc::new(AtomicBool::new(false));
        let Ok(right) = timeout(self.timeout, AT_FILES.acquire()).await else {
            let seconds = self.timeout.as_secs_f64();
            return vec![Err(Error::Timeout { place: place(0), seconds })];
        };
        let (to, stop) = (Arc::clone(&opened), Arc::clone(&is_given_up));
        let mut work = tokio::task::spawn_blocking(move || {
            let _right = right;
            rules.listed = Some(rules.guard.files().collect());
            for (place, path, recorded, part) in opens {
                let file = local::File::open(place, &path, &recorded, part, &rules);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                to.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            }
        });
        let mut before = 0;
        loop {
            let ended = timeout(self.timeout, &mut work).await;
            let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => {
                    let (place, cause) = (place(opened.len()), cause.to_string());
                    opened.push(Err(Error::Failed { place, cause }));
                }
                // Slow in total, but no single file took too long.
                Err(_) if opened.len() > before => {
                    before = opened.len();
                    continue;
                }
                Err(_) => {
                    is_given_up.store(true, Ordering::Relaxed);
                    let seconds = self.timeout.as_secs_f64();
                    let place = place(opened.len());
                    opened.push(Err(Error::Timeout { place, seconds }));
                }
            }
            return std::mem::take(&mut *opened);
        }
    }
}
