//! The command line: commands, their help, their output and their exit codes.
//!
//! A command is one file: its arguments (the doc comments are the help), and `run`, which delegates. Results go
//! to stdout, everything else to stderr. Only the command line and other entry points read the environment.
//!
//! | file | contents |
//! |---|---|
//! | [`mount`], [`daemon`] | `dcfs mount`, and the background process behind it |
//! | [`access`] | the flags for the catalog and the bytes, and the file system over them |
//! | [`helper`], [`options`] | `mount -t fuse.dcfs` and fstab; `-o` |
//! | [`unmount`], [`status`], [`registry`], [`log`] | existing mounts, and their state |
//! | [`ls`], [`page`], [`show`] | the contents of the catalog, without a mount |
//! | [`asking`], [`count`], [`explain`], [`path`] | filters |
//! | [`stats`], [`knowledge`] | statistics of the columns of a dataset; pages about all datasets |
//! | [`sql`], [`group`], [`merge`], [`union`], [`subtract`], [`answering`] | SELECTs over datasets |
//! | [`cat`], [`cp`], [`copy`] | files of the mount, without a mount |
//! | [`list`] | listings of buckets and folders; for tests |
//! | [`index`], [`load`] | new datasets from storage, and from the records of a file |
//! | [`map`], [`runs`] | programs over the files of a dataset |
//! | [`refresh`], [`again`] | recorded commands, run again |
//! | [`save`], [`rm`], [`mv`], [`describe`], [`naming`] | changes to the catalog |
//! | [`cache`], [`sharing`] | cached objects; the folder that hosts share |
//! | [`systemd`], [`metrics`] | reports to service managers and Prometheus |
//! | [`man`] | the manual pages |
//! | [`complete`] | shell completion: datasets, versions, columns, mountpoints |
//! | [`diff`] | differences between two versions |
//! | [`warm`], [`plan`], [`verify`], [`selecting`] | all objects of a dataset |
//! | [`csi`] | Kubernetes volumes |
//! | [`mcp`] | the catalog for clients of the Model Context Protocol |
//! | [`remember`] | notes for later readers |
//! | [`why`] | the origin of a row |
//! | [`skill`] | instructions for coding agents |
//! | [`doctor`] | checks of this machine |
//! | [`output`], [`progress`], [`interrupt`], [`terminal`], `waits` | stdout and JSON; progress, waits, and Ctrl-C |
//! | [`places`] | the user's folders |

pub mod access;
pub mod again;
pub mod answering;
pub mod asking;
pub mod cache;
pub mod cat;
mod catalogs;
pub mod complete;
pub mod copy;
pub mod count;
pub mod cp;
pub mod csi;
pub mod daemon;
pub mod describe;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod fetched;
mod group;
pub mod helper;
pub mod index;
pub mod interrupt;
pub mod knowledge;
mod lake;
pub mod list;
pub mod load;
pub mod log;
pub mod ls;
pub mod man;
pub mod map;
pub mod mcp;
pub mod merge;
pub mod metrics;
pub mod mount;
pub mod mv;
pub mod naming;
pub mod options;
pub mod output;
pub mod page;
pub mod path;
pub mod plan;
pub mod places;
pub mod progress;
mod pulls;
pub mod refresh;
pub mod registry;
pub mod remember;
mod remembered;
pub mod rm;
pub mod runs;
pub mod save;
pub mod selecting;
pub mod sharing;
mod shell;
pub mod show;
pub mod skill;
pub mod sql;
pub mod stats;
pub mod status;
pub mod subtract;
pub mod systemd;
pub mod terminal;
pub mod union;
pub mod unmount;
pub mod verify;
pub mod view;
mod waits;
pub mod warm;
pub mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::env::{CompleteEnv, Shells};

use dcfs_core::error::{Kind, Result};
use dcfs_data::catalog::{self, Catalog};
use output::Output;

