//! Runs rows through programs: files are prefetched, several rows are processed in parallel,
//! answers are stored.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dcfs_core::error::{Error, Result};
use dcfs_core::id::RowId;
use dcfs_core::object::Object;
use dcfs_store::Stores;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

use super::each::{self, Words};
use super::feed::Row;
use super::local::{Folder, Local};
use super::process::Log;
use super::step::{self, Step};
use super::task::{Done, Task, Types};
use super::worker::{self, Worker};

/// How long rows in flight have to finish when the run stops.
const GRACE: Duration = Duration::from_secs(5);

/// The most data prefetched, in KiB.
const AHEAD: u32 = 256 << 10;

/// The most answers waiting to be stored.
const WAITING: usize = 256;

/// How a program is run.
pub enum Way {
    /// One process per row.
    Each { words: Words, stdin: bool },
    /// No program: a built-in step.
    Step(Step),
    /// Workers, the first of which may have been started already.
    Stays(Option<Box<Worker>>),
}

/// State shared by all tasks of a run.
pub struct Shared {
    pub words: Vec<OsString>,
    pub variables: Vec<(&'static str, String)>,
    pub is_function: bool,
    pub types: Types,
    pub batch: usize,
    pub tries: u32,
    pub row_timeout: Option<Duration>,
    pub start_timeout: Duration,
    pub log: Log,
    pub stop: watch::Receiver<bool>,
    pub ready: Mutex<Receiver<Task>>,
    pub results: Sender<Done>,
}

impl Shared {
    /// The next row; `None` if there are no more, or the run stops.
    pub async fn next(&self) -> Option<Task> {
        if self.is_stopping() {
            return None;
        }
        tokio::select! {
            biased;
            () = self.stopping() => None,
            task = async { self.ready.lock().await.recv().await } => task.map(Task::taken),
        }
    }

    /// The next row, if it is already there.
    pub fn next_now(&self) -> Option<Task> {
        self.ready.try_lock().ok()?.try_recv().ok().map(Task::taken)
    }

    /// Hands over the result of a row.
    pub async fn done(&self, done: Done) {
        self.results.send(done).await.ok();
    }

