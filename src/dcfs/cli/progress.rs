//! The progress of long work: one line on stderr, for every command.
//!
//! ```text
//! fetching:  41% [==========>               ] 320.0 MiB of 774.0 MiB, 52.0 MiB/s, 8 s left, 3,051 files
//! ```
//!
//! It is shown only if stderr is a terminal, after [`DELAY`] of work, at most every [`PACE`], and cleared at
//! the end. Parts that do not fit into the width of the terminal are left out, the last first.
//!
//! Work in several phases shows one line after the other, each with its label and its own total. The rate is
//! that of the last [`WINDOW`], and the remaining time is shown once it is meaningful: after [`SURE`], and only
//! while there is progress.
//!
//! Not the crate `indicatif`: it has no delay before the first line, draws from a thread of its own, and brings
//! four crates for the equivalent of the two functions `line` and `bar` here.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::output::sanitized;
use super::terminal;
use dcfs_core::render::numbers::{bytes, counted};

/// Shorter work shows nothing.
const DELAY: Duration = Duration::from_secs(1);

/// The shortest time between two lines.
const PACE: Duration = Duration::from_millis(100);

/// The window of the rate: long enough that one slow answer hardly matters, short enough to show that a store
/// slows down.
const WINDOW: Duration = Duration::from_secs(15);

/// Duration of a phase before the remaining time is shown.
const SURE: Duration = Duration::from_secs(3);

/// The narrowest and the widest bar, without brackets.
const BAR: (usize, usize) = (10, 40);

/// The unit of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Rows,
    Objects,
    Parts,
}

/// The progress of one command, shared by its tasks; counting costs an addition.
pub struct Progress {
    started: Instant,
    phase: Mutex<Phase>,
    done: AtomicU64,
    /// 0 if unknown.
    total: AtomicU64,
    files: AtomicU64,
    /// Bytes, if the unit is another one.
    bytes: AtomicU64,
    /// When the next line is due, in milliseconds since the start; never if nothing is shown.
    due: AtomicU64,
    /// Whether the terminal currently shows a line.
    drawn: Mutex<bool>,
}

/// A phase of the work, which is counted separately.
#[derive(Clone, Debug)]
struct Phase {
    label: &'static str,
    unit: Unit,
    /// When it began, relative to the start of the work.
    began: Duration,
    /// Recent measurements: time and count.
    samples: VecDeque<(Duration, u64)>,
}

impl Phase {
    fn new(label: &'static str, unit: Unit, began: Duration) -> Self {
        Self { label, unit, began, samples: VecDeque::from([(began, 0)]) }
    }

    /// Units per second, over the last [`WINDOW`].
    fn rate(&mut self, now: Duration, done: u64) -> f64 {
        self.samples.push_back((now, done));
        while self.samples.len() > 2 && self.samples[1].0 + WINDOW <= now {
            self.samples.pop_front();
        }
        let (then, before) = self.samples[0];
        done.saturating_sub(before) as f64 / now.saturating_sub(then).as_secs_f64().max(0.001)
    }
}

impl Progress {
    /// Starts counting.
    pub fn new(unit: Unit) -> Self {
        let shown = terminal::width(&io::stderr()).is_some();
        Self::due_at(unit, if shown { DELAY.as_millis() as u64 } else { u64::MAX })
    }

    /// Counts but shows nothing: used if results go to the same terminal.
    pub fn hidden(unit: Unit) -> Self {
        Self::due_at(unit, u64::MAX)
    }

    fn due_at(unit: Unit, due: u64) -> Self {
        Self {
            started: Instant::now(),
            phase: Mutex::new(Phase::new("", unit, Duration::ZERO)),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            due: AtomicU64::new(due),
            drawn: Mutex::new(false),
        }
    }

    /// Sets the label before the line.
    #[must_use]
    pub fn labelled(self, label: &'static str) -> Self {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).label = label;
        self
    }

    /// Starts another phase, with a count of its own. `total`: the amount of work, if known.
    pub fn begin(&self, label: &'static str, unit: Unit, total: Option<u64>) {
        self.clear();
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        *phase = Phase::new(label, unit, self.started.elapsed());
        for counter in [&self.done, &self.files, &self.bytes] {
            counter.store(0, Relaxed);
        }
        self.total.store(total.unwrap_or(0), Relaxed);
    }

    /// The count of the current phase.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Whether anything is shown: otherwise a total is not worth computing.
    pub fn is_shown(&self) -> bool {
        self.due.load(Relaxed) != u64::MAX
    }

    /// Sets the total.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    /// Increases the total.
    pub fn add_total(&self, more: u64) {
        self.total.fetch_add(more, Relaxed);
    }

