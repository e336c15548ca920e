//! A version's names on another host, and the whole pack for what they cannot answer.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use dcfs_disk::private;

use super::fetch::{Shelf, Source};
use super::{BLOCKS, IDS, Names, TOP, write};
use crate::pack::error::{PackError, Result};
use crate::pack::folder::Staging;
use crate::pack::ids::{self, RowIds};
use crate::pack::manifest::{self, Manifest};
use crate::pack::output::{Sum, Sums, mapped};
use crate::pack::shared::{self, AWAY_FOR_NAMES, Lost, Pieces, Shared, Written};
use crate::pack::{self, Limits, Pack, check, columns, home, open};
use dcfs_core::cancel;
use dcfs_core::error::{Error, Kind};
use dcfs_core::schema::FileColumn;

/// What the name of the folder of a version's names ends with, after that of its pack.
pub const ENDING: &str = ".names";

/// Interval between checks for cancellation while waiting for the pack.
const PAUSE: Duration = Duration::from_millis(50);

/// Obtains the whole pack.
pub type Opener = dyn Fn() -> Result<Pack> + Send + Sync;

/// Names in blocks, and the pack that they are of.
pub struct Remote {
    pub names: Names,
    whole: Arc<Whole>,
    numbers: Numbers,
}

/// The ids of rows, if they have gaps: obtained once, when somebody needs them.
struct Numbers {
    /// What the manifest says of their file, and the number of rows.
    wanted: Option<(Sum, u32)>,
    here: OnceLock<RowIds>,
    /// Held while they are being obtained.
    turn: Mutex<()>,
}

impl Numbers {
    /// The right to obtain them. Waits for whoever does.
    fn turn(&self) -> Result<MutexGuard<'_, ()>> {
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    cancel::check()?;
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Those of a file in `folder`, if it is what the manifest says.
    fn open(&self, folder: &Path, (sum, count): (Sum, u32)) -> Result<&RowIds, PackError> {
        let sums = Sums::from([(ids::FILE.into(), sum)]);
        check::Checksums::open(folder, &sums)?.compare(cancel::is_cancelled)?;
        cancel::check().map_err(PackError::Other)?;
        let map = mapped(folder, ids::FILE)?;
        if map.as_ref().len() as u64 != u64::from(count) * 8 {
            return Err(PackError::damaged("`rows.ids` has the wrong length"));
        }
        Ok(self.here.get_or_init(|| RowIds { count, first: 0, map: Some(map) }))
    }
}

/// The pack, obtained at most once, on a thread of its own.
struct Whole {
    pack: OnceLock<Arc<Pack>>,
    open: Arc<Opener>,
    state: Mutex<State>,
    changed: Condvar,
    /// The files that it should have.
    files: Sums,
    /// Whether it was obtained and has others.
    is_other: AtomicBool,
    /// Where the names come from; `None` if from a folder of this machine.
    shared: Option<Shared>,
}

#[derive(Default)]
struct State {
    is_opening: bool,
    /// How often it could not be obtained, and when and why the last time.
    failures: u64,
    why: Option<(Instant, Kind, String)>,
}

impl State {
    /// The error of the last time.
    fn failed(&self) -> Error {
        let (kind, why) = self
            .why
            .as_ref()
            .map_or((Kind::Broken, String::new()), |(_, kind, why)| (*kind, why.clone()));
        Error::new(kind, why)
    }
}

impl Remote {
    /// The pack, if it has been obtained.
    pub fn ready(&self) -> Option<&Arc<Pack>> {
        self.whole.pack.get()
    }

    /// The ids of rows, if they are here.
    pub fn known_ids(&self) -> Option<&RowIds> {
        self.numbers.here.get().or_else(|| self.ready()?.known_ids())
    }