    /// Whether the run stops.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the run stops.
    pub async fn stopping(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How files are fetched.
pub struct Fetching {
    pub stores: Arc<Stores>,
    pub folder: Arc<Folder>,
    pub ahead: usize,
    /// Whether files are fetched: a row without one is then an error.
    pub needs_file: bool,
}

/// Receives answers.
pub trait Keeper {
    /// Takes an answer; breaking stops the run.
    ///
    /// # Errors
    /// It cannot be stored.
    fn take(&mut self, done: Done) -> Result<ControlFlow<()>>;

    /// Stores the answers taken so far.
    ///
    /// # Errors
    /// They cannot be stored.
    fn keep(&mut self) -> Result<()>;
}

/// The longest time between commits.
const COMMIT: Duration = Duration::from_secs(1);

/// How long answers may accumulate before the next are taken; far fewer than [`WAITING`] do.
const PAUSE: Duration = Duration::from_millis(2);

/// Runs a program over `rows` until there are no more, the keeper has enough, or `stop` is set.
///
/// # Errors
/// Errors of the program and the keeper; rows in flight were finished and stored.
pub async fn run(
    shared: Arc<Shared>,
    way: Way,
    jobs: usize,
    stop: &watch::Sender<bool>,
    mut results: Receiver<Done>,
    keeper: &mut dyn Keeper,
) -> Result<()> {
    let mut workers = JoinSet::new();
    match way {
        Way::Each { words, stdin } => {
            let words = Arc::new(words);
            for _ in 0..jobs {
                let (shared, words) = (Arc::clone(&shared), Arc::clone(&words));
                workers.spawn(async move { each::work(&shared, &words, stdin).await });
            }
        }
        Way::Step(step) => {
            for _ in 0..jobs {
                let shared = Arc::clone(&shared);
                workers.spawn(async move { step::work(&shared, step).await });
            }
        }
        Way::Stays(mut first) => {
            for _ in 0..jobs {
                let (shared, first) = (Arc::clone(&shared), first.take());
                workers
                    .spawn(async move { worker::work(&shared, first.map(|first| *first)).await });
            }
        }
    }
    let mut failed: Option<Error> = None;
    let mut grace: Option<Instant> = None;
    let mut due = Instant::now() + COMMIT;
    let mut some = Vec::with_capacity(WAITING);
    // Fast answers are taken in groups: waking up for each costs more than processing it.
    let mut pause: Option<Instant> = None;
    loop {
        if *stop.borrow() && grace.is_none() {
            grace = Some(Instant::now() + GRACE);
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(pause.unwrap_or(due).into()), if pause.is_some() => {
                pause = None;
            }
            1.. = results.recv_many(&mut some, WAITING), if pause.is_none() => {
                for done in some.drain(..) {
                    match keeper.take(done) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => drop(stop.send_replace(true)),
                        Err(error) => {
                            failed.get_or_insert(error);
                            stop.send_replace(true);
                        }
                    }
                }
                let now = Instant::now();
                if due <= now {
                    due = now + COMMIT;
                    kept(keeper, stop, &mut failed);
                }
                pause = Some(now + PAUSE);
            }
            worker = workers.join_next() => match worker {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    failed.get_or_insert(error);
                    stop.send_replace(true);
                }
                // A task that was aborted.
                Some(Err(_)) => {}
            },
            () = tokio::time::sleep_until(due.into()) => {
                due = Instant::now() + COMMIT;
                kept(keeper, stop, &mut failed);
            }
            () = shared.stopping(), if grace.is_none() => {}
            () = tokio::time::sleep_until(grace.unwrap_or(due).into()), if grace.is_some() => {
                workers.abort_all();
                grace = Some(Instant::now() + MONTH);
            }
        }
    }
    while let Ok(done) = results.try_recv() {
        if let Err(error) = keeper.take(done) {
            failed.get_or_insert(error);
        }
    }
    kept(keeper, stop, &mut failed);
    failed.map_or(Ok(()), Err)
}

/// Long enough that nobody waits for it.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn kept(keeper: &mut dyn Keeper, stop: &watch::Sender<bool>, failed: &mut Option<Error>) {
    if let Err(error) = keeper.keep() {
        failed.get_or_insert(error);
        stop.send_replace(true);
    }
}

/// Channels for [`Shared`].
pub fn channels(ahead: usize) -> (Sender<Task>, Receiver<Task>, Sender<Done>, Receiver<Done>) {
    let (ready, tasks) = mpsc::channel(ahead.max(1));
    let (results, done) = mpsc::channel(WAITING);
    (ready, tasks, results, done)
}

/// Fetches the files of every row, several at a time, and passes it on.
pub async fn prepare(
    mut rows: Receiver<Vec<Row>>,
    fetching: Arc<Fetching>,
    ready: Sender<Task>,
    results: Sender<Done>,
) {
    let room = Arc::new(Semaphore::new(AHEAD as usize));
    let most = fetching.ahead.max(1);
    let under_way = Arc::new(Semaphore::new(most));
    let bundles = stream::poll_fn(move |context| rows.poll_recv(context));
    let bundles = bundles.flat_map(|rows| stream::iter(bundles_of(rows, most)));
    let tasks = bundles.map(|bundle| {
        let (fetching, room) = (Arc::clone(&fetching), Arc::clone(&room));
        let under_way = Arc::clone(&under_way);
        async move {
            if !fetching.needs_file {
                return bundle.into_iter().map(|row| Ok(task(row, Vec::new(), None))).collect();
            }
            let ids: Vec<RowId> = bundle.iter().map(|row| row.id).collect();
            let right = under_way.acquire_many_owned(u32::try_from(ids.len()).unwrap_or(1)).await;
            // In separate tasks: they continue while the programs are busy.
            let fetched = tokio::spawn(async move {
                let _right = right;
                fetched_all(bundle, fetching, room).await
            });
            fetched.await.unwrap_or_else(|error| {
                let lost = |id| Row { id, objects: Vec::new(), columns: Vec::new(), group: None };
                let why = error.to_string();
                ids.into_iter()
                    .map(|id| Err(task(lost(id), Vec::new(), None).failed(&why)))
                    .collect()
            })
        }
    });
    let mut tasks = std::pin::pin!(tasks.buffer_unordered(most));
    while let Some(some) = tasks.next().await {
        for task in some {
            let is_taken = match task {
                Ok(task) => ready.send(task).await.is_ok(),
                Err(done) => results.send(done).await.is_ok(),
            };
            if !is_taken {
                return;
            }
        }
    }
}

