//! How an answer is found: from memory now, or in a task, never longer than the timeout; and what
//! becomes of a view whose pack proves damaged.

use std::sync::Arc;
use std::time::Duration;

use super::inode::Slot;
use super::place::Place;
use super::views::View;
use super::{Answer, Error, Vfs};
use dcfs_core::cancel::{self, Flag};
use dcfs_core::error::{Kind, Result};
use dcfs_data::pack::Pack;

/// How much longer than the timeout, in timeouts, work goes on that nobody waits for.
const PATIENCE: u32 = 4;

impl Vfs {
    /// The view that an inode number is of.
    pub(super) fn view(&self, number: u64, slot: Slot) -> Result<Arc<View>> {
        Ok(self.views.get(slot).ok_or(Error::Unknown(number))?)
    }

    /// Asks something of a view, if there is one.
    pub(super) fn with_view<T>(
        &self,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(Arc<View>) -> Answer<T>,
    ) -> Answer<T> {
        match self.view(number, slot) {
            Ok(view) => ask(view),
            Err(error) => Answer::Now(Err(error)),
        }
    }

    /// Runs blocking work in a task; the caller stops waiting after the timeout, the work goes on.
    pub(super) fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let timeout = self.timeout;
        Answer::later(async move { blocking(timeout, work).await })
    }

    /// Asks a view's place: at once where its pack is open and its rows are known, else in a task.
    pub(super) fn with_place<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Place) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_view(number, slot, |view| {
            if let Some(pack) = view.pack()
                && view.known_schema().is_some()
                && let Some(shown) = self.known_rows(slot, &view)
                && shown.as_ref().is_none_or(|shown| shown.set.is_ready())
            {
                let place = Place { slot, view, pack, shown };
                return Answer::Now(self.sound(number, &place, ask(self, &place)));
            }
            self.with_place_in_task(number, slot, ask)
        })
    }

    /// Asks a view's place something that blocks: always in a task.
    pub(super) fn with_place_in_task<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Place) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_view(number, slot, |view| {
            let vfs = self.clone();
            Answer::later(async move {
                let place = vfs.place(number, slot, &view).await?;
                let (asked, asker) = (place.clone(), vfs.clone());
                let answer = blocking(vfs.timeout, move || ask(&asker, &asked)).await;
                vfs.sound(number, &place, answer)
            })
        })
    }

    /// A view with its pack and its rows, found by one however many wait, each no longer than the
    /// timeout.
    pub(super) async fn place(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        view: &Arc<View>,
    ) -> Result<Place> {
        let pack = self.pack(number, slot, view).await?;
        let known = self.known_rows(slot, view).filter(|_| view.known_schema().is_some());
        let shown = match known {
            Some(shown) => shown,
            None => {
                let (vfs, of, over) = (self.clone(), view.clone(), pack.clone());
                let find = move || {
                    of.schema(&vfs.catalog)?;
                    vfs.rows_of(slot, &of, &over)
                };
                self.find_rows(find).await?
            }
        };
        Ok(Place { slot, view: view.clone(), pack, shown })
    }

    /// Finds the rows of a view, not too many at a time: each may take a thread for long, whether or not
    /// anybody still waits.
    async fn find_rows<T: Send + 'static>(
        &self,
        find: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let right = tokio::time::timeout(self.timeout, self.finders.clone().acquire_owned()).await;
        let right = right.map_err(|_| Error::Timeout(self.timeout.as_secs()))?;
        let work = move || {
            let found = find();
            drop(right);
            found
        };
        blocking(self.timeout, work).await
    }

    /// The pack of a view, opened or built by one however many wait, each no longer than the timeout.
    async fn pack(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        view: &Arc<View>,
    ) -> Result<Arc<Pack>> {
        if let Some(pack) = view.pack() {
            self.believe(number, slot, &pack)?;
            return Ok(pack);
        }
        let (vfs, wanted) = (self.clone(), view.clone());
        // In a task of its own: who stops waiting must not stop the build.
        let build = tokio::spawn(async move { vfs.packs.get(&wanted.of).await });
        let pack = bounded(self.timeout, build).await?;
        view.keep(&pack);
        Ok(pack)
    }

    /// An answer of a place, if its pack is sound.
    pub(super) fn sound<T>(&self, number: u64, place: &Place, answer: Result<T>) -> Result<T> {
        self.believe(number, place.slot, &place.pack)?;
        answer
    }

    /// A pack that proves damaged ends the version that its answers were given in: whoever holds one
    /// of its numbers is told to look the path up again.
    pub(super) fn believe(&self, number: u64, slot: Slot, pack: &Pack) -> Result<()> {
        if pack.is_damaged() {
            self.views.retire(slot);
            return Err(Error::Unknown(number).into());
        }
        Ok(())
    }
}

/// [`bounded`], of work that blocks. It goes on for [`PATIENCE`] times the timeout, for whoever asks again; then it is told to
/// end: one that nobody will ever see the end of must not take a thread for ever.
pub(super) async fn blocking<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let flag = Flag::default();
    let own = flag.clone();
    let task = tokio::task::spawn_blocking(move || cancel::within(Some(own), work));
    let answer = bounded(timeout, task).await;
    if answer.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
        tokio::spawn(async move {
            tokio::time::sleep(timeout.saturating_mul(PATIENCE)).await;
            flag.cancel();
        });
    }
    answer
}

/// Waits for a task, no longer than `timeout`. The task goes on when nobody waits.
async fn bounded<T>(timeout: Duration, task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(lost)) => Err(Error::Lost(lost.to_string()).into()),
        Err(_) => Err(Error::Timeout(timeout.as_secs()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;

    #[tokio::test]
    async fn work_that_nobody_waits_for_ends() {
        let (tell, told) = mpsc::channel();
        let began = std::time::Instant::now();
        let work = move || -> Result<()> {
            while cancel::check().is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
            tell.send(began.elapsed()).expect("heard");
            cancel::check()
        };
        let timeout = Duration::from_millis(50);
        let answer = blocking(timeout, work).await;
        assert_eq!(answer.expect_err("it takes for ever").kind(), Kind::Busy);
        let ended = tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_secs(20)));
        let ended = ended.await.expect("no panic").expect("it ended");
        assert!(ended >= timeout * (1 + PATIENCE), "whoever asks again finds it: {ended:?}");
        // Work that is waited for is left alone.
        blocking(Duration::from_secs(20), cancel::check).await.expect("not cancelled");
    }
}
