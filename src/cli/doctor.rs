//! `dcfs doctor`: what is missing on this machine to mount, and the command that mends it.

use std::fmt::Display;

use nix::unistd::{AccessFlags, access, geteuid};
use serde::Serialize;

use super::output::Output;
use super::{CatalogArg, places};
use crate::error::{Error, Kind, Result};
use crate::fuse::{mountpoint, mounts};

/// Look for what is missing on this machine to mount, and say what mends it
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Mounting works without it.
    Note,
    /// Mounting fails without it.
    Missing,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Doctor {
    /// Looks at everything and prints it.
    ///
    /// # Errors
    /// Something without which nothing can be mounted is missing; all was printed before.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let checks = [device(), helper(), others(), cache(), self.catalog(), dead()];
        if self.json {
            out.json(&checks)?;
        } else {
            for check in &checks {
                let mark = match check.verdict {
                    Verdict::Ok => "ok     ",
                    Verdict::Note => "note   ",
                    Verdict::Missing => "MISSING",
                };
                out.line(format_args!("{mark}  {}: {}", check.what, check.detail))?;
            }
        }
        match checks.iter().filter(|check| check.verdict == Verdict::Missing).count() {
            0 => Ok(()),
            n => Err(Error::new(Kind::Broken, format!("{n} of {} checks failed", checks.len()))),
        }
    }

    fn catalog(&self) -> Check {
        let opened = self.catalog.open().and_then(|catalog| {
            let versions = catalog.versions()?.len();
            Ok(format!("{} with {versions} versions", catalog.path().display()))
        });
        match opened {
            // The machine is fine; the question was asked somewhere else.
            Err(error) if self.catalog.catalog.is_none() => {
                Check::note("catalog", false, error.to_string())
            }
            opened => Check::of("catalog", opened),
        }
    }
}

impl Check {
    fn of(what: &'static str, result: std::result::Result<String, impl Display>) -> Self {
        match result {
            Ok(detail) => Self { what, verdict: Verdict::Ok, detail },
            Err(error) => Self { what, verdict: Verdict::Missing, detail: error.to_string() },
        }
    }

    fn note(what: &'static str, fine: bool, detail: impl Into<String>) -> Self {
        let verdict = if fine { Verdict::Ok } else { Verdict::Note };
        Self { what, verdict, detail: detail.into() }
    }
}

fn device() -> Check {
    Check::of("/dev/fuse", mountpoint::device().map(|()| "opens".to_owned()))
}

fn helper() -> Check {
    match mountpoint::helper() {
        Some(path) => Check::note("fusermount3", true, path.display().to_string()),
        None if geteuid().is_root() => {
            Check::note("fusermount3", false, "not there; root mounts without it")
        }
        None => Check::of("fusermount3", Err(mountpoint::Error::NoHelper)),
    }
}

fn others() -> Check {
    let allowed = geteuid().is_root() || mountpoint::others_allowed();
    let detail = if allowed {
        "allowed".to_owned()
    } else {
        "not allowed, so only you see your mounts; as root: echo user_allow_other >> /etc/fuse.conf"
            .into()
    };
    Check::note("--allow-other", allowed, detail)
}

fn cache() -> Check {
    let folder = places::cache();
    let made = places::private(&folder).and_then(|()| {
        access(&folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
            let message = format!("`{}`: {error}; choose another: --cache-dir", folder.display());
            Error::new(Kind::Denied, message)
        })
    });
    Check::of("cache", made.map(|()| folder.display().to_string()))
}

fn dead() -> Check {
    let all = mounts::all().unwrap_or_default();
    let dead: Vec<String> = all
        .iter()
        .filter(|m| m.is_dcfs() && mounts::health(&m.mountpoint) == mounts::Health::Dead)
        .map(|m| format!("`{}` is dead: dcfs unmount '{0}'", m.mountpoint.display()))
        .collect();
    let none = dead.is_empty();
    Check::note("mounts", none, if none { "none is dead".into() } else { dead.join("; ") })
}
