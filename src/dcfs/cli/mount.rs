//! `dcfs mount`: checks everything while the user can still see it, then stays in the background.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, FromArgMatches};
use nix::unistd::{getegid, geteuid};

use super::access::{self, AccessArgs, ReadAhead};
use super::options::{self, parse_label, parse_mode};
use super::output::Output;
use super::{daemon, remembered, usage, warn};
use crate::fuse::{Look, mountpoint, session};
use crate::session::Session;
use dcfs_core::error::Result;
use dcfs_data::catalog::{self, Catalog};

/// Mount a catalog
///
/// Returns when the mount is ready and stays in the background; `dcfs unmount` ends it.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
pub struct Mount {
    /// Empty directory to mount on; created if its parent directory is yours
    pub mountpoint: PathBuf,
    #[command(flatten)]
    pub access: AccessArgs,
    #[command(flatten)]
    pub ahead: ReadAhead,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    pub foreground: bool,
    /// Mount options as in fstab: the flags of this command, e.g. xattr,region=eu-west-1
    #[arg(short = 'o', value_name = "OPTS")]
    pub options: Vec<String>,
    /// Let other users in (needs user_allow_other in /etc/fuse.conf, or root)
    #[arg(long)]
    pub allow_other: bool,
    /// Show rows as extended attributes, user.dcfs.*
    #[arg(long)]
    pub xattr: bool,
    /// Owner of files [default: the user who mounts]
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// Group of files [default: the group of the user who mounts]
    #[arg(long, value_name = "GID")]
    pub gid: Option<u32>,
    /// Permissions of files [default: 0444]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub file_mode: Option<u16>,
    /// Permissions of directories [default: 0555]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub dir_mode: Option<u16>,
    #[command(flatten)]
    pub labels: Labels,
    /// Serve metrics to Prometheus over HTTP, at /metrics of e.g. 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// Report on stdout whether mounting succeeded, then detach: used to start the background process
    #[arg(long, hide = true)]
    pub report: bool,
    /// The arguments of `mount`, for the background process to parse again.
    #[arg(skip)]
    pub words: Vec<OsString>,
}

/// SELinux labels of a mount, as in mount(8).
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Labels {
    /// SELinux label of all files, e.g. system_u:object_r:container_file_t:s0
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    context: Option<String>,
    /// SELinux label of the file system itself
    #[arg(long, value_name = "LABEL", value_parser = parse_label, hide_short_help = true)]
    fscontext: Option<String>,
    /// SELinux label of files that have none
    #[arg(long, value_name = "LABEL", value_parser = parse_label, hide_short_help = true)]
    defcontext: Option<String>,
    /// SELinux label of the top directory
    #[arg(long, value_name = "LABEL", value_parser = parse_label, hide_short_help = true)]
    rootcontext: Option<String>,
}

impl Labels {
    /// The labels that are set, by their kernel names. None if the kernel has no SELinux: mount(8) leaves them
    /// out there too, so that one fstab serves both.
    fn known(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("context", &self.context),
            ("fscontext", &self.fscontext),
            ("defcontext", &self.defcontext),
            ("rootcontext", &self.rootcontext),
        ];
        let given = all.into_iter().filter_map(|(name, label)| Some((name, label.clone()?)));
        given.filter(|_| session::has_selinux()).collect()
    }
}

/// The validated arguments, made absolute: everything a mount needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mountpoint: PathBuf,
    pub access: Session,
    pub allow_other: bool,
    pub xattr: bool,
    pub look: Look,
    pub labels: Vec<(&'static str, String)>,
    pub metrics: Option<SocketAddr>,
    /// The settings file that was named.
    pub config: Option<PathBuf>,
    /// The arguments that make `dcfs` carry out this plan, in the same folder.
    pub arguments: Vec<OsString>,
}

/// The flags of `dcfs mount`, as defined in clap.
pub fn command() -> clap::Command {
    Mount::augment_args(clap::Command::new("mount"))
}

impl Mount {
    /// Parses `words`, the arguments of `dcfs mount`. Options of `-o` are flags; flags typed explicitly win.
    ///
    /// # Errors
    /// An unknown flag or option, or an invalid value.
    pub fn parse(words: Vec<OsString>) -> Result<Self> {
        let wrong = |error: clap::Error| usage(first_line(&error));
        let parse = |words: &[OsString]| {
            let name = std::iter::once(OsStr::new("mount"));
            let words = name.chain(words.iter().map(OsString::as_os_str));
            command().try_get_matches_from(words).and_then(|found| Self::from_arg_matches(&found))
        };
        let typed = parse(&words).map_err(wrong)?;
        let given = options::flags(&typed.options.join(","), &command())?;
        // `-o config=FILE` names the file, whose `[mount]` has lower precedence than everything given here.
        let mut all = given.clone();
        all.extend(words.iter().cloned());
        let file = parse(&all).map_err(wrong)?.access.config;
        let settings = access::settings(file.as_deref())?;
        let of_file: Vec<String> = settings.mount().collect();
        let mut all = options::flags(&of_file.join(","), &command())?;
        all.extend(given);
        all.extend(words.iter().cloned());
        Ok(Self { words, ..parse(&all).map_err(wrong)? })
    }

