//! Computes answers: from memory now, or in a task, within the timeout, or on a patient thread from disks of this machine; and
//! handles views whose pack proves damaged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::inode::Slot;
use super::place::Place;
use super::turns::{self, Turn, Turns};
use super::views::View;
use super::{Answer, Error, Vfs};
use dcfs_core::cancel::{self, Flag};
use dcfs_core::error::{Kind, Result};
use dcfs_data::catalog::VersionInfo;
use dcfs_data::pack::{Pack, names};
use dcfs_store::patience;

/// How much longer than the timeout, in multiples of it, abandoned work continues.
const PATIENCE: u32 = 4;

impl Vfs {
    /// The view of an inode number.
    pub(super) fn view(&self, number: u64, slot: Slot) -> Result<Arc<View>> {
        Ok(self.views.get(slot).ok_or(Error::Unknown(number))?)
    }

    /// Runs `ask` on a view, if it exists.
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

    /// Runs blocking work in a task; the caller stops waiting after the timeout, the work continues.
    pub(super) fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (timeout, turns) = (self.timeout, self.turns.clone());
        Answer::later(async move { in_turn(&turns, Turn::Any, timeout, work).await })
    }

    /// As [`Vfs::blocking`], for work that may occupy a thread for long: the number of such tasks is limited.
    pub(super) async fn in_long_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        in_turn(&self.turns, Turn::Long, self.timeout, work).await
    }

    /// Runs `ask` on a view's place: at once if its pack is open, its rows are known and its names are in memory,
    /// else in a task.
    pub(super) fn with_place<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl Fn(&Arc<Self>, &Place) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_view(number, slot, |view| {
            if let Some(pack) = view.pack()
                && view.known_schema().is_some()
                && let Some(shown) = self.known_rows(slot, &view)
                && shown.as_ref().is_none_or(|shown| shown.set.is_ready())
            {
                let place = Place { slot, view, pack, shown };
                let answer = match place.pack.is_here() {
                    true => Some(ask(self, &place)),
                    false => names::hurried(|| ask(self, &place)),
                };
                if let Some(answer) = answer {
                    return Answer::Now(self.sound(number, &place, answer));
                }
            }
            self.with_place_in_task(number, slot, ask)
        })
    }

    /// Runs blocking work on a view's place: always in a task.
    pub(super) fn with_place_in_task<T: Send + 'static>(
        self: &Arc<Self>,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Place) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_place_in_turn(Turn::Any, number, slot, ask)
    }

    /// The same in a turn of this kind.
    pub(super) fn with_place_in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        turn: Turn,
        number: u64,
        slot: Slot,
        ask: impl FnOnce(&Arc<Self>, &Place) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.with_view(number, slot, |view| {
            let vfs = self.clone();
            Answer::later(async move {
                let place = vfs.place(number, slot, &view).await?;
                let (asked, asker) = (place.clone(), vfs.clone());
                let work = move || ask(&asker, &asked);
                let answer = in_turn(&vfs.turns, turn, vfs.timeout, work).await;
                vfs.sound(number, &place, answer)
            })
        })
    }

    /// A view with its pack and its rows, computed once for all concurrent callers, each of which waits no
    /// longer than the timeout.
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

    /// The kind of turn for finding the rows of a view: any filter on the path to it may be slow.
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

    /// Runs blocking work for the caller, within the timeout.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        in_turn(&self.turns, Turn::Any, self.timeout, work).await
    }

    /// The same for work that blocks on the cache's disk. The caller's own turn is acquired first: the permits
    /// for the disk are shared by all users, and must not be held while waiting for a turn.
    ///
    /// On a patient thread it is done there, if that asks only disks of this machine and can be done without waiting; otherwise it is
    /// done again. That takes neither a turn nor a permit, which limit how many threads one user and one disk occupy: at most one
    /// request at a time is on a patient thread, and while it is, those of others find the other one.
    pub(super) async fn blocking_at_cache<T: Send + 'static>(
        &self,
        work: impl Fn() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.is_near()
            && patience::is_here()
            && let Some(done) = hurriedly(&work)
        {
            return Ok(done);
        }
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

    /// Runs blocking work that replies by itself, in a turn of the caller; if no turn is free within the
    /// timeout, it receives that error. It may take [`PATIENCE`] times the timeout longer; then, or where who asks has `left`, it is
    /// cancelled.
    pub async fn replying(
        &self,
        work: impl FnOnce(Result<()>) + Send + 'static,
        left: impl Future<Output = ()>,
    ) {
        replying(&self.turns, self.timeout, work, left).await;
    }

    /// The pack of a view, opened or built once for all concurrent callers, each of which waits no longer than
    /// the timeout.
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
        let pack = self.pack_of_version(&view.of).await?;
        view.keep(&pack);
        Ok(pack)
    }

    /// The pack of a version, opened or built once for all concurrent callers, each of which waits no longer
    /// than the timeout. A build that nobody asks for any more is given up.
    pub(super) async fn pack_of_version(self: &Arc<Self>, of: &VersionInfo) -> Result<Arc<Pack>> {
        let (vfs, wanted) = (self.clone(), of.clone());
        // In a task of its own: a caller that stops waiting must not cancel the build, unless nobody else waits.
        let build = tokio::spawn(async move { vfs.packs.get(&wanted).await });
        let leaving = OnDrop(Some(|| self.packs.leave(of)));
        let built = bounded(self.timeout, build).await;
        leaving.disarm();
        if built.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
            let (vfs, wanted) = (self.clone(), of.clone());
            let patience = self.timeout.saturating_mul(PATIENCE);
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                vfs.packs.give_up(&wanted, patience);
            });
        }
        built
    }

    /// An answer from a place, if its pack is intact.
    pub(super) fn sound<T>(&self, number: u64, place: &Place, answer: Result<T>) -> Result<T> {
        self.believe(number, place.slot, &place.pack)?;
        answer
    }

    /// Retires the version if its pack proves damaged: holders of its inode numbers have to look the path up
    /// again.
    pub(super) fn believe(&self, number: u64, slot: Slot, pack: &Pack) -> Result<()> {
        if pack.is_damaged() {
            self.views.retire(slot);
            return Err(Error::Unknown(number).into());
        }
        Ok(())
    }
}

