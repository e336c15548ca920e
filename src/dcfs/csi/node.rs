//! Volumes on this node: mounts them where the kubelet asks, and unmounts them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, User, geteuid};
use sha2::{Digest, Sha256};

use super::grpc::{Code, Status};
use super::messages::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use super::volume::{CREDENTIALS, Source, Volume};
use crate::fuse::mounts::{self, Health};
use dcfs_core::error::Kind;
use dcfs_core::expr::SLASH;
use dcfs_core::hex::hex;
use dcfs_disk::private;

/// Limit of the output of `dcfs mount` that is passed on.
const LONGEST: usize = 2000;

/// Time limit of `dcfs mount`: the kubelet gives a call two minutes.
const PATIENCE: Duration = Duration::from_secs(110);

/// Interval between checks whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Settings that keep a volume with its own secret from files and machines with the plugin's credentials.
const WITHOUT_OURS: [(&str, &str); 10] = [
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AZURE_CONFIG_DIR", "/nonexistent"),
    ("CLOUDSDK_CONFIG", "/nonexistent"),
    ("NO_GCE_CHECK", "true"),
    ("HF_HOME", "/nonexistent"),
    ("PGPASSFILE", "/dev/null"),
    ("DATACHAIN_GLOBAL_CONFIG_DIR", "/nonexistent"),
    ("DATACHAIN_SYSTEM_CONFIG_DIR", "/nonexistent"),
];

/// The administrator's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name in Kubernetes.
    pub id: String,
    /// The folder that contains the catalogs of volumes.
    pub catalogs: PathBuf,
    /// The folder for the plugin's own mounts.
    pub folder: PathBuf,
    /// The program that mounts.
    pub program: PathBuf,
    /// Arguments after its `mount`, for every volume.
    pub options: Vec<OsString>,
}

/// The volumes of this node.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    /// Target paths with a call in progress.
    busy: Mutex<HashSet<PathBuf>>,
    /// Locked for reading while a child process is being waited for.
    waiting: RwLock<()>,
}

impl Node {
    /// # Errors
    /// The folder for mounts belongs to somebody else, or cannot be created.
    pub fn new(settings: Settings) -> Result<Self, private::Error> {
        private::folder(&settings.folder)?;
        Ok(Self { settings, busy: Mutex::default(), waiting: RwLock::default() })
    }

    /// The node's name.
    pub fn id(&self) -> &str {
        &self.settings.id
    }