/// Versioned, typed datasets over object storage, as plain directories
///
/// Mounts the catalog that DataChain writes (.datachain/db): every saved version of every dataset is a
/// directory of its rows' files, fetched from the cloud or disk when they are read.
#[derive(Debug, Parser)]
#[command(name = "dcfs", version, after_help = EXAMPLES)]
struct Dcfs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  dcfs mount /mnt/dc                     the catalog of this folder, or of its parents
  ls /mnt/dc/datasets/pets@latest/
  dcfs index ./photos --save photos      a dataset of what is in a folder or a bucket
  dcfs ls pets                           the versions of a dataset, without a mount
  dcfs show pets -o pets.parquet         its rows, as a table for pandas or DuckDB
  dcfs cp -r pets/images .               its files, without a mount
  dcfs save pets --where \"info.width > 400\" --as wide
  dcfs unmount /mnt/dc";

#[derive(Debug, Subcommand)]
enum Command {
    Mount(mount::Mount),
    #[command(visible_alias = "umount")]
    Unmount(unmount::Unmount),
    Status(status::Status),
    Ls(ls::Ls),
    #[command(hide = true)]
    List(list::List),
    Show(show::Show),
    Sql(sql::Sql),
    Group(group::Group),
    Merge(merge::Merge),
    Union(union::Union),
    Subtract(subtract::Subtract),
    Count(count::Count),
    Stats(stats::Stats),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Path(path::PathOf),
    Save(save::Save),
    Rm(rm::Rm),
    Mv(mv::Mv),
    Describe(describe::Describe),
    Schema(page::Schema),
    Lineage(page::Lineage),
    Why(why::Why),
    Knowledge(knowledge::KnowledgeCommand),
    Cat(cat::Cat),
    Cp(cp::Cp),
    Export(export::Export),
    Index(index::Index),
    Load(load::Load),
    Map(map::Map),
    Gen(map::Gen),
    Agg(map::Agg),
    View(view::View),
    Runs(runs::Runs),
    Refresh(refresh::Refresh),
    Warm(warm::Warm),
    Plan(plan::Plan),
    Verify(verify::Verify),
    Cache(cache::Cache),
    #[command(name = "catalog")]
    Catalogs(catalogs::Catalogs),
    Csi(csi::Csi),
    Mcp(mcp::Mcp),
    Remember(remember::Remember),
    Skill(skill::Skill),
    Doctor(doctor::Doctor),
    Completions(Completions),
    #[command(hide = true)]
    Man(man::Manual),
}

/// Print a script for the shell to complete commands, flags, datasets, versions and columns
///
/// For this session: `source <(dcfs completions bash)`.
#[derive(Debug, clap::Args)]
struct Completions {
    /// bash, zsh, fish, elvish or powershell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints a few lines that make the shell run this program at each tab.
    fn run(&self, out: &mut Output) -> Result<()> {
        let shells = Shells::builtins();
        let name = self.shell.to_string();
        let Some(shell) = shells.completer(&name) else {
            return Err(usage(format!("`{name}` completes nothing")));
        };
        let mut text = Vec::new();
        let written = shell.write_registration("COMPLETE", "dcfs", "dcfs", "dcfs", &mut text);
        written.map_err(|error| dcfs_core::error::Error::new(Kind::Broken, error))?;
        out.raw(&text)?;
        match self.shell {
            // Otherwise bash splits `pets@1` into three words, the last of which is not a dataset.
            clap_complete::Shell::Bash => out.raw(b"COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}\n"),
            _ => Ok(()),
        }
    }
}

/// The catalog that a command reads.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CatalogArg {
    /// Folder that contains .datachain, or the .datachain folder itself, or the address of a catalog on
    /// servers, clickhouse://HOST/DATABASE?metastore=postgresql://HOST/DATABASE or studio://TEAM [default: DATACHAIN_DIR,
    /// DATACHAIN_ROOT_DIR, this folder, then its parents]
    #[arg(long, value_name = "DIR")]
    pub catalog: Option<PathBuf>,
}

impl CatalogArg {
    /// Finds and opens it.
    pub fn open(&self) -> Result<Catalog> {
        Catalog::open(&catalog::locate(self.catalog.as_deref())?)
    }
}

