//! The flags about the catalog and the stores of its objects, and the session that they ask for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::{parse_duration, parse_size};
use super::{CatalogArg, places, usage, warn};
use crate::session::{FIRST_ANSWER, Session, TIMEOUT};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use dcfs_core::error::{Error, Result};
use dcfs_core::render::numbers::bytes;
use dcfs_data::catalog;
use dcfs_disk::space;
use dcfs_store::{self as store, Settings, Stores};
use dcfs_vfs::siblings::Prefetch;

/// Default of `--cache-size`, in bytes.
const CACHE_SIZE: u64 = 64 << 30;

/// Largest default of `--memory`, in bytes.
const MEMORY: u64 = 512 << 20;

/// The flags, as typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AccessArgs {
    #[command(flatten)]
    pub catalog: CatalogArg,
    /// Directory for packed versions and fetched objects [default: $XDG_CACHE_HOME/dcfs]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Space for fetched objects, e.g. 500G; 0 keeps none [default: 64G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: Option<u64>,
    /// How long a store may be silent, busy or away before a read of it fails [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Memory for object data, e.g. 2G [default: 512M, or an eighth of this machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Use no credentials of any store: for public buckets
    #[arg(long)]
    pub anon: bool,
    /// Address of an S3-compatible server, e.g. http://localhost:9000
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region of the buckets [default: AWS_REGION, then that of the profile]
    #[arg(long, value_name = "R")]
    pub region: Option<String>,
    /// Profile of ~/.aws to sign with, even if the environment has keys
    #[arg(long, value_name = "NAME", conflicts_with = "anon")]
    pub profile: Option<String>,
    /// Agree to pay for requests to buckets whose owner does not
    #[arg(long)]
    pub request_payer: bool,
    /// Folder below which rows may name local files (file://); no others are read then. Repeatable [default:
    /// any, or none where other users are let in or the catalog is another user's]
    #[arg(long, value_name = "DIR")]
    pub local_root: Vec<PathBuf>,
    /// Read no local file, whatever rows name
    #[arg(long, conflicts_with = "local_root")]
    pub no_local_files: bool,
    /// Allowed prefix of addresses in rows, e.g. s3://bucket/prefix or https://host; others are refused.
    /// Repeatable [default: any, or none where root reads a catalog that others could have written]
    #[arg(long, value_name = "URI")]
    pub allow_uri: Vec<String>,
    /// File of settings per bucket or prefix [default: DCFS_CONFIG, then $XDG_CONFIG_HOME/dcfs/config.toml,
    /// then /etc/dcfs/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The flags of read-ahead in a tree of files, as typed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReadAhead {
    /// Files to fetch in advance: those that come next when files are opened in the order of a listing, or all
    /// that a directory shows [default: siblings]
    #[arg(long, value_name = "WHICH", value_parser = prefetch())]
    pub prefetch: Option<Prefetch>,
}

/// Parses a [`Prefetch`] from its name.
fn prefetch() -> impl TypedValueParser<Value = Prefetch> {
    let values = Prefetch::ALL.map(|which| PossibleValue::new(which.name()).help(which.help()));
    PossibleValuesParser::new(values)
        .map(|name| Prefetch::named(&name).expect("one of the possible values"))
}

impl ReadAhead {
    /// The session with the requested read-ahead.
    #[must_use]
    pub fn with(&self, session: Session) -> Session {
        Session { prefetch: self.prefetch.unwrap_or_default(), ..session }
    }
}

impl AccessArgs {
    /// Finds the catalog and creates the cache directory.
    ///
    /// # Errors
    /// No catalog, with the places searched; invalid settings; a cache that cannot be created.
    pub fn resolve(self) -> Result<Session> {
        let catalog = catalog::locate(self.catalog.catalog.as_deref())?;
        let mut local_roots = self.local_roots()?;
        let reach = self.store_config(settings(self.config.as_deref())?);
        let mut addresses = (!self.allow_uri.is_empty()).then_some(self.allow_uri);
        // Otherwise whoever wrote the catalog could make root read files and send requests.
        if nix::unistd::geteuid().is_root() && catalog::foreign(&catalog).is_some() {
            local_roots.get_or_insert_default();
            addresses.get_or_insert_default();
        }
        // They are files of whichever machine the rows were made on.
        if catalog::is_studio(&catalog) {
            local_roots.get_or_insert_default();
        }
        let cache = self.cache_dir.unwrap_or_else(places::cache);
        places::private_cache(&cache)?;
        Ok(Session {
            catalog,
            cache: std::fs::canonicalize(&cache).unwrap_or(cache),
            cache_size: kept(self.cache_size)?,
            memory: self.memory.unwrap_or_else(memory),
            prefetch: Prefetch::default(),
            reach,
            first_answer: None,
            local_roots,
            addresses,
            notes_usage: places::notes_usage(),
        })
    }

    /// The folders named by `--local-root`.
    fn local_roots(&self) -> Result<Option<Vec<PathBuf>>> {
        let root = |root: &PathBuf| {
            let found = std::fs::canonicalize(root).and_then(|real| {
                if real.is_dir() { Ok(root.clone()) } else { Err(ErrorKind::NotADirectory.into()) }
            });
            let wrong = |error| usage(format!("`--local-root {}`: {error}", root.display()));
            found.and_then(std::path::absolute).map_err(wrong)
        };
        match self.no_local_files {
            true => Ok(Some(Vec::new())),
            false if self.local_root.is_empty() => Ok(None),
            false => self.local_root.iter().map(root).collect::<Result<_>>().map(Some),
        }
    }

