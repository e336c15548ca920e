//! Registration of this server with each client: by the client's own command, or an entry in a project's file.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;

/// The name of the server in every client.
const NAME: &str = "dcfs";

/// A client that speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// GitHub Copilot in VS Code
    Copilot,
    /// Cursor
    Cursor,
    /// Gemini CLI
    Gemini,
    /// OpenCode
    Opencode,
}

impl Client {
    /// The project's file that lists servers.
    pub fn file(self, project: &Path) -> PathBuf {
        project.join(match self {
            Self::Claude => ".mcp.json",
            Self::Codex => ".codex/config.toml",
            Self::Copilot => ".vscode/mcp.json",
            Self::Cursor => ".cursor/mcp.json",
            Self::Gemini => ".gemini/settings.json",
            Self::Opencode => "opencode.json",
        })
    }

    /// The command that registers the server for the user, if the client has one.
    pub fn command(self, words: &[String]) -> Option<String> {
        let words = Provenance { command: words.to_vec(), ..Provenance::default() }.script();
        match self {
            Self::Claude => Some(format!("claude mcp add {NAME} -- {words}")),
            Self::Codex => Some(format!("codex mcp add {NAME} -- {words}")),
            Self::Gemini => Some(format!("gemini mcp add {NAME} {words}")),
            _ => None,
        }
    }

    /// The text of the file with an entry for the server, whose command is `words`; the rest stays.
    ///
    /// # Errors
    /// The file exists and cannot be parsed.
    pub fn entered(self, page: &str, words: &[String]) -> Result<String> {
        let (program, arguments) = words.split_first().ok_or_else(|| wrong("no command"))?;
        match self {
            Self::Codex => toml(page, program, arguments),
            Self::Copilot => entry(
                page,
                "servers",
                json!({ "type": "stdio", "command": program, "args": arguments }),
            ),
            Self::Opencode => entry(page, "mcp", json!({ "type": "local", "command": words })),
            Self::Claude | Self::Cursor | Self::Gemini => {
                entry(page, "mcpServers", json!({ "command": program, "args": arguments }))
            }
        }
    }
}

/// Adds the server below `key` to JSON.
fn entry(page: &str, key: &str, server: Value) -> Result<String> {
    let mut all: Value = match page.trim() {
        "" => json!({}),
        text => serde_json::from_str(text)
            .map_err(|error| wrong(&format!("it is no JSON ({error}); add the entry by hand")))?,
    };
    let servers =
        all.as_object_mut().map(|all| all.entry(key).or_insert(Value::Object(Map::new())));
    let servers = servers.and_then(Value::as_object_mut);
    servers
        .ok_or_else(|| wrong("it is no object; add the entry by hand"))?
        .insert(NAME.into(), server);
    let text =
        serde_json::to_string_pretty(&all).map_err(|error| Error::new(Kind::Broken, error))?;
    Ok(text + "\n")
}

/// Appends a table of the server to TOML. An identical existing table stays; a different one is an error,
/// because nothing here rewrites TOML.
fn toml(page: &str, program: &str, arguments: &[String]) -> Result<String> {
    let head = format!("[mcp_servers.{NAME}]");
    // JSON strings are valid basic strings in TOML.
    let wanted = [format!("command = {}", json!(program)), format!("args = {}", json!(arguments))];
    let mut lines = page.lines().map(str::trim);
    if lines.any(|line| line == head) {
        let table: Vec<&str> = lines.take_while(|line| !line.starts_with('[')).collect();
        if wanted.iter().all(|line| table.contains(&line.as_str())) {
            return Ok(page.to_owned());
        }
        return Err(wrong(&format!(
            "the table `{head}` exists with other lines; change it by hand to `{}` and `{}`",
            wanted[0], wanted[1]
        )));
    }
    let text = format!("{head}\n{}\n{}\n", wanted[0], wanted[1]);
    let gap = if page.is_empty() { "" } else { "\n" };
    Ok(format!("{page}{gap}{text}"))
}

fn wrong(message: &str) -> Error {
    Error::new(Kind::Invalid, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<String> {
        ["dcfs", "mcp", "--catalog", "/a b"].map(str::to_owned).into()
    }

    #[test]
    fn what_is_there_stays() {
        let page = r#"{"theme": "dark", "mcpServers": {"other": {"command": "x"}}}"#;
        let text = Client::Cursor.entered(page, &words()).expect("entered");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["theme"], "dark");
        assert_eq!(value["mcpServers"]["other"]["command"], "x");
        assert_eq!(value["mcpServers"]["dcfs"]["args"], json!(["mcp", "--catalog", "/a b"]));
        for client in Client::value_variants() {
            let once = client.entered("", &words()).expect("entered");
            assert_eq!(client.entered(&once, &words()).expect("again"), once, "{client:?}");
        }
        let toml = Client::Codex.entered("model = \"x\"\n", &words()).expect("entered");
        assert!(
            toml.starts_with("model = \"x\"\n\n[mcp_servers.dcfs]\ncommand = \"dcfs\"\n"),
            "{toml}"
        );
    }

    #[test]
    fn a_table_with_other_lines_is_told() {
        let once = Client::Codex.entered("", &words()).expect("entered");
        let other = [words(), vec!["--allow-write".into()]].concat();
        let error = Client::Codex.entered(&once, &other).expect_err("other arguments").to_string();
        assert!(error.contains("by hand") && error.contains("--allow-write"), "{error}");
    }

    #[test]
    fn a_command_can_be_pasted() {
        let command = Client::Claude.command(&words()).expect("it has one");
        assert_eq!(command, "claude mcp add dcfs -- dcfs mcp --catalog '/a b'");
    }

    #[test]
    fn what_makes_no_sense_is_left_alone() {
        for page in ["{", "[]", r#"{"mcpServers": 5}"#, "// a comment\n{}"] {
            assert!(Client::Claude.entered(page, &words()).is_err(), "{page}");
        }
    }
}
