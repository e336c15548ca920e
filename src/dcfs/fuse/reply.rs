//! Replies to the kernel: attributes, entries, listings.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use fuser::{
    BackingId, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr,
};

use super::modes::Modes;
use dcfs_core::error::Result;
use dcfs_vfs::attributes::{self, Attribute};
use dcfs_vfs::listing::Listing;
use dcfs_vfs::{Attr, Entry, FileKind, Opened, Totals, Vfs};

/// The value of `st_blksize`: programs that respect it read a megabyte at a time.
const BLOCK_SIZE: u32 = 1 << 20;

/// The unit that `statfs` counts in.
const FRAGMENT: u64 = 4096;

/// The owner of files, and their permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub file_mode: u16,
    pub dir_mode: u16,
}

/// Converts attributes for fuser.
///
/// A directory has one link: some programs (`find`, `fts`) derive the number of subdirectories from it, and 1
/// means that it is unknown.
pub fn attributes(attr: &Attr, look: Look) -> FileAttr {
    let (kind, perm) = match attr.kind {
        FileKind::Directory => (FileType::Directory, look.dir_mode),
        FileKind::File => (FileType::RegularFile, look.file_mode),
        FileKind::Link => (FileType::Symlink, 0o777),
    };
    FileAttr {
        ino: INodeNo(attr.inode.number()),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind,
        perm,
        nlink: 1,
        uid: look.uid,
        gid: look.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Inode 0 makes the kernel remember that a name does not exist.
fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// Replies to LOOKUP, and counts the entry as held by the kernel.
pub fn entry(reply: ReplyEntry, vfs: &Vfs, look: Look, found: std::result::Result<Entry, Errno>) {
    match found {
        // The entry was evicted between the lookup and here: Linux looks it up again.
        Ok(Entry::Found(attr)) if !vfs.hold(attr.inode) => reply.error(Errno::ESTALE),
        Ok(Entry::Found(attr)) => {
            let generation = Generation(vfs.generation(attr.inode));
            reply.entry(&attr.ttl, &attributes(&attr, look), generation);
        }
        Ok(Entry::Absent(ttl)) => reply.entry(&ttl, &absent(), Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

/// Lets the kernel read the file directly if possible, else keep its page cache.
pub fn open(reply: ReplyOpen, modes: &Modes<BackingId>, ino: INodeNo, opened: &Opened) {
    let handle = FileHandle(opened.handle.0);
    let register = |file: &File| reply.open_backing(file);
    match modes.open(ino.0, opened.whole.as_ref(), register) {
        Some(backing) => reply.opened_passthrough(handle, FopenFlags::empty(), &backing),
        None if opened.is_live => reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO),
        None if opened.keep => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
        None => reply.opened(handle, FopenFlags::empty()),
    }
}

/// Fills one READDIR reply.
pub fn fill(listing: &Listing, offset: u64, reply: &mut ReplyDirectory) -> Result<()> {
    listing.each(offset, &mut |item| {
        let kind = match item.attr.kind {
            FileKind::Directory => FileType::Directory,
            FileKind::File => FileType::RegularFile,
            FileKind::Link => FileType::Symlink,
        };
        let ino = INodeNo(item.attr.inode.number());
        stop_if(reply.add(ino, item.next, kind, OsStr::from_bytes(item.name)))
    })
}

/// Fills one READDIRPLUS reply: names with their attributes, so that `ls -l` costs no more than `ls`.
pub fn fill_plus(
    (vfs, listing): (&Vfs, &Listing),
    offset: u64,
    look: Look,
    reply: &mut ReplyDirectoryPlus,
) -> Result<()> {
    listing.each(offset, &mut |item| {
        let attr = attributes(&item.attr, look);
        // The kernel knows `.` and `..`; it ignores their attributes here.
        let ttl = if item.dots { Duration::ZERO } else { item.attr.ttl };
        let name = OsStr::from_bytes(item.name);
        let generation = Generation(vfs.generation(item.attr.inode));
        // The kernel counts every name returned here as a lookup, except `.` and `..`.
        if !item.dots && !vfs.hold(item.attr.inode) {
            return ControlFlow::Continue(());
        }
        let is_full = reply.add(attr.ino, item.next, name, &ttl, &attr, generation);
        if is_full && !item.dots {
            vfs.forget(attr.ino.0, 1);
        }
        stop_if(is_full)
    })
}

fn stop_if(full: bool) -> ControlFlow<()> {
    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Replies to STATFS: rows are files, and nothing is free.
pub fn statfs(reply: ReplyStatfs, totals: std::result::Result<Totals, Errno>) {
    match totals {
        Ok(Totals { rows, bytes }) => {
            let blocks = bytes.div_ceil(FRAGMENT);
            reply.statfs(blocks, 0, 0, rows, 0, BLOCK_SIZE, 255, FRAGMENT as u32);
        }
        Err(errno) => reply.error(errno),
    }
}

/// Replies to GETXATTR.
pub fn attribute(reply: ReplyXattr, room: u32, found: std::result::Result<Attribute, Errno>) {
    match found {
        Ok(Attribute::Value(value)) => sized(reply, room, &value),
        Ok(Attribute::Absent) => reply.error(Errno::ENODATA),
        Ok(Attribute::TooLong) => reply.error(Errno::E2BIG),
        Err(errno) => reply.error(errno),
    }
}

/// Replies with a value if the caller has `room` bytes, or with its length if `room` is 0.
pub fn sized(reply: ReplyXattr, room: u32, value: &[u8]) {
    debug_assert!(value.len() <= attributes::LONGEST, "longer than Linux takes");
    match value.len() as u32 {
        size if room == 0 => reply.size(size),
        size if size > room => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

/// Only ENOSYS makes the kernel stop asking: `ls -l` asks for two attributes of every entry.
pub fn decline(op: &str, reply: ReplyXattr) {
    tracing::debug!("{op} is not supported; mount with `-o xattr` for attributes");
    reply.error(Errno::ENOSYS);
}
