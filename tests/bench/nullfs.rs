//! A file system that does nothing but answer: the floor of FUSE itself, to compare with.
//!
//! It serves a tree given as lines of `path<TAB>size` from vectors in memory, with the same replies, the same
//! cache times, threads and options as dcfs: only the source of answers differs. Files are zeros, or with
//! FOLDER the files with the same paths below it, opened as MODE says: `plain`, `keep`, `passthrough` or
//! `noopen`.
//!
//!     bench_nullfs TREE MOUNTPOINT [FOLDER MODE]

mod contents;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use contents::Contents;

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
    Session,
};

const USAGE: &str = "bench_nullfs TREE MOUNTPOINT [FOLDER MODE]";

const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// A file or a directory; its inode number is its index plus 1.
enum Node {
    File(u64),
    Directory { names: HashMap<OsString, usize>, order: Vec<(OsString, usize)> },
}

/// The whole tree, and the folder of its files' bytes, if they are real.
struct Null {
    nodes: Vec<Node>,
    contents: Option<Contents>,
}

impl Null {
    fn read(tree: &str) -> std::io::Result<Self> {
        let mut null = Self { nodes: vec![directory()], contents: None };
        for line in BufReader::new(std::fs::File::open(tree)?).split(b'\n') {
            let line = line?;
            let tab = line.iter().rposition(|b| *b == b'\t').expect("path<TAB>size");
            let size = std::str::from_utf8(&line[tab + 1..]).ok().and_then(|n| n.parse().ok());
            null.add(&line[..tab], size.expect("a size"));
        }
        Ok(null)
    }

    fn add(&mut self, path: &[u8], size: u64) {
        let mut at = 0;
        let mut segments = path.split(|b| *b == b'/').peekable();
        while let Some(segment) = segments.next() {
            let name = OsString::from_vec(segment.to_vec());
            let new = if segments.peek().is_some() { directory() } else { Node::File(size) };
            at = self.child(at, name, new);
        }
    }

    fn child(&mut self, parent: usize, name: OsString, new: Node) -> usize {
        let next = self.nodes.len();
        let Node::Directory { names, order } = &mut self.nodes[parent] else {
            panic!("{name:?} is below a file")
        };
        if let Some(known) = names.get(&name) {
            return *known;
        }
        names.insert(name.clone(), next);
        order.push((name, next));
        self.nodes.push(new);
        next
    }

    /// The path of every node, in order.
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let mut paths = vec![PathBuf::new(); self.nodes.len()];
        // A directory is created before its contents.
        for (index, node) in self.nodes.iter().enumerate() {
            if let Node::Directory { order, .. } = node {
                for (name, child) in order {
                    paths[*child] = paths[index].join(name);
                }
            }
        }
        paths.into_iter()
    }

    fn attr(&self, index: usize) -> FileAttr {
        let (kind, perm, nlink, size) = match self.nodes[index] {
            Node::File(size) => (FileType::RegularFile, 0o444, 1, size),
            Node::Directory { .. } => (FileType::Directory, 0o555, 2, 0),
        };
        FileAttr {
            ino: INodeNo(index as u64 + 1),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 1 << 20,
            flags: 0,
        }
    }

    fn at(&self, ino: INodeNo) -> &Node {
        &self.nodes[ino.0 as usize - 1]
    }

    /// The names of a directory from a position on, `.` and `..` first.
    fn list(&self, ino: INodeNo, offset: u64) -> impl Iterator<Item = (&OsStr, usize)> {
        let offset = offset as usize;
        let order: &[_] = match self.at(ino) {
            Node::Directory { order, .. } => order,
            Node::File(_) => &[],
        };
        let dots = [".", ".."].map(|name| (OsStr::new(name), ino.0 as usize - 1));
        let rest = order.get(offset.saturating_sub(2)..).unwrap_or_default();
        let named = rest.iter().map(|(name, index)| (name.as_os_str(), *index));
        dots.into_iter().skip(offset).chain(named)
    }
}

fn directory() -> Node {
    Node::Directory { names: HashMap::new(), order: Vec::new() }
}

impl Filesystem for Null {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
        ] {
            config.add_capabilities(wish).ok();
        }
        config.set_max_background(64).ok();
        if let Some(contents) = &self.contents {
            contents.init(config);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.at(parent) {
            Node::Directory { names, .. } => match names.get(name) {
                Some(index) => reply.entry(&FOREVER, &self.attr(*index), Generation(0)),
                None => reply.error(Errno::ENOENT),
            },
            Node::File(_) => reply.error(Errno::ENOTDIR),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attr(ino.0 as usize - 1));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match &self.contents {
            Some(contents) => contents.open(ino.0 as usize - 1, reply),
            None => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Node::File(length) = *self.at(ino) else { return reply.error(Errno::EISDIR) };
        if let Some(contents) = &self.contents {
            return contents.read(ino.0 as usize - 1, offset, size, reply);
        }
        let size = length.saturating_sub(offset).min(u64::from(size));
        reply.data(&vec![0; size as usize]);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        reply.opened(FileHandle(0), flags);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (next, (name, index)) in (offset + 1..).zip(self.list(ino, offset)) {
            let attr = self.attr(index);
            if reply.add(attr.ino, next, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        for (next, (name, index)) in (offset + 1..).zip(self.list(ino, offset)) {
            let attr = self.attr(index);
            if reply.add(attr.ino, next, name, &FOREVER, &attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tree, mountpoint, real @ ..] = arguments.as_slice() else { panic!("{USAGE}") };
    let mut null = Null::read(tree)?;
    if let [folder, mode] = real {
        let mode = mode.parse().expect(USAGE);
        null.contents = Some(Contents::new(Path::new(folder), mode, null.paths()));
    }
    let session = Session::new(null, mountpoint, &config())?;
    if !real.is_empty() {
        let mountpoint = mountpoint.clone();
        std::thread::spawn(move || contents::read_ahead(&mountpoint).ok());
    }
    session.run()
}

fn config() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("nullfs".into()),
        MountOption::RO,
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    config.n_threads = Some(2);
    config.clone_fd = true;
    config
}
