//! How an answer is found: from memory now, or in a task, never longer than the timeout; and what
//! becomes of a view whose pack proves damaged.

use std::sync::Arc;
use std::time::Duration;

use super::inode::Slot;
use super::views::View;
use super::{Answer, Error, Vfs};
use crate::error::Result;
use crate::pack::Pack;

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

    /// Asks the pack of a version: at once where it is open, in a task where it has to be built.
    pub(super) fn with_pack<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Arc<Pack>) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_view(number, slot, |view| {
            if let Some(pack) = view.pack() {
                return Answer::Now(self.sound(number, slot, &pack, ask(self, &pack)));
            }
            let vfs = self.clone();
            Answer::later(async move {
                let pack = vfs.pack(number, slot, &view).await?;
                vfs.sound(number, slot, &pack, ask(&vfs, &pack))
            })
        })
    }

    /// The pack of a view, opened or built by one however many wait, each no longer than the timeout.
    pub(super) async fn pack(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        view: &Arc<View>,
    ) -> Result<Arc<Pack>> {
        if let Some(pack) = view.pack() {
            return self.sound(number, slot, &pack, Ok(pack.clone()));
        }
        let (vfs, wanted) = (self.clone(), view.clone());
        // In a task of its own: who stops waiting must not stop the build.
        let build = tokio::spawn(async move { vfs.packs.get(&wanted.of).await });
        let pack = bounded(self.timeout, build).await?;
        view.keep(&pack);
        Ok(pack)
    }

    /// An answer of a pack, if the pack is sound. One that proves damaged ends the view that its
    /// answers were given in: whoever holds one of its numbers is told to look the path up again.
    pub(super) fn sound<T>(
        &self,
        number: u64,
        slot: Slot,
        pack: &Pack,
        answer: Result<T>,
    ) -> Result<T> {
        if pack.is_damaged() {
            self.views.retire(slot);
            return Err(Error::Unknown(number).into());
        }
        answer
    }
}

/// [`bounded`], of work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    bounded(timeout, tokio::task::spawn_blocking(work)).await
}

/// Waits for a task, no longer than `timeout`. The task goes on when nobody waits.
async fn bounded<T>(timeout: Duration, task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(lost)) => Err(Error::Lost(lost.to_string()).into()),
        Err(_) => Err(Error::Timeout(timeout.as_secs()).into()),
    }
}
