//! How an answer is found: from memory now, or in a task, never longer than the timeout; and what
//! becomes of a view whose pack proves damaged.

use std::sync::Arc;
use std::time::Duration;

use super::inode::Slot;
use super::place::Place;
use super::turns::{self, Turn, Turns};
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
        let (timeout, turns) = (self.timeout, self.turns.clone());
        Answer::later(async move { in_turn(&turns, Turn::Any, timeout, work).await })
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
                let answer = vfs.blocking(move || ask(&asker, &asked)).await;
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
                let turn = self.turn_of(view);
                in_turn(&self.turns, turn, self.timeout, find).await?
            }
        };
        Ok(Place { slot, view: view.clone(), pack, shown })
    }

    /// The turn that finding the rows of a view takes: a filter anywhere on the way to it may take long.
    fn turn_of(&self, view: &View) -> Turn {
        let mut from = view.from;
        while let Some((parent, step)) = from {
            let text = step.text().and_then(|number| self.filters.text(number));
            if text.is_some_and(|text| turns::of_filter(&text) == Turn::Long) {
                return Turn::Long;
            }
            from = self.views.get(parent).and_then(|view| view.from);
        }
        Turn::Rows
    }

    /// Runs blocking work for who asks, no longer than the timeout.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        in_turn(&self.turns, Turn::Any, self.timeout, work).await
    }

    /// The same for work that waits for the cache's disk. One's own turn comes first: the places there are for all users, and nobody
    /// holds one while they wait for themselves.
    pub(super) async fn blocking_at_cache<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let wait = async {
            let turn = self.turns.take(Turn::Any).await;
            (turn, self.stores.looker().await)
        };
        let rights = tokio::time::timeout(self.timeout, wait).await;
        let rights = rights.map_err(|_| Error::Timeout(self.timeout.as_secs()))?;
        let work = move || {
            let done = work();
            drop(rights);
            done
        };
        blocking(self.timeout, work).await
    }

    /// Runs blocking work that replies by itself, in a turn of who asks; where none comes within the timeout, it is given that error. It
    /// may take [`PATIENCE`] times the timeout longer; then it is told to end.
    pub async fn replying(&self, work: impl FnOnce(Result<()>) + Send + 'static) {
        replying(&self.turns, self.timeout, work).await;
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
        let built = bounded(self.timeout, build).await;
        if built.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
            let (vfs, wanted) = (self.clone(), view.clone());
            let patience = self.timeout.saturating_mul(PATIENCE);
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                vfs.packs.give_up(&wanted.of, patience);
            });
        }
        let pack = built?;
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

/// [`blocking`], in a turn of who asks: that is waited for no longer than the timeout either.
async fn in_turn<T: Send + 'static>(
    turns: &Turns,
    turn: Turn,
    timeout: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let right = tokio::time::timeout(timeout, turns.take(turn)).await;
    let right = right.map_err(|_| Error::Timeout(timeout.as_secs()))?;
    let work = move || {
        let done = work();
        drop(right);
        done
    };
    blocking(timeout, work).await
}

/// See [`Vfs::replying`].
async fn replying(
    turns: &Turns,
    timeout: Duration,
    work: impl FnOnce(Result<()>) + Send + 'static,
) {
    let Ok(right) = tokio::time::timeout(timeout, turns.take(Turn::Any)).await else {
        return work(Err(Error::Timeout(timeout.as_secs()).into()));
    };
    let flag = Flag::default();
    let own = flag.clone();
    let task = tokio::task::spawn_blocking(move || {
        cancel::within(Some(own), || work(Ok(())));
        drop(right);
    });
    let longest = timeout.saturating_mul(1 + PATIENCE);
    if tokio::time::timeout(longest, task).await.is_err() {
        flag.cancel();
    }
}

/// [`bounded`], of work that blocks. It goes on for [`PATIENCE`] times the timeout, for whoever asks again; then it is told to
/// end: one that nobody will ever see the end of must not take a thread for ever.
async fn blocking<T: Send + 'static>(
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
    async fn who_gets_no_turn_is_told_so() {
        let (turns, soon) = (Turns::default(), Duration::from_millis(20));
        let mut taken = Vec::new();
        while let Ok(turn) = tokio::time::timeout(soon, turns.take(Turn::Any)).await {
            taken.push(turn);
        }
        let (tell, told) = mpsc::channel();
        for want in [Some(Kind::Busy), None] {
            let tell = tell.clone();
            let work = move |turn: Result<()>| {
                tell.send(turn.err().map(|error| error.kind())).expect("heard");
            };
            replying(&turns, soon, work).await;
            let answer = told.recv_timeout(Duration::from_secs(20)).expect("it replied");
            assert_eq!(answer, want);
            taken.pop();
        }
    }

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
