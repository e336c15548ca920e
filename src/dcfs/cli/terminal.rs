//! The width of a terminal. The only `unsafe` of the command line.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};

/// Assumed width of a terminal that does not report one.
const USUAL: usize = 80;

/// The width in columns of the terminal `stream`; `None` if it is not a terminal.
pub fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open while it is borrowed, and the kernel fills the struct that `size` points
    // to.
    let asked = unsafe {
        libc::ioctl(stream.as_fd().as_raw_fd(), libc::TIOCGWINSZ, std::ptr::from_mut(&mut size))
    };
    let known = asked == 0 && size.ws_col > 0;
    Some(if known { size.ws_col.into() } else { USUAL })
}
