//! Surviving a mapped file that somebody cuts short: `SIGBUS` would end the process.
//!
//! Reading a page of a map that the file no longer has raises `SIGBUS`. Ranges that are [`watch`]ed are known to a
//! handler, which puts pages of zeros in the place of the missing ones and counts the event. Who reads maps compares
//! [`cuts`] before and after: an answer given across a change is not to be believed. A `SIGBUS` anywhere else goes to
//! whoever handled it before.

use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Ranges that can be watched at a time; Linux gives a process some 65,530 maps. Further ones are not watched.
const SLOTS: usize = 1 << 16;

/// The first and the last address of a range, the last one excluded; `(0, 0)` where a slot is free.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
}

static RANGES: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; SLOTS];

/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);

static CUTS: AtomicU64 = AtomicU64::new(0);

/// Whoever handled `SIGBUS` before.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// How often a watched range lost pages, in this process.
pub fn cuts() -> u64 {
    CUTS.load(Ordering::Acquire)
}

/// A range that is watched until this is dropped, which must be before the range is unmapped.
#[derive(Debug)]
pub struct Watch(Option<usize>);

/// Watches the memory of `map`, a whole map of a file.
pub fn watch(map: &[u8]) -> Watch {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    if map.is_empty() {
        return Watch(None);
    }
    let start = map.as_ptr() as usize;
    let free = RANGES.iter().position(|slot| {
        let taken =
            slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken {
            slot.end.store(start + map.len(), Ordering::Release);
        }
        taken
    });
    if let Some(number) = free {
        USED.fetch_max(number + 1, Ordering::AcqRel);
    }
    Watch(free)
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.0.and_then(|number| RANGES.get(number)) {
            slot.end.store(0, Ordering::Release);
            slot.start.store(0, Ordering::Release);
        }
    }
}

fn install() {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    // SAFETY: both structures are valid for the call, and the handler does only what a signal handler may: it reads
    // atomics and asks the kernel for pages.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        if libc::sigaction(libc::SIGBUS, &raw const action, before.as_mut_ptr()) == 0 {
            BEFORE.store(Box::into_raw(Box::new(before.assume_init())), Ordering::Release);
        }
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `info` to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let used = USED.load(Ordering::Acquire).min(SLOTS);
    for slot in &RANGES[..used] {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        if start != 0 && (start..end).contains(&address) {
            return fill(address, end);
        }
    }
    give_back(signal);
}

/// Zeros from the page of `address` up to `end`.
fn fill(address: usize, end: usize) {
    // SAFETY: asks for a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = address / page * page;
    // SAFETY: the pages lie in a map that is watched, and so is alive; nothing but the map's owner reads them, who
    // expects any bytes.
    let filled = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            end - start,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    if filled == libc::MAP_FAILED {
        return give_back(libc::SIGBUS);
    }
    CUTS.fetch_add(1, Ordering::AcqRel);
}

/// The handler of before takes over: the instruction runs again, and raises the signal again.
fn give_back(signal: libc::c_int) {
    let before = BEFORE.load(Ordering::Acquire);
    // SAFETY: `before` is null or was leaked by `install`; with null, the default action ends the process, as it should.
    unsafe {
        if before.is_null() {
            libc::signal(signal, libc::SIG_DFL);
        } else {
            libc::sigaction(signal, before, std::ptr::null_mut());
        }
    }
}
