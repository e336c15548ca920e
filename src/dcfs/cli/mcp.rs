//! `dcfs mcp`: the catalog for programs that speak the Model Context Protocol.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::access::AccessArgs;
use super::output::Output;
use super::{places, skill, usage};
use crate::fuse::mounts;
use crate::mcp::clients::Client;
use crate::mcp::http::Listening;
use crate::mcp::{self, Flags, Setup};
use crate::session::{self, Who};
use dcfs_core::error::Result;
use dcfs_data::catalog::{self, Catalog};
use dcfs_data::knowledge::{AT_ONCE, Knowledge};
use dcfs_data::pack::{Limits, Packs};

/// Serve the catalog to agents by the Model Context Protocol, on standard input and output
///
/// Six tools: context, search, query, files, remember, run. Nothing is changed, except by `remember`, which
/// appends a line to dc-knowledge/memory; `run` works only with --allow-write.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Mcp {
    #[command(subcommand)]
    command: Option<Command>,
    /// Let agents make datasets; `map` and `gen` run any program that they name
    #[arg(long)]
    allow_write: bool,
    /// Mountpoint of the catalog, for the agent [default: its latest mount, if there is one]
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// Serve several clients by streamable HTTP, on a local address, e.g. 127.0.0.1:8750; port 0 picks a free
    /// one. Clients send a token: DCFS_MCP_TOKEN, or one that is generated and printed
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    #[command(flatten)]
    access: AccessArgs,
}

const EXAMPLES: &str = "Examples:
  claude mcp add dcfs -- dcfs mcp              Claude Code; `codex mcp add` is the same
  dcfs mcp install --target cursor             write .cursor/mcp.json of this project
  dcfs mcp install --target claude --print     what would be written, and the command that does the same";

#[derive(Debug, Subcommand)]
enum Command {
    /// Register this server with a client: write the project's file, or print what to write
    Install(Install),
}

#[derive(Debug, Args)]
struct Install {
    /// Clients, e.g. `claude,cursor`
    #[arg(
        long = "target",
        value_enum,
        value_delimiter = ',',
        value_name = "CLIENT",
        required = true
    )]
    targets: Vec<Client>,
    /// Folder that contains .datachain [default: found when the server starts, from the client's folder]
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Let agents make datasets
    #[arg(long)]
    allow_write: bool,
    /// Print what would be written, and write nothing
    #[arg(long)]
    print: bool,
}

impl Mcp {
    /// Serves until the client disconnects, or registers.
    pub fn run(self, out: &mut Output) -> Result<()> {
        match &self.command {
            Some(Command::Install(install)) => install.run(out),
            None => {
                let setup = self.setup()?;
                let runtime = session::runtime()?;
                let served = match self.http {
                    None => runtime.block_on(mcp::serve(setup)),
                    Some(address) => runtime.block_on(by_http(address, setup, out)),
                };
                // A read of standard input may still be waiting for a client that will not write again.
                runtime.shutdown_background();
                served
            }
        }
    }

    fn setup(&self) -> Result<Setup> {
        let access = self.access.clone().resolve()?;
        let vfs = access.vfs(session::PATIENT, &[])?;
        let catalog = Arc::new(Catalog::open(&access.catalog)?);
        let tier = access.tier(&catalog, Who::Reader)?;
        let packs = Packs::shared(catalog.clone(), access.cache.clone(), Limits::default(), tier);
        let packs = Arc::new(packs);
        let of = packs.clone();
        // Pages are generated on threads where blocking is allowed.
        let pack = move |version: &_| Handle::current().block_on(of.get(version));
        let folder = Knowledge::default_folder(&catalog);
        let knowledge = Knowledge::new(catalog.clone(), pack, folder).within(AT_ONCE);
        let mount = self.mount.clone().or_else(|| mounts::of_catalog(&access.catalog));
        let words =
            |flag: &str, path: &Path| vec![flag.to_owned(), path.to_string_lossy().into_owned()];
        let flags = Flags {
            catalog: words("--catalog", access.catalog.parent().unwrap_or(&access.catalog)),
            cache: words("--cache-dir", &access.cache),
            ..handed(&self.access)
        };
        let state = places::state().join("mcp");
        let may_write = self.allow_write;
        let usage = places::usage(&access.cache, &access.catalog);
        Ok(Setup { catalog, packs, knowledge, vfs, usage, mount, may_write, state, flags })
    }
}

