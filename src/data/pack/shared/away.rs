//! Since when the folder has no answer about a large version: a file beside its pack, so that all processes of a host, and
//! those that come later, have one clock.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dcfs_disk::regular;

/// The ending of the file's name, after that of the pack.
const ENDING: &str = ".away";

/// An outage of the folder, for one version. Its file was modified when the outage began, and accessed when the last
/// question failed.
pub struct Outage(PathBuf);

impl Outage {
    /// That of the version whose pack is in this folder, or would be.
    pub fn of(pack: &Path) -> Self {
        let mut name = OsString::from(pack);
        name.push(ENDING);
        Self(name.into())
    }

    /// Notes that a question failed: returns how long ago the outage began, and whether it begins with this.
    ///
    /// If nothing failed for `patience`, and the folder `answered` something meanwhile, it is another outage.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(
        &self,
        patience: Duration,
        answered: Option<SystemTime>,
    ) -> io::Result<(Duration, bool)> {
        let mut options = File::options();
        let file = regular::open_with(options.write(true).create(true), &self.0)?;
        let meta = file.metadata()?;
        let (since, last, now) = (meta.modified()?, meta.accessed()?, SystemTime::now());
        let age = |time| now.duration_since(time).unwrap_or_default();
        let is_over = age(last) > patience && answered.is_some_and(|at| at > last);
        // Begun in the future: by a clock that was set back since.
        let begins = meta.len() == 0 || is_over || since > now;
        let since = if begins { now } else { since };
        file.set_len(1)?;
        file.set_times(FileTimes::new().set_modified(since).set_accessed(now))?;
        Ok((age(since), begins))
    }

    /// The folder answered.
    pub fn end(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Moves both times of the file.
    fn was(outage: &Outage, since: SystemTime, last: SystemTime) {
        let file = File::options().write(true).open(&outage.0).expect("noted");
        file.set_times(FileTimes::new().set_modified(since).set_accessed(last)).expect("set");
    }

    #[test]
    fn an_outage_is_one_for_all_who_ask_until_the_folder_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = [(); 2].map(|()| Outage::of(&folder.path().join("pack")));
        let note = |outage: &Outage, answered| outage.note(HOUR, answered).expect("noted");
        assert_eq!(note(&one, None), (Duration::ZERO, true));
        let now = SystemTime::now();
        was(&one, now - 5 * HOUR, now - 4 * HOUR);
        let (age, begins) = note(&other, None);
        assert!(age >= 5 * HOUR && !begins, "{age:?}");
        // Answers between failures do not end it, ...
        let (age, begins) = note(&other, Some(SystemTime::now() + HOUR));
        assert!(age >= 5 * HOUR && !begins, "{age:?}");
        // ... nor do those before the last failure. After a failure that nobody repeated they do.
        was(&one, now - 5 * HOUR, now - 4 * HOUR);
        let (age, begins) = note(&one, Some(now - 4 * HOUR - HOUR / 2));
        assert!(age >= 5 * HOUR && !begins, "{age:?}");
        was(&one, now - 5 * HOUR, now - 4 * HOUR);
        assert_eq!(note(&one, Some(now - 3 * HOUR)), (Duration::ZERO, true));
        was(&one, now - 5 * HOUR, now);
        other.end();
        assert_eq!(note(&one, None), (Duration::ZERO, true));
        // A clock that was set back.
        was(&one, now + 5 * HOUR, now + 5 * HOUR);
        assert_eq!(note(&one, None), (Duration::ZERO, true));
        one.end();
        one.end();
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }
}
