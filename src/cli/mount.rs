//! `dcfs mount`: checks everything while somebody is there to read it, then stays in the background.

use std::path::PathBuf;
use std::time::Duration;

use super::options::{MountOptions, parse_duration};
use super::output::Output;
use super::{CatalogArg, daemon, places};
use crate::catalog::{self, Catalog};
use crate::error::Result;
use crate::fuse::mountpoint;

/// No request of a program waits longer, unless `--timeout` says so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Mount a catalog
///
/// Returns when the mount answers and stays in the background; `dcfs unmount` ends it.
#[derive(Clone, Debug, clap::Args)]
pub struct Mount {
    /// Empty directory to mount on
    pub mountpoint: PathBuf,
    #[command(flatten)]
    pub catalog: CatalogArg,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    pub foreground: bool,
    /// Mount options as in fstab, e.g. allow_other,region=eu-west-1
    #[arg(short = 'o', value_name = "OPTS")]
    pub options: Vec<String>,
    /// Where packed versions are kept [default: $XDG_CACHE_HOME/dcfs]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The longest that any request may wait, retries included [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Let other users in (needs user_allow_other in /etc/fuse.conf, or root)
    #[arg(long)]
    pub allow_other: bool,
    /// Do not sign requests: for public buckets
    #[arg(long)]
    pub anon: bool,
    /// Address of an S3-compatible server, e.g. http://localhost:9000
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region of the buckets [default: AWS_REGION]
    #[arg(long, value_name = "R")]
    pub region: Option<String>,
    /// Tell on stdout how mounting went, then go on alone: how the background process is started
    #[arg(long, hide = true)]
    pub report: bool,
}

/// What was typed, checked and made absolute: everything a mount needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mountpoint: PathBuf,
    /// The database file.
    pub catalog: PathBuf,
    pub cache: PathBuf,
    pub timeout: Duration,
    pub allow_other: bool,
    pub anon: bool,
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
}

impl Mount {
    /// Checks and mounts.
    pub fn run(self, out: &mut Output) -> Result<()> {
        if self.report {
            return daemon::child(self);
        }
        let plan = self.plan()?;
        if self.foreground {
            return daemon::foreground(&plan);
        }
        daemon::spawn(&plan)?;
        out.line(format_args!(
            "{} is mounted at {}",
            plan.catalog.display(),
            plan.mountpoint.display()
        ))
    }

    /// Finds the catalog and the place. Everything that can be wrong is told here.
    pub fn plan(&self) -> Result<Plan> {
        let options = MountOptions::parse(&self.options.join(","))?;
        let catalog = catalog::locate(self.catalog.catalog.as_deref())?;
        // Opened to see that it can be: the mount itself opens its own.
        Catalog::open(&catalog)?;
        let allow_other = self.allow_other || options.allow_other;
        let (mountpoint, cleaned) = mountpoint::prepare(&self.mountpoint, allow_other)?;
        if cleaned {
            eprintln!("dcfs: a dead mount was at `{}`; cleaned up", self.mountpoint.display());
        }
        let cache = self.cache_dir.clone().or(options.cache_dir).unwrap_or_else(places::cache);
        places::private(&cache)?;
        Ok(Plan {
            mountpoint,
            catalog,
            cache: std::fs::canonicalize(&cache).unwrap_or(cache),
            timeout: self.timeout.or(options.timeout).unwrap_or(TIMEOUT),
            allow_other,
            anon: self.anon || options.anon,
            endpoint_url: self.endpoint_url.clone().or(options.endpoint_url),
            region: self.region.clone().or(options.region),
        })
    }
}

impl Plan {
    /// The arguments that make `dcfs` carry out this plan.
    pub fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut args: Vec<std::ffi::OsString> = vec!["mount".into(), "--report".into()];
        let mut flag = |name: &str, value: &std::ffi::OsStr| {
            args.push(name.into());
            args.push(value.into());
        };
        flag("--catalog", self.catalog.as_os_str());
        flag("--cache-dir", self.cache.as_os_str());
        flag("--timeout", format!("{}ms", self.timeout.as_millis()).as_ref());
        if let Some(url) = &self.endpoint_url {
            flag("--endpoint-url", url.as_ref());
        }
        if let Some(region) = &self.region {
            flag("--region", region.as_ref());
        }
        let switches = [("--allow-other", self.allow_other), ("--anon", self.anon)];
        args.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.into()));
        args.push("--".into());
        args.push(self.mountpoint.clone().into());
        args
    }
}