/// The most local files looked up at a time: more cost hardly less each.
const BUNDLE: usize = 32;

/// Groups rows that are fetched together: adjacent ones with one local file each; any other is
/// alone.
fn bundles_of(rows: Vec<Row>, most: usize) -> Vec<Vec<Row>> {
    let most = (most / 2).clamp(1, BUNDLE);
    let mut bundles: Vec<Vec<Row>> = Vec::new();
    let mut is_open = false;
    for row in rows {
        let is_near = matches!(&row.objects[..], [object] if dcfs_store::is_file(object));
        match bundles.last_mut().filter(|last| is_open && is_near && last.len() < most) {
            Some(last) => last.push(row),
            None => bundles.push(vec![row]),
        }
        is_open = is_near;
    }
    bundles
}

async fn fetched_all(
    mut rows: Vec<Row>,
    fetching: Arc<Fetching>,
    room: Arc<Semaphore>,
) -> Vec<Result<Task, Done>> {
    if rows.len() < 2 {
        let row = rows.pop();
        return match row {
            Some(row) => vec![fetched(row, fetching, room).await],
            None => Vec::new(),
        };
    }
    let objects: Vec<&Object> = rows.iter().flat_map(|row| &row.objects).collect();
    let opened = fetching.stores.all_here(&objects).await;
    let mut tasks = Vec::with_capacity(rows.len());
    for (row, here) in rows.into_iter().zip(opened) {
        let file = match (here, row.objects.first()) {
            (Ok(here), Some(object)) => Local::at(here, object, &fetching.folder).await,
            (Err(error), _) => Err(error),
            (Ok(_), None) => continue,
        };
        tasks.push(match file {
            Ok(file) => Ok(task(row, vec![file], None)),
            Err(error) => Err(task(row, Vec::new(), None).unread(&error)),
        });
    }
    tasks
}

async fn fetched(row: Row, fetching: Arc<Fetching>, room: Arc<Semaphore>) -> Result<Task, Done> {
    if row.objects.is_empty() {
        return Err(task(row, Vec::new(), None).failed("the row names no file"));
    }
    // Local files take no space.
    let is_far = |object: &&Object| !dcfs_store::is_file(object);
    let far = row.objects.iter().filter(is_far).map(|object| object.size.unwrap_or(0));
    // The columns of a group may be large, too.
    let size = far.fold(row.columns.len() as u64, u64::saturating_add);
    let size = size.div_ceil(1024).min(AHEAD.into());
    let room = room.acquire_many_owned(u32::try_from(size).unwrap_or(AHEAD)).await.ok();
    let files = stream::iter(row.objects.clone())
        .map(|object| {
            let fetching = Arc::clone(&fetching);
            async move { Local::of(&fetching.stores, &object, &fetching.folder).await }
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<Local>>()
        .await;
    match files {
        Ok(files) => Ok(task(row, files, room)),
        Err(error) => Err(task(row, Vec::new(), room).unread(&error)),
    }
}

/// The most files of one group fetched at a time.
const AT_ONCE: usize = 8;

fn task(row: Row, files: Vec<Local>, room: Option<tokio::sync::OwnedSemaphorePermit>) -> Task {
    let Row { id, objects, columns, group } = row;
    Task { id, objects, columns, files, group, tries: 0, _room: room }
}
