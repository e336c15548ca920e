//! A real mount by the real binary, unmounted when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Why this machine cannot mount; `None` if it can.
pub fn why_not() -> Option<String> {
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    device.err().map(|error| format!("/dev/fuse: {error}"))
}

/// A mounted catalog with a cache and a state folder of its own.
pub struct Mounted {
    home: PathBuf,
    /// The mount's `datasets/`.
    pub datasets: PathBuf,
}

impl Mounted {
    /// Mounts the catalog of the folder `catalog` below the folder `home`.
    pub fn new(catalog: &Path, home: &Path) -> Self {
        let mountpoint = home.join("mnt");
        std::fs::create_dir_all(&mountpoint).expect("a place to mount");
        let mounted = Self { home: home.to_path_buf(), datasets: mountpoint.join("datasets") };
        let output = mounted.dcfs(&["mount".as_ref(), "--catalog".as_ref(), catalog, &mountpoint]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        mounted
    }

    fn dcfs(&self, args: &[&Path]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dcfs"))
            .args(args)
            .env("XDG_STATE_HOME", self.home.join("state"))
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .output()
            .expect("the binary runs")
    }

    /// The lines of the log that are warnings or errors.
    pub fn worries(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.home.join("state/dcfs")).expect("a state folder");
        let files = folder.map(|entry| entry.expect("readable").path());
        let logs = files.filter(|path| path.extension().is_some_and(|e| e == "log"));
        let text: String = logs.map(|log| std::fs::read_to_string(log).expect("a log")).collect();
        let bad = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
        text.lines().filter(bad).map(str::to_owned).collect()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mountpoint = self.home.join("mnt");
        self.dcfs(&["unmount".as_ref(), "--force".as_ref(), &mountpoint]);
    }
}
