//! `dcfs doctor`: checks that this machine can mount, and prints the commands that fix problems.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use nix::unistd::{self, AccessFlags, geteuid};
use serde::Serialize;

use super::access::{self, AccessArgs};
use super::output::{self, Output};
use super::{places, remembered, skill};
use crate::fuse::{mountpoint, mounts};
use crate::session;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::object::Object;
use dcfs_core::render::numbers::counted;
use dcfs_data::catalog::Catalog;
use dcfs_store::{Settings, Stores};

/// Limit of versions whose sources are examined.
const MOST_VERSIONS: usize = 200;

/// Limit of sources in the output.
const MOST_SOURCES: usize = 20;

/// Check that this machine can mount, and print how to fix problems
#[derive(Debug, clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    access: AccessArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Mounting works without it.
    Note,
    /// Mounting fails without it.
    Missing,
    /// It exists, but mounting fails because of its state.
    Wrong,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    detail: String,
}

impl Doctor {
    /// Runs all checks and prints the results.
    ///
    /// # Errors
    /// A requirement of mounting is missing; everything was printed before.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let mut checks = vec![device(), helper(), others(), self.cache(), self.catalog(), dead()];
        checks.extend(skills());
        checks.extend(self.settings());
        if self.json {
            out.json(&checks)?;
        } else {
            for check in &checks {
                let mark = match check.verdict {
                    Verdict::Ok => "ok     ",
                    Verdict::Note => "note   ",
                    Verdict::Missing => "MISSING",
                    Verdict::Wrong => "WRONG  ",
                };
                out.line(format_args!("{mark}  {}: {}", check.what, check.detail))?;
            }
        }
        let fails = |check: &&Check| matches!(check.verdict, Verdict::Missing | Verdict::Wrong);
        match checks.iter().filter(fails).count() {
            0 => Ok(()),
            n => Err(Error::new(Kind::Broken, format!("{n} of {} checks failed", checks.len()))),
        }
    }

    fn cache(&self) -> Check {
        let folder = self.access.cache_dir.clone().unwrap_or_else(places::cache);
        let made = places::private_cache(&folder).and_then(|()| {
            unistd::access(&folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
                let message =
                    format!("`{}`: {error}; choose another: --cache-dir", folder.display());
                Error::new(Kind::Denied, message)
            })
        });
        match made {
            Ok(()) => match access::keeps_nothing(&folder, self.access.cache_size.unwrap_or(1)) {
                Some(why) => Check::note("cache", false, why),
                None => match access::quota() {
                    Ok(quota) => {
                        let most = quota.map_or(String::new(), |(_, size)| {
                            format!(", of which {size} are your quota")
                        });
                        Check::note("cache", true, format!("{}{most}", folder.display()))
                    }
                    Err(error) => Check::told("cache", Err(error)),
                },
            },
            failed => Check::told("cache", failed.map(|()| String::new())),
        }
    }

    /// Checks the settings file and the settings of stores, and how each source is reached.
    fn settings(&self) -> Vec<Check> {
        let settings = match access::settings(self.access.config.as_deref()) {
            Ok(settings) => settings,
            Err(error) => return vec![Check::told("settings", Err(error))],
        };
        let stores = self.access.probing(settings.clone());
        let stand = stores.check().map(|()| "all of their settings are valid".to_owned());
        let mut checks = vec![Check::note("settings", true, file(&settings))];
        checks.push(Check::told("stores", stand));
        let catalog = self.access.catalog.open().ok();
        let mut sources = catalog.as_ref().map(objects).unwrap_or_default();
        for name in settings.names() {
            sources.entry(name.to_owned()).or_default();
        }
        checks.extend(sources.keys().filter_map(|source| reached(&stores, source)));
        let known = catalog.and_then(|catalog| catalog.settings().ok()).unwrap_or_default();
        let asked: Vec<_> =
            sources.into_iter().filter_map(|(s, object)| Some((s, object?))).collect();
        for (source, answer) in answers(&stores, &asked) {
            checks.push(answer);
            let advice =
                known.get(&source).and_then(|was| remembered::advice(&stores, &source, was));
            let advice = advice.map(|advice| output::sanitized(&advice));
            checks.extend(advice.map(|advice| Check::note("indexed", false, advice)));
        }
        checks
    }

    fn catalog(&self) -> Check {
        let opened = self.access.catalog.open().and_then(|catalog| {
            let versions = counted(catalog.versions()?.len() as u64, "version");
            Ok(format!("{} with {versions}", catalog.path().display()))
        });
        match opened {
            // The machine is fine; the command was run where there is no catalog.
            Err(error) if self.access.catalog.catalog.is_none() => {
                Check::note("catalog", false, error.to_string())
            }
            opened => Check::told("catalog", opened),
        }
    }
}