/// Runs the program: arguments in, exit code out.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // A completion request of the shell: the candidates are all that is printed.
    CompleteEnv::with_factory(Dcfs::command).complete();
    if let Some(helper) = helper::Helper::recognise(&args) {
        return helper.run();
    }
    let dcfs = match Dcfs::try_parse_from(&args) {
        Ok(dcfs) => dcfs,
        // clap prints help to stdout with 0 and usage errors to stderr with 2.
        Err(error) => {
            print_usage(&error, &args);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Output::stdout();
    let ran = match dcfs.command {
        // Parsed again, together with the options of `-o`.
        Command::Mount(_) => {
            mount::Mount::parse(args[2..].to_vec()).and_then(|mount| mount.run(&mut out))
        }
        // It writes a log.
        Command::Csi(command) => command.run(&mut out),
        command => {
            waits::tell();
            pulls::tell();
            command.run(&mut out)
        }
    };
    finish(ran, &mut out)
}

impl Command {
    fn run(self, out: &mut Output) -> Result<()> {
        match self {
            Self::Mount(command) => command.run(out),
            Self::Unmount(command) => command.run(out),
            Self::Status(command) => command.run(out),
            Self::Ls(command) => command.run(out),
            Self::List(command) => command.run(out),
            Self::Show(command) => command.run(out),
            Self::Sql(command) => command.run(out),
            Self::Group(command) => command.run(out),
            Self::Merge(command) => command.run(out),
            Self::Union(command) => command.run(out),
            Self::Subtract(command) => command.run(out),
            Self::Count(command) => command.run(out),
            Self::Stats(command) => command.run(out),
            Self::Diff(command) => command.run(out),
            Self::Explain(command) => command.run(out),
            Self::Path(command) => command.run(out),
            Self::Save(command) => command.run(out),
            Self::Rm(command) => command.run(out),
            Self::Mv(command) => command.run(out),
            Self::Catalogs(command) => command.run(out),
            Self::Describe(command) => command.run(out),
            Self::Schema(command) => command.run(out),
            Self::Lineage(command) => command.run(out),
            Self::Why(command) => command.run(out),
            Self::Knowledge(command) => command.run(out),
            Self::Cat(command) => command.run(out),
            Self::Cp(command) => command.run(out),
            Self::Export(command) => command.run(out),
            Self::Index(command) => command.run(out),
            Self::Load(command) => command.run(out),
            Self::Map(command) => command.run(out),
            Self::Gen(command) => command.run(out),
            Self::Agg(command) => command.run(out),
            Self::View(command) => command.run(out),
            Self::Runs(command) => command.run(out),
            Self::Refresh(command) => command.run(out),
            Self::Warm(command) => command.run(out),
            Self::Plan(command) => command.run(out),
            Self::Verify(command) => command.run(out),
            Self::Cache(command) => command.run(out),
            Self::Csi(command) => command.run(out),
            Self::Mcp(command) => command.run(out),
            Self::Remember(command) => command.run(out),
            Self::Skill(command) => command.run(out),
            Self::Doctor(command) => command.run(out),
            Self::Completions(command) => command.run(out),
            Self::Man(command) => command.run(Dcfs::command(), out),
        }
    }
}

/// Reports an error and returns the exit code. A closed pipe means that the reader has seen enough.
fn finish(result: Result<()>, out: &mut Output) -> ExitCode {
    match result.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if out.is_closed() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dcfs: {}", output::sanitized(&error.to_string()));
            ExitCode::from(error.kind().codes().1)
        }
    }
}

/// Help, or what is wrong with the command line. What was typed may have been copied from a stranger's page, and clap repeats it.
fn print_usage(error: &clap::Error, args: &[OsString]) {
    let is_plain = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        output::sanitized(&arg) == arg
    };
    if !error.use_stderr() || args.iter().all(is_plain) {
        error.print().ok();
    } else {
        eprint!("{}", output::sanitized(&error.render().to_string()));
    }
}

/// The command as typed, to be recorded with what it saves.
fn command_line() -> Vec<OsString> {
    std::iter::once("dcfs".into()).chain(std::env::args_os().skip(1)).collect()
}

/// Prints a warning on stderr.
fn warn(message: impl std::fmt::Display) {
    eprintln!("dcfs: {}", output::sanitized(&message.to_string()));
}

/// An error in the command line itself.
fn usage(message: impl Into<String>) -> dcfs_core::error::Error {
    dcfs_core::error::Error::new(Kind::Invalid, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Dcfs::command().debug_assert();
    }
}