/// Does work that a thread of its own can do again: an error may come of the hurry, so it is dropped, and so is a panic.
fn hurriedly<T>(work: impl Fn() -> Result<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| cancel::hurried(work))).ok()?.ok()
}

/// Runs [`blocking`] in a turn of the caller; waiting for the turn is limited by the timeout too.
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
    left: impl Future<Output = ()>,
) {
    let mut left = std::pin::pin!(left);
    let right = tokio::select! {
        right = tokio::time::timeout(timeout, turns.take(Turn::Any)) => right,
        () = &mut left => return work(Err(Error::Left.into())),
    };
    let Ok(right) = right else {
        return work(Err(Error::Timeout(timeout.as_secs()).into()));
    };
    let flag = Flag::default();
    let own = flag.clone();
    let task = tokio::task::spawn_blocking(move || {
        cancel::within(Some(own), || work(Ok(())));
        drop(right);
    });
    let longest = timeout.saturating_mul(1 + PATIENCE);
    tokio::select! {
        _ = task => {}
        () = tokio::time::sleep(longest) => flag.cancel(),
        () = left => flag.cancel(),
    }
}

/// [`bounded`], for blocking work. It continues for [`PATIENCE`] times the timeout, in case it is requested
/// again; then it is cancelled, so that endless work does not occupy a thread for ever. Dropped, as where who asked is killed, it is told
/// at once.
async fn blocking<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let flag = Flag::default();
    let own = flag.clone();
    let task = tokio::task::spawn_blocking(move || cancel::within(Some(own), work));
    let leaving = OnDrop(Some(|| flag.cancel()));
    let answer = bounded(timeout, task).await;
    leaving.disarm();
    if answer.as_ref().is_err_and(|error| error.kind() == Kind::Busy) {
        tokio::spawn(async move {
            tokio::time::sleep(timeout.saturating_mul(PATIENCE)).await;
            flag.cancel();
        });
    }
    answer
}

/// Does something when it is dropped before it is disarmed.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// Waits for a task, no longer than `timeout`. The task continues in any case.
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

    #[test]
    fn what_fails_in_a_hurry_is_left_to_another_thread() {
        assert_eq!(hurriedly(|| Ok(cancel::is_hurried())), Some(true));
        assert_eq!(hurriedly(|| Err::<(), _>(Error::Left.into())), None);
        assert_eq!(hurriedly(|| -> Result<()> { panic!("as told") }), None);
        assert!(!cancel::is_hurried());
    }

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
            replying(&turns, soon, work, std::future::pending()).await;
            let answer = told.recv_timeout(Duration::from_secs(20)).expect("it replied");
            assert_eq!(answer, want);
            taken.pop();
        }
    }

    #[tokio::test]
    async fn work_that_is_left_ends_at_once() {
        let long = Duration::from_secs(3600);
        let (tell, told) = mpsc::channel();
        let ends = |tell: mpsc::Sender<()>| {
            move || {
                while cancel::check().is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                tell.send(()).expect("heard");
            }
        };
        let soon = Duration::from_millis(20);
        let work = ends(tell.clone());
        let asked = blocking(long, move || {
            work();
            Ok(())
        });
        assert!(tokio::time::timeout(soon, asked).await.is_err(), "who asked left");
        let work = ends(tell);
        replying(&Turns::default(), long, move |_| work(), tokio::time::sleep(soon)).await;
        let ended = tokio::task::spawn_blocking(move || {
            (0..2).all(|_| told.recv_timeout(Duration::from_secs(20)).is_ok())
        });
        assert!(ended.await.expect("no panic"), "both ended");
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
        // Work that is waited for is not cancelled.
        blocking(Duration::from_secs(20), cancel::check).await.expect("not cancelled");
    }
}