impl Check {
    /// Only absence counts as missing.
    fn told(what: &'static str, result: Result<String>) -> Self {
        let is_wrong = result.as_ref().is_err_and(|error| error.kind() != Kind::Missing);
        let check = Self::of(what, result);
        if is_wrong { Self { verdict: Verdict::Wrong, ..check } } else { check }
    }

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

fn file(settings: &Settings) -> String {
    let Some(file) = settings.file() else {
        return "no file; settings come from flags, the environment and ~/.aws".into();
    };
    let tables: Vec<String> = settings.names().map(|name| format!("`{name}`")).collect();
    output::sanitized(&format!("{} with {}", file.display(), tables.join(", ")))
}

/// The sources of the catalog's versions, each with an object to request, judging by the first rows.
fn objects(catalog: &Catalog) -> BTreeMap<String, Option<Object>> {
    let versions = catalog.versions().unwrap_or_default();
    let mut all = BTreeMap::new();
    for of in versions.iter().rev().take(MOST_VERSIONS) {
        let first = catalog.extent(of).and_then(|(_, first, _)| {
            let schema = catalog.schema(of)?;
            let objects = schema.files.iter().map(|column| catalog.object(of, column, first));
            objects.collect::<Result<Vec<_>>>()
        });
        for object in first.unwrap_or_default().into_iter().flatten() {
            all.insert(object.source.clone(), Some(object));
        }
        // If the first row names no object, others may.
        for source in remembered::sources(catalog, of) {
            all.entry(source).or_default();
        }
    }
    all.into_iter().take(MOST_SOURCES).collect()
}

/// Checks whether each source answers: all are asked in parallel, each for a byte of one object.
fn answers(stores: &Stores, asked: &[(String, Object)]) -> Vec<(String, Check)> {
    let Ok(runtime) = session::runtime() else { return Vec::new() };
    let ask = |(source, object): &(String, Object)| {
        let (source, object) = (source.clone(), object.clone());
        async move {
            let answer = stores.compare(&object).await;
            (source, answer)
        }
    };
    let all = runtime.block_on(futures_util::future::join_all(asked.iter().map(ask)));
    let check = |(source, answer): (String, Result<()>)| {
        let (fine, said) = match answer {
            Ok(()) => (true, "the requested object is the recorded one".to_owned()),
            // It answers; changed objects are the business of `dcfs verify`.
            Err(error) if error.kind() == Kind::Stale => (true, error.to_string()),
            Err(error) => (false, error.to_string()),
        };
        let detail = output::sanitized(&format!("`{source}`: {said}"));
        (source, Check::note("answer", fine, detail))
    };
    all.into_iter().map(check).collect()
}

/// How one source is reached; `None` if there is nothing to report.
fn reached(stores: &Stores, source: &str) -> Option<Check> {
    let (fine, said) = match stores.describe(source) {
        Ok(said) => (true, said?.iter().map(|(name, value)| format!("{name}: {value}")).collect()),
        Err(error) => (false, vec![error.to_string()]),
    };
    let detail = format!("`{source}`: {}", said.join("; "));
    Some(Check::note("source", fine, output::sanitized(&detail)))
}

fn device() -> Check {
    let opened = mountpoint::device().map(|()| "opens".to_owned());
    let is_there = Path::new("/dev/fuse").exists();
    let check = Check::of("/dev/fuse", opened);
    match check.verdict {
        Verdict::Missing if is_there => Check { verdict: Verdict::Wrong, ..check },
        _ => check,
    }
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

/// Checks for skills that an older version of this program wrote.
fn skills() -> Option<Check> {
    let old: Vec<String> = skill::older()
        .iter()
        .map(|(path, version)| format!("`{}` is of version {version}", path.display()))
        .collect();
    let told = || format!("{}; bring it up to date: dcfs skill install", old.join("; "));
    (!old.is_empty()).then(|| Check::note("skill", false, output::sanitized(&told())))
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