    /// Mounts a volume at a path; does nothing if it is mounted already.
    ///
    /// # Errors
    /// The request is invalid, there is no such catalog or dataset, or mounting fails: then nothing is left.
    pub fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        let target = place(&request.volume_id, &request.target_path)?;
        match request.volume_capability {
            None => return Err(invalid("volume_capability is missing")),
            Some(capability) if capability.block.is_some() => {
                return Err(invalid("a catalog is not a block device"));
            }
            Some(_) => {}
        }
        let volume = Volume::parse(&request.volume_context, &request.secrets)?;
        let _only = self.begin(&target)?;
        if mounted(&target)? {
            if mounts::health(&target) == Health::Alive {
                return Ok(());
            }
            detach(&target)?;
        }
        let own = self.own(&request.volume_id, &target);
        self.remove(&own)?;
        let done = self.mount(&volume, &own).and_then(|()| bind(&volume, &own, &target));
        if done.is_err() {
            self.remove(&own).ok();
        }
        done
    }

    /// Unmounts a volume from a path; does nothing if it is not mounted.
    ///
    /// # Errors
    /// The system refuses.
    pub fn unpublish(&self, request: &NodeUnpublishVolumeRequest) -> Result<(), Status> {
        let target = place(&request.volume_id, &request.target_path)?;
        let _only = self.begin(&target)?;
        while mounted(&target)? {
            detach(&target)?;
        }
        match fs::remove_dir(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&target, &error));
            }
            _ => {}
        }
        self.remove(&self.own(&request.volume_id, &target))?;
        self.reap();
        Ok(())
    }

    /// The folder of a volume's own mount, whose name identifies the volume and its target.
    fn own(&self, id: &str, target: &Path) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update((id.len() as u64).to_le_bytes());
        hash.update(id);
        hash.update(target.as_os_str().as_bytes());
        self.settings.folder.join(hex(&hash.finalize()[..16]))
    }

    /// Allows one call at a time for each target path.
    fn begin(&self, target: &Path) -> Result<Busy<'_>, Status> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        match busy.insert(target.to_owned()) {
            true => Ok(Busy { node: self, target: target.to_owned() }),
            false => Err(Status::new(Code::Aborted, "another call for this path is in progress")),
        }
    }

    /// Starts the process that serves a volume on a folder of its own.
    fn mount(&self, volume: &Volume, own: &Path) -> Result<(), Status> {
        let catalog = match &volume.catalog {
            Source::Folder(way) => beneath(&self.settings.catalogs, way)?,
            Source::Servers(address) => PathBuf::from(address),
        };
        let internal = |error: private::Error| Status::new(Code::Internal, error.to_string());
        private::folder(own).map_err(internal)?;
        let cache = self.cache();
        private::cache(&cache, &[CACHES]).map_err(internal)?;
        let kept = cache.join(CACHES).join(kept_apart(&catalog, volume));
        let mut of_volume = OsString::from("--cache-dir=");
        of_volume.push(&kept);
        let mut command = Command::new(&self.settings.program);
        command.args(["mount", "--allow-other", "--no-local-files"]);
        // If a flag is given twice, the last wins: the administrator's.
        command.args(&volume.flags).args(&self.settings.options).arg(of_volume);
        command.arg("--catalog").arg(&catalog).arg(own);
        if !volume.secrets.is_empty() {
            let is_credential =
                |name: &str| CREDENTIALS.iter().any(|beginning| name.starts_with(beginning));
            let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
            own.filter(|name| is_credential(name)).for_each(|name| {
                command.env_remove(name);
            });
            command.envs(WITHOUT_OURS);
        }
        command.envs(volume.secrets.iter().map(|(name, value)| (name, value)));
        if let Source::Servers(_) = volume.catalog {
            // What is kept of a server, such as names and rows of Studio, is what its password may read.
            let state = kept.with_extension("state");
            private::folder(&state).map_err(internal)?;
            command.env("XDG_STATE_HOME", state);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let done = {
            let _waiting = self.waiting.read().unwrap_or_else(PoisonError::into_inner);
            ended(&mut command).map_err(|error| failed(&self.settings.program, &error))?
        };
        let Some((status, said)) = done else {
            let said = format!("mounting took more than {} seconds", PATIENCE.as_secs());
            return Err(Status::new(Code::Unavailable, said));
        };
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        let said: String = said.trim().chars().take(LONGEST).collect();
        let code = match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) if code == Kind::Missing.codes().1 => Code::NotFound,
            Some(code) if code == Kind::Invalid.codes().1 => Code::InvalidArgument,
            Some(code) if code == Kind::Denied.codes().1 => Code::PermissionDenied,
            Some(code) if code == Kind::Busy.codes().1 => Code::Unavailable,
            _ => Code::Internal,
        };
        Err(Status::new(code, said))
    }

    /// The cache named by the administrator's `--cache-dir`, else the default one.
    fn cache(&self) -> PathBuf {
        const FLAG: &str = "--cache-dir";
        let mut found = None;
        let mut words = self.settings.options.iter();
        while let Some(word) = words.next() {
            if word == FLAG {
                found = words.next().map(PathBuf::from);
            } else if let Some(rest) = word.as_bytes().strip_prefix(FLAG.as_bytes())
                && let Some(folder) = rest.strip_prefix(b"=")
            {
                found = Some(PathBuf::from(OsStr::from_bytes(folder)));
            }
        }
        found.unwrap_or_else(usual_cache)
    }

    /// Removes a volume's own mount, with its folder.
    fn remove(&self, own: &Path) -> Result<(), Status> {
        while mounted(own)? {
            detach(own)?;
        }
        match fs::remove_dir(own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(own, &error)),
            _ => Ok(()),
        }
    }

    /// The first process of a container becomes the parent of orphaned processes, such as a mount's, and has to
    /// reap them.
    fn reap(&self) {
        if std::process::id() != 1 {
            return;
        }
        // Reaping would take the exit status of a child from the thread that waits for it.
        let Ok(_nobody) = self.waiting.try_write() else { return };
        while let Ok(ended) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            if ended == WaitStatus::StillAlive {
                break;
            }
        }
    }
}

