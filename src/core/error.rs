//! The error type that crosses modules and crates: a kind that says what the caller can do next,
//! and the cause for people.
//!
//! Each module has a small `thiserror` enum of its own and owns the conversion into [`Error`]; this
//! file imports none of them. Context enters once, on the floor that knows the name the user typed.
//! A source is in the chain or in the message, never both.

use std::error::Error as StdError;
use std::fmt;

/// The result type of every fallible function above the basic types.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do next; the message says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No such name: list the parent. (Not worth a warning: shells probe.)
    Missing,
    /// The request is wrong as written: fix it.
    Invalid,
    /// The bytes or the version are no longer those recorded: index again.
    Stale,
    /// Another process holds the catalog, or the store asks to slow down: try again.
    Busy,
    /// Credentials or permissions do not allow it.
    Denied,
    /// A table or a list reached its limit: unmount and mount again, or remove something from it.
    Full,
    /// A disk, a quota or the cache has no room: make some and try again.
    NoSpace,
    /// A bug, a broken catalog or a failing network.
    Broken,
    /// A program failed, and finished work is kept: fix it and resume.
    Stopped,
    /// Done, except for some rows.
    Incomplete,
    /// A person stopped it, and finished work is kept.
    Interrupted,
}

impl Kind {
    /// `(errno for the kernel, exit code for the shell)`.
    pub const fn codes(self) -> (i32, u8) {
        match self {
            Self::Missing => (libc::ENOENT, 1),
            Self::Invalid => (libc::EINVAL, 2),
            Self::Stale => (libc::ESTALE, 3),
            Self::Busy => (libc::EIO, 4),
            Self::Denied => (libc::EACCES, 5),
            Self::Broken => (libc::EIO, 6),
            Self::Full => (libc::ENFILE, 7),
            Self::NoSpace => (libc::ENOSPC, 7),
            Self::Incomplete => (libc::EIO, 3),
            Self::Stopped => (libc::EIO, 5),
            // The status a shell gives a program killed by SIGINT.
            Self::Interrupted => (libc::EINTR, 130),
        }
    }
}

/// A [`Kind`] for programs and a cause for people.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    cause: Box<dyn StdError + Send + Sync>,
}

impl Error {
    /// Wraps a module's own error.
    pub fn new(kind: Kind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// What the caller can do next.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

/// The whole chain in one line: `cause: its source: ...`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut source = self.cause.source();
        while let Some(next) = source {
            write!(f, ": {next}")?;
            source = next.source();
        }
        Ok(())
    }
}

/// The chain is in `Display`, so there is no `source`.
impl StdError for Error {}
