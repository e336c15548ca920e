//! Surviving the truncation of a mapped file, whose `SIGBUS` would end the process.
//!
//! Reading a page of a mapping beyond the end of its file raises `SIGBUS`. A handler knows the
//! ranges that are [`watch`]ed: it maps pages of zeros in place of the missing ones and counts the
//! event. Readers of mappings compare [`cuts`] before and after: a result computed while it changed
//! is invalid. Any other `SIGBUS` goes to the previous handler.

use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The most ranges watched at a time; Linux allows a process some 65,530 mappings. Further ranges
/// are not watched.
const SLOTS: usize = 1 << 16;

/// The start and the end (exclusive) of a range; `(0, 0)` if the slot is free.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
}

static RANGES: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } }; SLOTS];

/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);

static CUTS: AtomicU64 = AtomicU64::new(0);

/// The previous handler of `SIGBUS`.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// The number of times a watched range lost pages, in this process.
pub fn cuts() -> u64 {
    CUTS.load(Ordering::Acquire)
}

/// Watches a range until dropped, which must happen before the range is unmapped.
#[derive(Debug)]
pub struct Watch(Option<usize>);

/// Watches the memory of `map`, a mapping of a whole file.
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
    // SAFETY: both structures are valid for the call, and the handler does only what is allowed in
    // a signal handler: it reads atomics and calls the kernel.
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

/// Maps zeros from the page of `address` up to `end`.
fn fill(address: usize, end: usize) {
    // SAFETY: only returns a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = address / page * page;
    // SAFETY: the pages are in a watched mapping, which is therefore alive; only the owner of the
    // mapping reads them, and expects any bytes.
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

/// Restores the previous handler: the instruction runs again, and raises the signal again.
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