    /// Adds to the count.
    pub fn add(&self, more: u64) {
        self.done.fetch_add(more, Relaxed);
        self.draw_if_due();
    }

    /// Sets the count.
    pub fn reach(&self, done: u64) {
        self.done.store(done, Relaxed);
        self.draw_if_due();
    }

    /// Adds one file.
    pub fn add_file(&self) {
        self.files.fetch_add(1, Relaxed);
        self.draw_if_due();
    }

    /// Adds bytes, if the unit is another one.
    pub fn add_bytes(&self, more: u64) {
        self.bytes.fetch_add(more, Relaxed);
    }

    /// Prints a permanent line on stderr.
    pub fn say(&self, text: &str) {
        let mut drawn = self.drawn.lock().unwrap_or_else(|e| e.into_inner());
        erase(&mut drawn);
        eprintln!("dcfs: {}", sanitized(text));
    }

    /// Removes the line; it reappears if the work continues.
    pub fn clear(&self) {
        erase(&mut self.drawn.lock().unwrap_or_else(|e| e.into_inner()));
    }

    fn draw_if_due(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.due.load(Relaxed);
        let next = now + PACE.as_millis() as u64;
        // Of several concurrent tasks, one draws; the others have work to do.
        if now >= due && self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            self.draw();
        }
    }

    fn draw(&self) {
        let Some(width) = terminal::width(&io::stderr()) else { return };
        let mut drawn = self.drawn.lock().unwrap_or_else(|e| e.into_inner());
        // One column less: some terminals wrap after the last.
        let line = self.state().line(width - 1);
        *drawn = write!(io::stderr(), "\r\x1b[K{line}").is_ok();
    }

    fn state(&self) -> State {
        let known = |n: u64| (n > 0).then_some(n);
        let (now, done) = (self.started.elapsed(), self.done.load(Relaxed));
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        State {
            label: phase.label,
            unit: phase.unit,
            done,
            rate: phase.rate(now, done),
            is_sure: now.saturating_sub(phase.began) >= SURE,
            total: known(self.total.load(Relaxed)),
            files: known(self.files.load(Relaxed)),
            bytes: known(self.bytes.load(Relaxed)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Erases the current line, if we have drawn it.
fn erase(drawn: &mut bool) {
    if std::mem::take(drawn) {
        write!(io::stderr(), "\r\x1b[K").ok();
    }
}

/// The contents of a line.
#[derive(Clone, Copy, Debug)]
struct State {
    label: &'static str,
    unit: Unit,
    done: u64,
    /// Per second.
    rate: f64,
    /// Whether the phase is long enough to estimate the remaining time.
    is_sure: bool,
    total: Option<u64>,
    files: Option<u64>,
    bytes: Option<u64>,
}

impl State {
    /// Formats the line in at most `width` columns.
    fn line(&self, width: usize) -> String {
        let mut parts = self.parts();
        let percent = self.total.map(|total| percent(self.done, total));
        let label = if self.label.is_empty() { String::new() } else { format!("{}: ", self.label) };
        let head = label + &percent.map_or_else(String::new, |percent| format!("{percent:>3}% "));
        while parts.len() > 1 && head.len() + parts.join(", ").len() > width {
            parts.pop();
        }
        let tail = parts.join(", ");
        let room = width.saturating_sub(head.len() + tail.len() + "[] ".len());
        let bar = percent.filter(|_| room >= BAR.0).map(|percent| bar(percent, room.min(BAR.1)));
        let mut line = head + &bar.unwrap_or_default() + &tail;
        line.truncate(width);
        line
    }

    /// The parts beside the bar, the most important first.
    fn parts(&self) -> Vec<String> {
        let done = match self.total {
            Some(total) => format!("{} of {}", self.amount(self.done), self.amount(total)),
            None => self.amount(self.done),
        };
        let left = self.total.filter(|_| self.is_sure && self.rate > 0.0).map(|total| {
            let seconds = total.saturating_sub(self.done) as f64 / self.rate;
            format!("{} left", duration(seconds as u64))
        });
        let files = self.files.map(|files| counted(files, "file"));
        let rate = format!("{}/s", self.amount(self.rate as u64));
        [Some(done), self.bytes.map(bytes), Some(rate), left, files].into_iter().flatten().collect()
    }

    fn amount(&self, n: u64) -> String {
        match self.unit {
            Unit::Bytes => bytes(n),
            Unit::Rows => counted(n, "row"),
            Unit::Objects => counted(n, "object"),
            Unit::Parts => counted(n, "part"),
        }
    }
}

/// Whole percents; 100 only when all is done.
fn percent(done: u64, total: u64) -> u64 {
    let exact = u128::from(done) * 100 / u128::from(total.max(1));
    exact.min(100) as u64
}

/// Formats `[=====>    ] `, with `room` columns between the brackets.
fn bar(percent: u64, room: usize) -> String {
    let full = room * percent as usize / 100;
    let arrow = if full < room { ">" } else { "" };
    let bar = "=".repeat(full) + arrow;
    format!("[{bar:<room$}] ")
}

/// Formats `8 s`, `2 min 5 s`, `3 h 20 min`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unit: Unit, done: u64, total: Option<u64>, files: Option<u64>) -> State {
        let rate = done as f64 / 10.0;
        State { label: "", unit, done, rate, is_sure: true, total, files, bytes: None }
    }

    #[test]
    fn a_line_says_what_it_has_room_for() {
        let copy = state(Unit::Bytes, 320 << 20, Some(774 << 20), Some(3051));
        let scan = state(Unit::Rows, 12_000, None, None);
        let list = State { bytes: Some(3 << 30), ..state(Unit::Objects, 12_000, None, None) };
        let cases = [
            (
                copy,
                110,
                " 41% [================>                       ] 320.0 MiB of 774.0 MiB, 32.0 MiB/s, 14 s left, 3,051 files",
            ),
            (
                copy,
                80,
                " 41% [=====>        ] 320.0 MiB of 774.0 MiB, 32.0 MiB/s, 14 s left, 3,051 files",
            ),
            (copy, 66, " 41% 320.0 MiB of 774.0 MiB, 32.0 MiB/s, 14 s left, 3,051 files"),
            (copy, 60, " 41% 320.0 MiB of 774.0 MiB, 32.0 MiB/s, 14 s left"),
            (copy, 27, " 41% 320.0 MiB of 774.0 MiB"),
            (copy, 9, " 41% 320."),
            (copy, 0, ""),
            (scan, 80, "12,000 rows, 1,200 rows/s"),
            (list, 80, "12,000 objects, 3.0 GiB, 1,200 objects/s"),
            (
                State { label: "listing", ..list },
                80,
                "listing: 12,000 objects, 3.0 GiB, 1,200 objects/s",
            ),
            (
                State { is_sure: false, label: "fetching", ..copy },
                60,
                "fetching:  41% 320.0 MiB of 774.0 MiB, 32.0 MiB/s",
            ),
            (State { rate: 0.0, ..copy }, 45, " 41% 320.0 MiB of 774.0 MiB, 0 B/s"),
        ];
        for (state, width, line) in cases {
            assert_eq!(state.line(width), line, "{width}");
        }
    }

    #[test]
    fn every_line_fits() {
        for done in [0, 1, 999, 774 << 20, u64::MAX] {
            for total in [None, Some(1), Some(774 << 20), Some(u64::MAX)] {
                for width in 0..140 {
                    let line = state(Unit::Bytes, done, total, Some(u64::MAX)).line(width);
                    assert!(line.len() <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn the_rate_is_that_of_late() {
        let mut phase = Phase::new("", Unit::Rows, Duration::from_secs(5));
        let seconds = Duration::from_secs;
        assert_eq!(phase.rate(seconds(15), 1000), 100.0, "since it began");
        for second in 16..40 {
            phase.rate(seconds(second), 1000 + second - 15);
        }
        // The quick start has left the window.
        let rate = phase.rate(seconds(40), 1025);
        assert!((0.9..1.1).contains(&rate), "{rate}");
        assert_eq!(phase.rate(seconds(80), 1025), 0.0, "nothing moves");
    }

    #[test]
    fn a_phase_counts_by_itself() {
        let progress = Progress::hidden(Unit::Objects).labelled("listing");
        progress.add(7);
        progress.begin("writing", Unit::Rows, Some(9));
        progress.add(2);
        let state = progress.state();
        assert_eq!((state.label, state.done, state.total), ("writing", 2, Some(9)));
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        let cases = [(0, 7, 0), (6, 7, 85), (7, 7, 100), (9, 7, 100), (u64::MAX - 1, u64::MAX, 99)];
        for (done, total, want) in cases {
            assert_eq!(percent(done, total), want, "{done} of {total}");
        }
        assert_eq!(bar(99, 10), "[=========>] ");
        assert_eq!(bar(100, 10), "[==========] ");
    }

    #[test]
    fn times_are_for_people() {
        let cases = [(0, "0 s"), (59, "59 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn nothing_is_due_where_nobody_looks() {
        let progress = Progress::hidden(Unit::Rows);
        progress.add(5);
        progress.add_file();
        assert!(!progress.is_shown());
        let state = progress.state();
        assert_eq!((state.done, state.total, state.files), (5, None, Some(1)));
    }
}
