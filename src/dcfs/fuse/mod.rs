//! The FUSE interface: every handler opens a span, delegates to [`dcfs_vfs`], and replies.
//!
//! Rules: an answer from memory is given on the FUSE thread; anything else moves with its reply into a task, so
//! that no bucket, build or page ever delays another request. Opens and reads begin on the FUSE thread; one that is alone may also
//! end there, after a few milliseconds at most, while the other FUSE thread takes what comes. An error is logged here and nowhere
//! else, once: operation, path, name, process, cause. A missing name is not logged.
//!
//! | file | contents |
//! |---|---|
//! | [`begun`] | work started on the FUSE thread, and ended there if it is alone and short, else in a task |
//! | [`killed`] | whether the caller is being killed |
//! | [`modes`] | open files that the kernel reads directly |
//! | [`mountpoint`] | checks before mounting: each refusal with its remedy |
//! | [`mounts`] | current mounts, from `/proc/self/mountinfo` |
//! | [`opens`] | limits of open files and directories per user |
//! | [`reply`] | replies to the kernel: attributes, entries, listings |
//! | [`session`] | mounting, serving until unmounted, signals |
//! | [`told`] | rate limits of the log |

mod begun;
mod killed;
mod modes;
pub mod mountpoint;
pub mod mounts;
mod opens;
mod reply;
pub mod session;
mod told;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{
    BackingId, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use nix::sys::resource::{Resource, getrlimit};
use tokio::runtime::Handle;

use self::begun::Begin;
use self::modes::Modes;
use self::opens::Opens;
pub use self::reply::Look;
use self::told::{Call, Told};
use dcfs_core::error::Result;
use dcfs_store::Caller;
use dcfs_vfs::handles::HandleId;
use dcfs_vfs::listing::Listing;
use dcfs_vfs::{Answer, Error, Opened, Vfs, as_user};

/// Limit of background requests of the kernel, such as readahead; its own default is 12 (mountpoint-s3 uses
/// 64).
const BACKGROUND: u16 = 64;

/// Files that the kernel reads directly may be on a file system that is not stacked on others; this one can be
/// the lower layer of an overlay.
const STACK_DEPTH: u32 = 1;

/// Descriptors that any process may have.
const FEW_DESCRIPTORS: u64 = 1024;

/// A mount's file system as called by fuser.
#[derive(Debug)]
pub struct Door {
    vfs: Arc<Vfs>,
    runtime: Handle,
    begin: Begin,
    look: Look,
    /// Whether it supports extended attributes.
    xattr: bool,
    /// Whether programs of other users have access, whose own rights then count.
    is_shared: bool,
    told: Arc<Told>,
    /// The reading mode of each open file.
    modes: Arc<Modes<BackingId>>,
    files: Arc<Opens>,
    directories: Arc<Opens>,
}

impl Door {
    /// Serves `vfs`, with owner and mode of files from `look`. Without `xattr` the kernel learns once that
    /// there are no extended attributes, and does not ask again.
    pub fn new(vfs: Arc<Vfs>, runtime: Handle, look: Look, xattr: bool, is_shared: bool) -> Self {
        if is_shared {
            vfs.share();
        }
        let (told, modes) = (Arc::default(), Arc::default());
        let descriptors =
            getrlimit(Resource::RLIMIT_NOFILE).map_or(FEW_DESCRIPTORS, |(soft, _)| soft);
        let files = Arc::new(Opens::of_files(descriptors, is_shared));
        let directories = Arc::new(Opens::of_directories());
        let begin = Begin::new(runtime.clone());
        Self { vfs, runtime, begin, look, xattr, is_shared, told, modes, files, directories }
    }

    /// The reading modes of open files.
    fn modes(&self) -> Arc<Modes<BackingId>> {
        self.modes.clone()
    }

    fn call(&self, op: &'static str, req: &Request, ino: INodeNo, name: Option<&OsStr>) -> Call {
        let name = name.map(Box::from);
        let (vfs, told) = (self.vfs.clone(), self.told.clone());
        Call { vfs, op, ino: ino.0, name, pid: req.pid(), uid: req.uid(), told }
    }

    /// Replies now, or in a task that takes the reply along.
    fn answer<T: Send + 'static>(
        &self,
        call: Call,
        answer: Answer<T>,
        reply: impl FnOnce(std::result::Result<T, Errno>) + Send + 'static,
    ) {
        if let Some(work) = replied(call, answer, reply) {
            self.runtime.spawn(work);
        }
    }

    /// As [`Door::answer`], but the work starts on this thread, and ends here if it is alone and short: for opens and reads, which
    /// usually begin with a request to a server or to the cache. Here, too, [`reply_to`] ends the work of a caller that is killed.
    fn begin<T: Send + 'static>(
        &self,
        call: Call,
        answer: Answer<T>,
        reply: impl FnOnce(std::result::Result<T, Errno>) + Send + 'static,
    ) {
        let going = self.begin.enter();
        let is_alone = going.is_alone();
        let reply = move |result| {
            drop(going);
            reply(result);
        };
        if let Some(work) = replied(call, answer, reply) {
            self.begin.work(is_alone, work);
        }
    }

    /// Lists an open directory: now, or in the caller's turn if not all of its names are known.
    fn list(
        &self,
        call: Call,
        handle: FileHandle,
        fill: impl FnOnce(&Call, Result<Arc<Listing>>) + Send + 'static,
    ) {
        let listing = self.vfs.listing(HandleId(handle.0));
        if listing.as_ref().is_ok_and(|listing| listing.may_wait()) {
            let (user, vfs) = (call.uid, self.vfs.clone());
            let work = async move {
                let killed = killed::until(call.pid);
                vfs.replying(move |turn| fill(&call, turn.and(listing)), killed).await;
            };
            self.runtime.spawn(as_user(user, work));
        } else {
            fill(&call, listing);
        }
    }
}