    /// Checks and mounts.
    pub fn run(self, out: &mut Output) -> Result<()> {
        if self.report {
            return daemon::child(self);
        }
        let plan = self.plan()?;
        self.warn(&plan);
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

    /// Finds the catalog and the mountpoint. All errors in the arguments are reported here.
    pub fn plan(&self) -> Result<Plan> {
        let mut access = self.ahead.with(self.access.clone().resolve()?);
        // Opened as a check only: the mount itself opens its own.
        let catalog = Catalog::open(&access.catalog)?;
        remembered::advise_all(&catalog, &self.access.stores(access.reach.settings.clone()));
        let is_foreign = catalog::foreign(&access.catalog).is_some();
        if self.allow_other || is_foreign {
            access.local_roots.get_or_insert_default();
        }
        // Otherwise others could read whatever this user's credentials open.
        if self.allow_other && is_foreign {
            access.addresses.get_or_insert_default();
        }
        let place = mountpoint::prepare(&self.mountpoint, self.allow_other)?;
        if place.made {
            warn(format_args!("`{}` did not exist and was created", self.mountpoint.display()));
        }
        if place.cleaned {
            eprintln!("dcfs: removed a dead mount at `{}`", self.mountpoint.display());
        }
        let mut arguments: Vec<OsString> = vec!["mount".into(), "--report".into()];
        arguments.extend(self.words.iter().cloned());
        let (allow_other, xattr, look) = (self.allow_other, self.xattr, self.look());
        let mountpoint = place.path;
        let (labels, metrics) = (self.labels.known(), self.metrics);
        let named = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let config = self.access.config.as_ref().map(named);
        Ok(Plan {
            mountpoint,
            access,
            allow_other,
            xattr,
            look,
            labels,
            metrics,
            config,
            arguments,
        })
    }

    fn look(&self) -> Look {
        Look {
            uid: self.uid.unwrap_or_else(|| geteuid().as_raw()),
            gid: self.gid.unwrap_or_else(|| getegid().as_raw()),
            file_mode: self.file_mode.unwrap_or(0o444),
            dir_mode: self.dir_mode.unwrap_or(0o555),
        }
    }

    /// Warns about a catalog of another user, and about restrictions that follow from it.
    fn warn(&self, plan: &Plan) {
        if let Some(why) = access::keeps_nothing(&plan.access.cache, plan.access.cache_size) {
            warn(why);
        }
        let was_told = self.access.no_local_files || !self.access.local_root.is_empty();
        let Some(whose) = catalog::foreign(&plan.access.catalog) else {
            if self.allow_other && !was_told {
                warn(
                    "other users are let in, so files of this machine that rows name (file://) are not read; `--local-root DIR` allows those below a folder",
                );
            }
            return;
        };
        let addresses = match &plan.access.addresses {
            None => {
                "; its rows may make this process ask any bucket or host it can reach: `--allow-uri URI` limits them"
            }
            Some(named) if named.is_empty() => {
                "; no bucket or host that its rows name is asked unless `--allow-uri URI` allows it"
            }
            Some(_) => "",
        };
        let files = match was_told {
            true => "",
            false => {
                "; local files that its rows name are not read unless `--local-root DIR` allows it"
            }
        };
        if !(addresses.is_empty() && files.is_empty()) {
            warn(format_args!(
                "the catalog `{}` is not yours alone: {whose}{files}{addresses}",
                plan.access.catalog.display()
            ));
        }
    }
}

/// The error message of clap, without the usage.
fn first_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::ArgumentConflict {
        let said = |kind| match error.get(kind) {
            Some(clap::error::ContextValue::String(flag)) => {
                flag.split(' ').next().unwrap_or_default().to_owned()
            }
            Some(clap::error::ContextValue::Strings(flags)) => flags.join("`, `"),
            _ => String::new(),
        };
        let (one, other) =
            (said(clap::error::ContextKind::InvalidArg), said(clap::error::ContextKind::PriorArg));
        return format!("`{one}` and `{other}` exclude each other");
    }
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    text.trim_start_matches("error: ").replace('\n', " ").trim().to_owned()
}