    /// Only the stores, without a cache: to see how they would be reached.
    pub fn stores(&self, settings: Settings) -> Stores {
        Stores::new(self.store_config(settings))
    }

    /// The same, with a short time-out, to find out whether they answer.
    pub fn probing(&self, settings: Settings) -> Stores {
        let first_answer = Some(FIRST_ANSWER);
        Stores::new(store::Config { first_answer, ..self.store_config(settings) })
    }

    fn store_config(&self, settings: Settings) -> store::Config {
        store::Config {
            endpoint_url: self.endpoint_url.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            anon: self.anon,
            request_payer: self.request_payer,
            settings,
            ..store::Config::new(self.timeout.unwrap_or(TIMEOUT))
        }
    }
}

/// Reads the settings file: the named one, else the user's, else the machine's; the last two are optional. Only
/// one file applies: a user with settings of their own gets none of the machine's.
///
/// # Errors
/// It cannot be read, or is invalid.
pub fn settings(named: Option<&Path>) -> Result<Settings> {
    let said =
        named.map(Path::to_owned).or_else(|| std::env::var_os("DCFS_CONFIG").map(Into::into));
    match said {
        Some(path) if named.is_none() && path.as_os_str().is_empty() => Ok(Settings::default()),
        Some(path) => {
            let path = std::path::absolute(&path).unwrap_or(path);
            Ok(settings_in(&path)?
                .ok_or_else(|| unreadable(&path, nix::errno::Errno::ENOENT.into()))?)
        }
        None => settings_of(&[&places::config().join("config.toml"), Path::new(OF_THE_MACHINE)]),
    }
}

/// How many bytes of fetched objects are kept: as many as was said, and no more than this user's quota.
fn kept(said: Option<u64>) -> Result<u64> {
    let wanted = said.unwrap_or(CACHE_SIZE);
    let Some((quota, text)) = quota()?.filter(|(quota, _)| *quota < wanted) else {
        return Ok(wanted);
    };
    if said.is_some() {
        warn(format_args!("{text} of fetched objects are kept: your quota by `{OF_THE_MACHINE}`"));
    }
    Ok(quota)
}

/// The quota of this user, in bytes and as it is written: by the file of the machine, whatever settings count otherwise.
///
/// # Errors
/// The file makes no sense.
pub fn quota() -> Result<Option<(u64, String)>> {
    let file = Path::new(OF_THE_MACHINE);
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        // One that a user may not read sets them no quota.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(file, error)),
    };
    let settings = Settings::parse(file, &text)?;
    let user = dcfs_disk::owner::name(nix::unistd::geteuid().as_raw());
    let Some(text) = settings.quota().and_then(|quota| quota.of(&user)) else { return Ok(None) };
    let size = parse_size(text)
        .map_err(|error| usage(format!("`[quota]` in `{OF_THE_MACHINE}`: {error}")))?;
    Ok(Some((size, text.to_owned())))
}

/// Settings for users that have none, written by an administrator.
const OF_THE_MACHINE: &str = "/etc/dcfs/config.toml";

/// The settings in the first of `files` that exists.
fn settings_of(files: &[&Path]) -> Result<Settings> {
    for file in files {
        if let Some(found) = settings_in(file)? {
            return Ok(found);
        }
    }
    Ok(Settings::default())
}

/// `None` if the file does not exist.
fn settings_in(file: &Path) -> Result<Option<Settings>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let settings = Settings::parse(file, &text)?;
            if settings.quota().is_some() && file != Path::new(OF_THE_MACHINE) {
                let shown = file.display();
                return Err(usage(format!(
                    "`{shown}`: `[quota]` counts in `{OF_THE_MACHINE}` alone"
                )));
            }
            Ok(Some(settings))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, error)),
    }
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    usage(format!("settings in `{}`: {error}", file.display()))
}

/// Why a cache folder cannot hold objects although it is writable; `None` if it can, or is not supposed to.
pub fn keeps_nothing(folder: &Path, size: u64) -> Option<String> {
    let free = space::free(folder).filter(|free| size > 0 && *free < space::LEAST)?;
    let text = "dcfs leaves 2 GiB of it free, so nothing is kept and every read is fetched again; choose a larger disk: `--cache-dir DIR`";
    Some(format!("{} free on the disk of `{}`; {text}", bytes(free), folder.display()))
}

/// The default of `--memory`: an eighth of the memory that this process may use, by the machine and by its
/// cgroup.
fn memory() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    });
    let limits = [machine, number("/sys/fs/cgroup/memory.max")];
    limits.into_iter().flatten().map(|limit| limit / 8).chain([MEMORY]).min().unwrap_or(MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_of_settings_counts_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, machine] = ["own.toml", "machine.toml"].map(|name| folder.path().join(name));
        let files = [own.as_path(), machine.as_path()];
        let names = || -> Vec<String> {
            settings_of(&files).expect("read").names().map(str::to_owned).collect()
        };
        assert!(names().is_empty(), "neither has to be there");
        std::fs::write(&machine, "[\"s3://shared\"]\nanon = true\n").expect("written");
        assert_eq!(names(), ["s3://shared"]);
        std::fs::write(&own, "[\"s3://mine\"]\nanon = true\n").expect("written");
        assert_eq!(names(), ["s3://mine"]);
        std::fs::write(&own, "anon").expect("written");
        assert!(settings_of(&files).expect_err("no TOML").to_string().contains("own.toml"));
    }
}