/// The given flags about stores, for commands that access them too.
fn handed(given: &AccessArgs) -> Flags {
    // Destructured in full, so that the compiler reports a new flag that is missing here.
    let AccessArgs {
        catalog: _,
        cache_dir: _,
        cache_size,
        timeout,
        memory,
        anon,
        endpoint_url,
        region,
        profile,
        request_payer,
        local_root,
        no_local_files,
        allow_uri,
        config,
    } = given;
    let path = |path: &PathBuf| {
        std::path::absolute(path).unwrap_or_else(|_| path.clone()).to_string_lossy().into_owned()
    };
    let mut limits = Vec::new();
    limits.extend(anon.then(|| "--anon".to_owned()));
    limits.extend(request_payer.then(|| "--request-payer".to_owned()));
    limits.extend(no_local_files.then(|| "--no-local-files".to_owned()));
    limits.extend(endpoint_url.iter().map(|url| format!("--endpoint-url={url}")));
    limits.extend(region.iter().map(|region| format!("--region={region}")));
    limits.extend(profile.iter().map(|profile| format!("--profile={profile}")));
    limits.extend(config.iter().map(|file| format!("--config={}", path(file))));
    limits.extend(local_root.iter().map(|root| format!("--local-root={}", path(root))));
    limits.extend(allow_uri.iter().map(|uri| format!("--allow-uri={uri}")));
    let mut sizes = Vec::new();
    sizes.extend(cache_size.map(|bytes| format!("--cache-size={bytes}")));
    sizes.extend(memory.map(|bytes| format!("--memory={bytes}")));
    sizes.extend(timeout.map(|time| format!("--timeout={}ms", time.as_millis())));
    Flags { limits, sizes, ..Flags::default() }
}

/// Prints the address and the token, then serves by HTTP until the process ends.
async fn by_http(address: SocketAddr, setup: Setup, out: &mut Output) -> Result<()> {
    let given = std::env::var("DCFS_MCP_TOKEN").ok().filter(|token| !token.is_empty());
    let is_given = given.is_some();
    let token = given.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let listening = Listening::open(address, token.clone()).await?;
    out.line(listening.address()?)?;
    if !is_given {
        out.line(format_args!("Authorization: Bearer {token}"))?;
    }
    out.flush()?;
    listening.serve(setup).await
}

impl Install {
    fn run(&self, out: &mut Output) -> Result<()> {
        let project = skill::project()?;
        let words = self.words()?;
        for client in &self.targets {
            let path = client.file(&project);
            if self.print {
                if let Some(command) = client.command(&words) {
                    out.line(format_args!("for your user only: {command}"))?;
                }
                out.line(format_args!("in {}:", path.display()))?;
                out.text(&client.entered("", &words)?)?;
                continue;
            }
            self.write(*client, &path, &words)?;
            out.line(format_args!("{}: dcfs is a server of it", path.display()))?;
        }
        Ok(())
    }

    fn write(&self, client: Client, path: &Path, words: &[String]) -> Result<()> {
        let told = |error: dcfs_core::error::Error| usage(format!("`{}`: {error}", path.display()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| usage(format!("cannot make `{}`: {error}", folder.display())))?;
        }
        let mut wrong = None;
        skill::change(path, |page| match client.entered(page, words) {
            Ok(text) => Some(text),
            Err(error) => {
                wrong = Some(told(error));
                None
            }
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// The command line that a client runs.
    fn words(&self) -> Result<Vec<String>> {
        let mut words = vec!["dcfs".to_owned(), "mcp".to_owned()];
        if let Some(catalog) = &self.catalog {
            let found = catalog::locate(Some(catalog))?;
            let folder = found.parent().unwrap_or(&found);
            words.extend(["--catalog".to_owned(), folder.to_string_lossy().into_owned()]);
        }
        words.extend(self.allow_write.then(|| "--allow-write".to_owned()));
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn what_was_given_about_stores_is_handed_on() {
        let given = AccessArgs {
            anon: true,
            region: Some("eu".into()),
            local_root: vec!["/a".into(), "/b".into()],
            timeout: Some(Duration::from_millis(1500)),
            ..AccessArgs::default()
        };
        let flags = handed(&given);
        assert_eq!(flags.limits, ["--anon", "--region=eu", "--local-root=/a", "--local-root=/b"]);
        assert_eq!(flags.sizes, ["--timeout=1500ms"]);
        assert!(handed(&AccessArgs::default()).limits.is_empty());
    }
}