    /// The ids of rows that have gaps: kept in the folder `home`, fetched now if they are not. Waits.
    ///
    /// # Errors
    /// Errors of the folder and the disk; errors of obtaining the whole pack, which has them, if they
    /// are not what they should be, or were waited for long enough.
    pub fn ids(&self, home: &Path) -> Result<&RowIds> {
        if let Some(ids) = self.known_ids() {
            return Ok(ids);
        }
        super::may_wait()?;
        let _turn = self.numbers.turn()?;
        let wanted = self.numbers.wanted.filter(|_| !self.names.is_refused());
        let (Some(wanted), None) = (wanted, self.known_ids()) else { return self.whole()?.ids() };
        if let Ok(ids) = self.numbers.open(home, wanted) {
            return Ok(ids);
        }
        // Another process may have obtained the whole pack meanwhile.
        if self.whole.shared.is_some() && pack_of(home).is_some_and(|pack| pack.exists()) {
            return self.whole()?.ids();
        }
        match self.names.unfold_ids(home, wanted.0) {
            Ok(()) => Ok(self.numbers.open(home, wanted)?),
            Err(PackError::Damaged(why)) => {
                self.names.refuse(&why);
                self.whole()?.ids()
            }
            Err(PackError::Other(error)) => match self.names.waits(error) {
                Some(told) => Err(told),
                None => self.whole()?.ids(),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the pack turned out to number entries in another way, so that what was answered from
    /// names cannot be continued.
    pub fn is_of_another(&self) -> bool {
        self.whole.is_other.load(Ordering::Relaxed)
    }

    /// The pack, obtained now if it was not before; then it answers all questions. Waits.
    ///
    /// # Errors
    /// Errors of obtaining it; the next caller tries again.
    pub fn whole(&self) -> Result<&Arc<Pack>> {
        if let Some(pack) = self.ready() {
            return Ok(pack);
        }
        super::may_wait()?;
        let mut state = self.whole.lock();
        let failures = state.failures;
        loop {
            if let Some(pack) = self.whole.pack.get() {
                // Others that ask at the same time come here too: it is the same again.
                if self.whole.shared.is_some() {
                    self.names.empty();
                }
                return Ok(pack);
            }
            if state.failures != failures {
                return Err(state.failed());
            }
            if !state.is_opening {
                if state.why.as_ref().is_some_and(|why| why.0.elapsed() < AWAY_FOR_NAMES) {
                    return Err(state.failed());
                }
                state.is_opening = true;
                let (whole, is_refused) = (self.whole.clone(), self.names.is_refused());
                let thread = std::thread::Builder::new().name("dcfs-pack".into());
                if let Err(error) = thread.spawn(move || whole.obtain(is_refused)) {
                    state.is_opening = false;
                    return Err(PackError::Thread(error.to_string()).into());
                }
            }
            cancel::check()?;
            let waited = self.whole.changed.wait_timeout(state, PAUSE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Whole {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Obtains it; `is_refused` if the names were not what they should be. Whatever happens, those who
    /// wait are told.
    fn obtain(&self, is_refused: bool) {
        let before = self.lock().why.as_ref().map(|why| why.1);
        match before {
            None => tracing::info!("the whole pack is needed"),
            Some(_) => tracing::debug!("the whole pack is asked for again"),
        }
        let open = || -> Result<Arc<Pack>> {
            let pack = (self.open)()?;
            self.check_ours(&pack)?;
            Ok(Arc::new(pack))
        };
        let opened = catch_unwind(AssertUnwindSafe(open));
        let opened = opened.unwrap_or_else(|_| Err(Error::new(Kind::Broken, "a panic")));
        let mut state = self.lock();
        state.is_opening = false;
        match opened {
            Ok(pack) => drop(self.pack.set(pack)),
            Err(error) => {
                // Whoever asks is told each time; the log, once.
                match before == Some(error.kind()) {
                    true => tracing::debug!(%error, "no whole pack"),
                    false => tracing::warn!(%error, "no whole pack"),
                }
                state.failures += 1;
                state.why = Some((Instant::now(), error.kind(), error.to_string()));
            }
        }
        self.changed.notify_all();
        drop(state);
        if let (Some(pack), Some(shared), true) = (self.pack.get(), &self.shared, is_refused) {
            mend_later(shared, pack.folder());
        }
    }

    /// Checks that entries have the same numbers in both.
    fn check_ours(&self, pack: &Pack) -> Result<()> {
        if Manifest::read(pack.folder())?.files == self.files {
            return Ok(());
        }
        self.is_other.store(true, Ordering::Relaxed);
        Err(PackError::damaged("its names were shared for another pack").into())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.names.close();
        if let Some(pack) = self.ready() {
            // Whoever is the last to use it does not wait for hundreds of megabytes to be deleted.
            let folder = pack.folder().to_path_buf();
            let thread = thread::Builder::new().name("dcfs-retire".into());
            if let Err(error) = thread.spawn(move || retire(&folder)) {
                tracing::debug!(%error, "names are not removed");
            }
        }
    }
}

/// Removes the names of the pack in `folder`, which no question needs any more, unless they are in use; packed
/// columns and finished files that were kept with them go to the pack. Errors are ignored: the next who opens the
/// pack tries again.
pub fn retire(folder: &Path) {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let home = folder.with_file_name(format!("{name}{ENDING}"));
    let Ok(file) = dcfs_disk::regular::open(&home.join(BLOCKS)) else { return };
    let ours = [folder, &home].map(|folder| Manifest::read(folder).ok());
    if file.try_lock().is_err() {
        return;
    }
    if ours[0].is_some() && ours[0] == ours[1] {
        for kept in home::HOMES.into_iter().chain([columns::FOLDER]) {
            bring(&home.join(kept), &folder.join(kept));
        }
    }
    match pack::folder::remove(&home) {
        Ok(()) => {
            tracing::debug!(folder = %home.display(), "removed names: the whole pack is here")
        }
        Err(error) => tracing::debug!(folder = %home.display(), %error, "names are not removed"),
    }
}

/// The folder of the pack whose names are in `home`.
fn pack_of(home: &Path) -> Option<PathBuf> {
    let name = home.file_name()?.to_str()?.strip_suffix(ENDING)?;
    Some(home.with_file_name(name))
}

/// Moves what is in one folder into another, unless it is there.
fn bring(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    if private::folder(to).is_err() {
        return;
    }
    for entry in entries.flatten() {
        let to = to.join(entry.file_name());
        if !to.exists() {
            let _ = fs::rename(entry.path(), to);
        }
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The version for which names are opened.
pub struct Asked<'a> {
    /// The name of its pack.
    pub pack: &'a str,
    pub rows: u64,
    pub columns: &'a [FileColumn],
    /// The folder of packs.
    pub packs: &'a Path,
    pub limits: Limits,
}

/// Opens the names that another host shared for a version; `None` if there are none, or if the whole
/// pack is here. `whole` obtains that.
///
/// A shared folder is a cache: if the names are damaged, the host does without them and the answer is the
/// whole pack. If the folder is away, that is an error, and the next caller asks it again, for as long as
/// [`Shared::waits`]; then the host does without.
///
/// # Errors
/// The folder is away; the cache directory cannot be written to; errors of obtaining the whole pack.
pub fn open_shared(asked: &Asked<'_>, shared: &Shared, whole: Box<Opener>) -> Result<Option<Pack>> {
    let name = shared::of_names(asked.pack);
    let folder = asked.packs.join(asked.pack);
    if !shared.splits(asked.rows) || folder.exists() || !shared.has(&name) {
        return Ok(None);
    }
    private::folder(asked.packs).map_err(PackError::from)?;
    let home = asked.packs.join(format!("{}{ENDING}", asked.pack));
    private::folder(&home).map_err(PackError::from)?;
    let whole: Arc<Opener> = whole.into();
    let answered = shared.answered();
    let opened = pieces(shared, &name, &home, asked.rows).and_then(|blocks| {
        let obtained = (whole.clone(), Some(shared.clone()));
        Ok(open_in(&home, asked.columns, asked.limits, blocks, obtained)?)
    });
    // What is in the cache directory says nothing of the folder.
    if !matches!(opened, Err(Lost::Away(_))) && shared.answered() > answered {
        shared.was_read(&folder);
    }
    match opened {
        Ok(pack) => Ok(Some(Pack { shared: Some(shared.clone()), ..pack })),
        Err(lost) => {
            if let Lost::Away(error) = &lost
                && let Some(told) = shared.waits(&folder, asked.rows, error)
            {
                return Err(told);
            }
            tracing::warn!(name, error = %lost, "shared names cannot be used; the whole pack is");
            let pack = whole()?;
            mend_later(shared, pack.folder());
            Ok(Some(pack))
        }
    }
}

/// Fetches the small files of the bundle `name` into `home`, and returns the pieces of the large one.
fn pieces(
    shared: &Shared,
    name: &str,
    home: &Path,
    rows: u64,
) -> Result<(u64, Box<dyn Source>), Lost> {
    let list = shared.list_in(name, home)?;
    list.keep(shared, manifest::FILE, home)?;
    list.keep(shared, TOP, home)?;
    let blocks = list.pieces(shared, BLOCKS)?;
    let ids = if list.has(IDS) { Some(list.pieces(shared, IDS)?) } else { None };
    let of =
        Of { shared: shared.clone(), pack: pack_of(home), rows, is_well: AtomicBool::default() };
    Ok((blocks.length(), Box::new(There { blocks, ids, of })))
}

/// Opens the names in the folder `home`, with blocks of a source of so many bytes. The last argument
/// obtains the whole pack, and says where the names are shared.
fn open_in(
    home: &Path,
    columns: &[FileColumn],
    limits: Limits,
    (length, source): (u64, Box<dyn Source>),
    (open, shared): (Arc<Opener>, Option<Shared>),
) -> Result<Pack> {
    let manifest = Manifest::read(home)?;
    let top = write::read_top(home, length)?;
    let fits = top.columns.iter().map(|top| top.entries);
    if !fits.eq(manifest.columns.iter().map(|part| part.entries)) {
        return Err(PackError::damaged("its names are of other columns").into());
    }
    let whole = Arc::new(Whole {
        pack: OnceLock::new(),
        open,
        state: Mutex::default(),
        changed: Condvar::new(),
        files: manifest.files.clone(),
        is_other: AtomicBool::new(false),
        shared,
    });
    let names = Names::new(Shelf::new(top, source, home));
    let wanted = manifest.files.get(ids::FILE).map(|sum| (*sum, manifest.rows));
    let numbers = Numbers { wanted, here: OnceLock::new(), turn: Mutex::default() };
    let remote = Remote { names, whole, numbers };
    Ok(open::named(home, &manifest, columns, limits, remote)?)
}

/// Opens names written by [`super::write::split`] into a folder of this machine.
///
/// # Errors
/// They cannot be read, or are of other columns.
pub fn open_here(
    home: &Path,
    columns: &[FileColumn],
    limits: Limits,
    whole: Box<Opener>,
) -> Result<Pack> {
    let path = home.join(BLOCKS);
    let file = dcfs_disk::regular::open(&path).map_err(PackError::read(&path))?;
    let length = file.metadata().map_err(PackError::read(&path))?.len();
    open_in(
        home,
        columns,
        limits,
        (length, Box::new(Here(file, home.join(IDS)))),
        (whole.into(), None),
    )
}

/// Files on this machine: blocks, and the place of the ids.
struct Here(File, PathBuf);

/// Shared files.
struct There {
    blocks: Pieces,
    ids: Option<Pieces>,
    of: Of,
}

/// The version that shared files are of.
struct Of {
    shared: Shared,
    /// The folder of its pack.
    pack: Option<PathBuf>,
    rows: u64,
    /// Whether the last question was answered.
    is_well: AtomicBool,
}

impl Of {
    /// A question was answered: if that is news, an outage ends.
    fn was_read(&self) {
        if let Some(pack) = &self.pack
            && !self.is_well.swap(true, Ordering::Relaxed)
        {
            self.shared.was_read(pack);
        }
    }
}

impl Source for Here {
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.0.read_exact_at(&mut bytes, at);
        read.map_err(|error| Error::new(Kind::Stale, error))?;
        Ok(bytes)
    }

    fn ids(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), PackError>) -> Result<(), PackError> {
        each(&fs::read(&self.1).map_err(PackError::read(&self.1))?)
    }

    fn waits(&self, error: Error) -> Option<Error> {
        Some(error)
    }

    fn refuse(&self, why: &str) {
        tracing::warn!(why, "names cannot be used");
    }
}

impl Source for There {
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        self.blocks.range(at, length).inspect(|_| self.of.was_read())
    }

    fn ids(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), PackError>) -> Result<(), PackError> {
        let none = || PackError::damaged("no ids are shared with its names");
        self.ids.as_ref().ok_or_else(none)?.each(each)?;
        self.of.was_read();
        Ok(())
    }

    fn waits(&self, error: Error) -> Option<Error> {
        self.of.is_well.store(false, Ordering::Relaxed);
        match &self.of.pack {
            Some(pack) => self.of.shared.waits(pack, self.of.rows, &error),
            None => Some(error),
        }
    }

    fn refuse(&self, why: &str) {
        self.blocks.count_refused(why);
    }
}

/// Shares the names of the pack in `folder`, unless they are shared or the version is too small. Reads
/// what is shared, to see whether it is intact.
///
/// # Errors
/// Errors of the shared folder, the catalog and the disk; a damaged pack.
pub fn share(shared: &Shared, folder: &Path) -> Result<Written> {
    let manifest = Manifest::read(folder)?;
    if !shared.splits(manifest.rows.into()) {
        return Ok(Written::default());
    }
    let pack = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = shared::of_names(&pack);
    if shared.is_intact(&name)? {
        return Ok(Written::default());
    }
    let beside = folder.with_file_name(format!("{pack}{ENDING}"));
    let staging = Staging::create(&beside)?;
    let sums = write::split(folder, staging.path(), write::PER_BLOCK)?;
    shared.share(&name, staging.path(), &sums)
}

/// Shares the names of the pack in `folder` again, on a thread of its own, if this host may write and
/// they are damaged.
fn mend_later(shared: &Shared, folder: &Path) {
    if !shared.may_write() {
        return;
    }
    let (shared, folder) = (shared.clone(), folder.to_path_buf());
    let work = move || match share(&shared, &folder) {
        Ok(Written { objects: 0, .. }) => {}
        Ok(Written { objects, bytes }) => tracing::info!(objects, bytes, "mended shared names"),
        Err(error) => tracing::warn!(%error, "shared names could not be mended"),
    };
    let started = std::thread::Builder::new().name("dcfs-share".into()).spawn(work);
    if let Err(error) = started {
        tracing::warn!(%error, "shared names could not be mended");
    }
}
