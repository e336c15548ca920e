//! Real bytes for the do-nothing file system: files of a folder, in each way that FUSE can open one.
//!
//! A file is opened once and stays open, with its backing id: any file system that keeps less has more to do.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fuser::{
    BackingId, Errno, FileHandle, FopenFlags, InitFlags, KernelConfig, ReplyData, ReplyOpen,
};

/// Readahead from which FUSE benefits: see `docs/benchmarks.md`.
const READ_AHEAD_KB: &str = "1024";

thread_local! {
    /// Zeroed once, not for each read.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How files are opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The kernel drops its pages at each open.
    Plain,
    /// The kernel keeps its page cache.
    Keep,
    /// The kernel reads the file directly (passthrough).
    Passthrough,
    /// The kernel learns once that opens need no reply.
    NoOpen,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "plain" => Ok(Self::Plain),
            "keep" => Ok(Self::Keep),
            "passthrough" => Ok(Self::Passthrough),
            "noopen" => Ok(Self::NoOpen),
            _ => Err(format!("`{text}` is not plain, keep, passthrough or noopen")),
        }
    }
}

/// The files, by the index of their node.
pub struct Contents {
    mode: Mode,
    files: Vec<Content>,
}

/// One file, opened on first use.
struct Content {
    path: PathBuf,
    file: OnceLock<File>,
    backing: OnceLock<BackingId>,
}

impl Contents {
    /// `paths` are those of all nodes, in order, relative to `folder`.
    pub fn new(folder: &Path, mode: Mode, paths: impl Iterator<Item = PathBuf>) -> Self {
        let content = |path| Content {
            path: folder.join(path),
            file: OnceLock::new(),
            backing: OnceLock::new(),
        };
        Self { mode, files: paths.map(content).collect() }
    }

    pub fn init(&self, config: &mut KernelConfig) {
        if self.mode == Mode::Passthrough {
            config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).ok();
            config.set_max_stack_depth(1).ok();
        }
    }

    pub fn open(&self, index: usize, reply: ReplyOpen) {
        match self.mode {
            Mode::Plain => reply.opened(FileHandle(0), FopenFlags::empty()),
            Mode::Keep => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Mode::NoOpen => reply.error(Errno::ENOSYS),
            Mode::Passthrough => match self.files[index].backing(&reply) {
                Ok(id) => reply.opened_passthrough(FileHandle(0), FopenFlags::empty(), id),
                Err(error) => reply.error(error.into()),
            },
        }
    }

    pub fn read(&self, index: usize, offset: u64, size: u32, reply: ReplyData) {
        ROOM.with_borrow_mut(|room| {
            room.resize(room.len().max(size as usize), 0);
            let read = self.files[index]
                .file()
                .and_then(|f| f.read_at(&mut room[..size as usize], offset));
            match read {
                Ok(length) => reply.data(&room[..length]),
                Err(error) => reply.error(error.into()),
            }
        });
    }
}

impl Content {
    fn file(&self) -> io::Result<&File> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = File::open(&self.path)?;
        Ok(self.file.get_or_init(|| file))
    }

    /// Every open of a file must name the same id, so the one that comes second drops its own.
    fn backing(&self, reply: &ReplyOpen) -> io::Result<&BackingId> {
        if let Some(id) = self.backing.get() {
            return Ok(id);
        }
        let id = reply.open_backing(self.file()?)?;
        Ok(self.backing.get_or_init(|| id))
    }
}

/// Increases the readahead of an existing mount, if this process may; waits until it responds.
pub fn read_ahead(mountpoint: &str) -> io::Result<()> {
    let device = std::fs::metadata(mountpoint)?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KB)
}
