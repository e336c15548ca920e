//! `dcfs mount`: checks everything while somebody is there to read it, then stays in the background.

use std::path::PathBuf;

use super::access::{Access, AccessArgs};
use super::daemon;
use super::options::MountOptions;
use super::output::Output;
use crate::fuse::mountpoint;
use dcfs_core::error::Result;
use dcfs_data::catalog::Catalog;

/// Mount a catalog
///
/// Returns when the mount answers and stays in the background; `dcfs unmount` ends it.
#[derive(Clone, Debug, clap::Args)]
pub struct Mount {
    /// Empty directory to mount on
    pub mountpoint: PathBuf,
    #[command(flatten)]
    pub access: AccessArgs,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    pub foreground: bool,
    /// Mount options as in fstab, e.g. xattr,region=eu-west-1 (xattr: rows as user.dcfs.* attributes)
    #[arg(short = 'o', value_name = "OPTS")]
    pub options: Vec<String>,
    /// Let other users in (needs user_allow_other in /etc/fuse.conf, or root)
    #[arg(long)]
    pub allow_other: bool,
    /// Tell on stdout how mounting went, then go on alone: how the background process is started
    #[arg(long, hide = true)]
    pub report: bool,
}

/// What was typed, checked and made absolute: everything a mount needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mountpoint: PathBuf,
    pub access: Access,
    pub allow_other: bool,
    pub xattr: bool,
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
            plan.access.catalog.display(),
            plan.mountpoint.display()
        ))
    }

    /// Finds the catalog and the place. Everything that can be wrong is told here.
    pub fn plan(&self) -> Result<Plan> {
        let options = MountOptions::parse(&self.options.join(","))?;
        let access = self.access.clone().or(&options).resolve()?;
        // Opened to see that it can be: the mount itself opens its own.
        Catalog::open(&access.catalog)?;
        let allow_other = self.allow_other || options.allow_other;
        let (mountpoint, cleaned) = mountpoint::prepare(&self.mountpoint, allow_other)?;
        if cleaned {
            eprintln!("dcfs: a dead mount was at `{}`; cleaned up", self.mountpoint.display());
        }
        Ok(Plan { mountpoint, access, allow_other, xattr: options.xattr })
    }
}

impl Plan {
    /// The arguments that make `dcfs` carry out this plan.
    pub fn arguments(&self) -> Vec<std::ffi::OsString> {
        let access = &self.access;
        let mut args: Vec<std::ffi::OsString> = vec!["mount".into(), "--report".into()];
        let mut flag = |name: &str, value: &std::ffi::OsStr| {
            args.push(name.into());
            args.push(value.into());
        };
        flag("--catalog", access.catalog.as_os_str());
        flag("--cache-dir", access.cache.as_os_str());
        flag("--cache-size", access.cache_size.to_string().as_ref());
        flag("--memory", access.memory.to_string().as_ref());
        flag("--prefetch", access.prefetch.name().as_ref());
        flag("--timeout", format!("{}ms", access.timeout.as_millis()).as_ref());
        if let Some(url) = &access.endpoint_url {
            flag("--endpoint-url", url.as_ref());
        }
        if let Some(region) = &access.region {
            flag("--region", region.as_ref());
        }
        if let Some(profile) = &access.profile {
            flag("--profile", profile.as_ref());
        }
        if let Some(file) = access.settings.file() {
            flag("--config", file.as_os_str());
        }
        let switches = [
            ("--allow-other", self.allow_other),
            ("--anon", access.anon),
            ("--request-payer", access.request_payer),
        ];
        args.extend(switches.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.into()));
        if self.xattr {
            args.extend(["-o".into(), "xattr".into()]);
        }
        args.push("--".into());
        args.push(self.mountpoint.clone().into());
        args
    }
}