/// Replies to an answer that is there; else the work that is left, which replies at its end.
fn replied<T: Send + 'static>(
    call: Call,
    answer: Answer<T>,
    reply: impl FnOnce(std::result::Result<T, Errno>) + Send + 'static,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    match answer {
        Answer::Now(result) => {
            reply(call.report(result));
            None
        }
        Answer::Later(work) => Some(as_user(call.uid, reply_to(call, work, reply))),
    }
}

/// Waits for `work` and replies. If the caller is killed meanwhile, the work is dropped, and ends unless somebody else waits for it.
async fn reply_to<T>(
    call: Call,
    work: impl Future<Output = Result<T>>,
    reply: impl FnOnce(std::result::Result<T, Errno>),
) {
    let answer = tokio::select! {
        biased;
        answer = work => answer,
        () = killed::until(call.pid) => Err(Error::Left.into()),
    };
    reply(call.report(answer));
}

impl Filesystem for Door {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Requested one by one: an older kernel that lacks one still supports the others.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PASSTHROUGH,
            // For NFS: handles are looked up by inode number, like `.` and `..`.
            InitFlags::FUSE_EXPORT_SUPPORT,
        ] {
            if let Err(lacking) = config.add_capabilities(wish) {
                tracing::debug!("this kernel has no {lacking:?}");
            }
        }
        config.set_max_background(BACKGROUND).ok();
        config.set_max_stack_depth(STACK_DEPTH).ok();
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (call, look) = (self.call("lookup", req, parent, Some(name)), self.look);
        let vfs = self.vfs.clone();
        let by_number = self.vfs.by_number(parent.0, name.as_bytes());
        let answer = by_number.unwrap_or_else(|| self.vfs.lookup(parent.0, name.as_bytes()));
        self.answer(call, answer, move |found| reply::entry(reply, &vfs, look, found));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.vfs.forget(ino.0, nlookup);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let (call, look) = (self.call("getattr", req, ino, None), self.look);
        self.answer(call, self.vfs.getattr(ino.0), move |found| match found {
            Ok(attr) => reply.attr(&attr.ttl, &reply::attributes(&attr, look)),
            Err(errno) => reply.error(errno),
        });
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let call = self.call("readlink", req, ino, None);
        self.answer(call, self.vfs.readlink(ino.0), |target| match target {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        });
    }

    fn open(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Prefetching is spawned in tasks, even if the answer is known.
        let _within = self.runtime.enter();
        let reserved = match self.files.reserve(req.uid()) {
            Ok(reserved) => reserved,
            Err(errno) => return reply.error(errno),
        };
        let (call, modes) = (self.call("open", req, ino, None), self.modes.clone());
        let caller =
            self.is_shared.then(|| Caller { uid: req.uid(), gid: req.gid(), pid: req.pid() });
        self.begin(call, self.vfs.open(ino.0, caller), move |opened| match opened {
            Ok(opened) => {
                reserved.keep(opened.handle);
                reply::open(reply, &modes, ino, &opened);
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _within = self.runtime.enter();
        let call = self.call("read", req, ino, None);
        self.begin(call, self.vfs.read(HandleId(fh.0), offset, size), |bytes| match bytes {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        });
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.vfs.release(HandleId(fh.0));
        self.files.released(HandleId(fh.0));
        self.modes.release(ino.0);
        reply.ok();
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let reserved = match self.directories.reserve(req.uid()) {
            Ok(reserved) => reserved,
            Err(errno) => return reply.error(errno),
        };
        let call = self.call("opendir", req, ino, None);
        self.answer(call, self.vfs.opendir(ino.0), move |opened| match opened {
            Ok(Opened { handle, keep, .. }) => {
                let cached = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
                let flags = if keep { cached } else { FopenFlags::empty() };
                reserved.keep(handle);
                reply.opened(FileHandle(handle.0), flags);
            }
            Err(errno) => reply.error(errno),
        });
    }

    fn readdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let call = self.call("readdir", req, ino, None);
        self.list(call, fh, move |call, listing| {
            match call.report(listing.and_then(|l| reply::fill(&l, offset, &mut reply))) {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (call, look) = (self.call("readdirplus", req, ino, None), self.look);
        let vfs = self.vfs.clone();
        self.list(call, fh, move |call, listing| {
            let filled =
                listing.and_then(|l| reply::fill_plus((&vfs, &l), offset, look, &mut reply));
            match call.report(filled) {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.release(HandleId(fh.0));
        self.directories.released(HandleId(fh.0));
        reply.ok();
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let call = self.call("statfs", req, ino, None);
        self.answer(call, self.vfs.totals(), |totals| reply::statfs(reply, totals));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.xattr {
            return reply::decline("getxattr", reply);
        }
        let call = self.call("getxattr", req, ino, None);
        let answer = self.vfs.attribute(ino.0, name.as_bytes());
        self.answer(call, answer, move |found| reply::attribute(reply, size, found));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.xattr {
            return reply::decline("listxattr", reply);
        }
        let call = self.call("listxattr", req, ino, None);
        self.answer(call, self.vfs.attributes(ino.0), move |names| match names {
            Ok(names) => reply::sized(reply, size, &names),
            Err(errno) => reply.error(errno),
        });
    }

    // The following operations are answered so that the kernel stops asking, or falls back to its default.

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}