/// A target path with a call in progress, until dropped.
struct Busy<'n> {
    node: &'n Node,
    target: PathBuf,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut busy = self.node.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.target);
    }
}

/// The target path of a request.
fn place(id: &str, target: &str) -> Result<PathBuf, Status> {
    if id.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    let path = Path::new(target);
    let parts = (path.parent(), path.file_name());
    match parts {
        // In the form of the mount table: with links in parent folders resolved.
        (Some(folder), Some(name)) if path.is_absolute() && !target.contains('\0') => {
            Ok(fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()).join(name))
        }
        _ => Err(invalid("target_path is not an absolute path")),
    }
}

/// The folder in the plugin's cache that contains those of volumes.
const CACHES: &str = "csi";

/// The default cache of `dcfs mount`.
fn usual_cache() -> PathBuf {
    let named =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let known = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir);
    let home = || named("HOME").or_else(known).unwrap_or_else(|| PathBuf::from("/"));
    named("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("dcfs")
}

/// The name of the cache of a volume: volumes with the same catalog, secret and flags share it, and no others.
/// So a pod cannot find objects that another pod may read with its secret, and packs of a catalog are only
/// trusted by its own volumes.
fn kept_apart(catalog: &Path, volume: &Volume) -> String {
    let mut secrets: Vec<&(String, String)> = volume.secrets.iter().collect();
    secrets.sort();
    let secrets = secrets.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let flags = volume.flags.iter().map(|flag| flag.as_bytes());
    let mut hash = Sha256::new();
    hash.update((volume.secrets.len() as u64).to_le_bytes());
    for part in std::iter::once(catalog.as_os_str().as_bytes()).chain(secrets).chain(flags) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

/// The exit status of a program and its output; `None` if it took too long and was killed.
fn ended(command: &mut Command) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let (send, said) = mpsc::channel();
    if let Some(mut pipe) = child.stderr.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // On an error, the output up to it is used.
            let _ = pipe.read_to_end(&mut bytes);
            let _ = send.send(bytes);
        });
    }
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            // A process that it left behind may hold the other end of the pipe open.
            let said = said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            return Ok(Some((status, said)));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// The file of a catalog, resolved below `root` without leaving it, whatever links there are.
fn beneath(root: &Path, way: &Path) -> Result<PathBuf, Status> {
    let top = File::open(root).map_err(|error| failed(root, &error))?;
    let missing =
        || Status::new(Code::NotFound, format!("there is no catalog `{}`", way.display()));
    let here = if way.as_os_str().is_empty() { Path::new(".") } else { way };
    let find = |way: &Path| -> Result<Option<File>, Status> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&top, way, how) {
            Ok(found) => Ok(Some(File::from(found))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(Errno::EXDEV) => Err(invalid("`catalog` leads out of the folder of catalogs")),
            Err(errno) => Err(failed(&root.join(way), &errno.into())),
        }
    };
    // The catalog itself, or its usual places in a folder.
    for way in [here.to_owned(), here.join(".datachain/db"), here.join("db")] {
        let Some(found) = find(&way)? else { continue };
        let is_file = found.metadata().map_err(|error| failed(&root.join(&way), &error))?.is_file();
        if is_file {
            let real = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()));
            return real.map_err(|error| failed(root, &error));
        }
    }
    Err(missing())
}

/// Bind mounts the volume's part of its own mount at the target path.
fn bind(volume: &Volume, own: &Path, target: &Path) -> Result<(), Status> {
    let source = shown(volume, own)?;
    fs::create_dir_all(target).map_err(|error| failed(target, &error))?;
    let none = None::<&str>;
    let bound = mount(Some(&source), target, none, MsFlags::MS_BIND, none);
    bound.map_err(|errno| failed(target, &errno.into()))
}

/// The directory of a volume in its own mount.
fn shown(volume: &Volume, own: &Path) -> Result<PathBuf, Status> {
    let Some(dataset) = &volume.dataset else { return Ok(own.to_owned()) };
    // A name without a version means the latest at this moment.
    let named = own.join("datasets").join(dataset);
    let found = fs::canonicalize(&named).ok().filter(|found| found.starts_with(own));
    let missing = || Status::new(Code::NotFound, format!("the catalog has no dataset `{dataset}`"));
    let mut found = found.filter(|found| found.is_dir()).ok_or_else(missing)?;
    if let Some(filter) = &volume.filter {
        found.push(filter.replace('/', SLASH.encode_utf8(&mut [0; 4])));
        let wrong = |error: io::Error| {
            invalid(&format!(
                "`{filter}` is not a filter of `{dataset}` ({error}); `dcfs explain` says why"
            ))
        };
        if !fs::metadata(&found).map_err(wrong)?.is_dir() {
            return Err(invalid(&format!("`{filter}` is a file of `{dataset}`, and not a filter")));
        }
    }
    // Errors in its rows are reported now, not to the program in the pod.
    let rows = fs::read_dir(&found).and_then(|mut names| names.next().transpose());
    rows.map_err(|error| failed(&found, &error))?;
    Ok(found)
}

fn mounted(path: &Path) -> Result<bool, Status> {
    mounts::at(path).map(|mount| mount.is_some()).map_err(|error| failed(path, &error))
}

/// Unmounts; if it is in use, the name goes at once and the rest when the users leave.
fn detach(path: &Path) -> Result<(), Status> {
    let flags = MntFlags::UMOUNT_NOFOLLOW;
    let done = umount2(path, flags).or_else(|_| umount2(path, flags | MntFlags::MNT_DETACH));
    done.map_err(|errno| failed(path, &errno.into()))
}

fn invalid(text: &str) -> Status {
    Status::new(Code::InvalidArgument, text)
}

fn failed(path: &Path, error: &io::Error) -> Status {
    Status::new(Code::Internal, format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_a_file_beneath_the_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("it is there").join("catalogs");
        let outside = root.with_file_name("outside");
        fs::create_dir_all(root.join("a/.datachain")).expect("a folder");
        fs::write(root.join("a/.datachain/db"), "").expect("a file");
        fs::create_dir_all(root.join("out")).expect("a folder");
        fs::create_dir_all(&outside).expect("a folder");
        fs::write(outside.join("db"), "").expect("a file");
        std::os::unix::fs::symlink(&outside, root.join("out/.datachain")).expect("a link");
        let found = |way: &str| beneath(&root, Path::new(way)).map_err(|status| status.code);
        assert_eq!(found("a"), Ok(root.join("a/.datachain/db")));
        assert_eq!(found("a/.datachain"), Ok(root.join("a/.datachain/db")));
        assert_eq!(found("a/.datachain/db"), Ok(root.join("a/.datachain/db")));
        assert_eq!(found("out"), Err(Code::InvalidArgument));
        assert_eq!(found("none"), Err(Code::NotFound));
    }

    #[test]
    fn volumes_share_a_cache_only_where_all_is_alike() {
        let volume = |flags: &[&str], secrets: &[(&str, &str)]| Volume {
            flags: flags.iter().map(OsString::from).collect(),
            secrets: secrets.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ..Volume::default()
        };
        let name = |catalog: &str, volume: Volume| kept_apart(Path::new(catalog), &volume);
        let one = name("/c/db", volume(&[], &[("a", "1"), ("b", "2")]));
        assert_eq!(one, name("/c/db", volume(&[], &[("b", "2"), ("a", "1")])));
        for other in [
            name("/d/db", volume(&[], &[("a", "1"), ("b", "2")])),
            name("/c/db", volume(&["--anon"], &[("a", "1"), ("b", "2")])),
            name("/c/db", volume(&[], &[("a", "1"), ("b", "3")])),
            name("/c/db", volume(&["a", "1"], &[("b", "2")])),
        ] {
            assert_ne!(one, other);
        }
    }
}
