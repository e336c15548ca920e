//! The address of a team's catalog, `studio://TEAM`, and the account it is read with.
//!
//! The server and the token come from where DataChain's client has them: `DATACHAIN_STUDIO_URL` and `DATACHAIN_STUDIO_TOKEN`,
//! else the table `[studio]` of its settings, the user's before the system's, which `datachain auth login` writes. The settings
//! of a folder (`.datachain/config`) are left out: whoever unpacks an archive there could have the token sent to another server.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use dcfs_disk::regular;
use percent_encoding::percent_decode_str;
use toml::de::{DeTable, DeValue};

use super::error::StudioError;
use super::folder;

/// The scheme of an address.
const SCHEME: &str = "studio://";

/// The server if none is named.
const SERVER: &str = "https://studio.datachain.ai";

/// The longest name of a team, and the longest file of settings.
const LONGEST: usize = 200;
const LONGEST_FILE: u64 = 1 << 20;

/// A secret. Its `Debug` form hides it.
#[derive(Clone)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// A team on a server, and the right to read it.
#[derive(Clone, Debug)]
pub struct Account {
    pub team: String,
    /// `https://HOST[:PORT][/PATH]`, without a slash at its end.
    pub url: String,
    pub token: Token,
}

/// Whether the named catalog is an address of Studio.
pub fn is_address(given: &Path) -> bool {
    given.to_str().is_some_and(|given| given.starts_with(SCHEME))
}

impl Account {
    /// The account that an address means.
    ///
    /// # Errors
    /// An invalid address, settings that cannot be read, no token.
    pub fn of(given: &Path) -> Result<Self, StudioError> {
        let variable = |name: &str| {
            let value = std::env::var(format!("DATACHAIN_STUDIO_{name}"));
            value.ok().filter(|value| !value.is_empty())
        };
        let said = Said::read()?;
        let team = team(&given.to_string_lossy())?;
        let team = team.or_else(|| variable("TEAM")).or(said.team).ok_or(StudioError::NoTeam)?;
        let url = variable("URL").or(said.url).unwrap_or_else(|| SERVER.to_owned());
        let token = variable("TOKEN").or(said.token).ok_or(StudioError::NoToken)?;
        Ok(Self { team, url: server(&url)?, token: Token(token) })
    }
}

/// The team that an address names, if it names one.
///
/// # Errors
/// An invalid address.
pub fn team(given: &str) -> Result<Option<String>, StudioError> {
    let wrong = |why| StudioError::Address { why };
    let rest = given.strip_prefix(SCHEME).ok_or(wrong("it does not begin with `studio://`"))?;
    let team = rest.trim_end_matches('/');
    if team.contains(['/', '?', '#', '@', ':']) {
        // A token that somebody wrote into it is not repeated.
        return Err(wrong("it is the name of a team, and nothing else"));
    }
    let team = percent_decode_str(team).decode_utf8().map_err(|_| wrong("it is not UTF-8"))?;
    if team.contains(char::is_control) || team.len() > LONGEST {
        return Err(wrong("that is not the name of a team"));
    }
    Ok(Some(team.into_owned()).filter(|team| !team.is_empty()))
}

/// The server of a URL, without a slash at its end.
fn server(url: &str) -> Result<String, StudioError> {
    let url = url.trim().trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_server = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        let is_plain = !rest.contains(|c: char| c.is_control() || c.is_whitespace());
        !host.is_empty() && is_plain && !rest.contains(['@', '?', '#'])
    });
    // It may hold a password, and is not repeated.
    if !is_server {
        return Err(StudioError::Url);
    }
    match url.strip_prefix("http://") {
        Some(rest) if !is_this_machine(rest) => Err(StudioError::Plain),
        _ => Ok(url.to_owned()),
    }
}

/// Whether `HOST[:PORT][/PATH]` is of this machine: a token that goes there passes no network.
fn is_this_machine(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    if let Some(rest) = authority.strip_prefix('[') {
        let host = rest.split(']').next().unwrap_or_default();
        return host.parse::<Ipv6Addr>().is_ok_and(|host| host.is_loopback());
    }
    let host = authority.split(':').next().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_loopback())
}

/// What settings of DataChain say of Studio.
#[derive(Debug, Default)]
struct Said {
    url: Option<String>,
    token: Option<String>,
    team: Option<String>,
}

impl Said {
    fn read() -> Result<Self, StudioError> {
        let mut said = Self::default();
        for file in files() {
            let text = match regular::read_text(&file, LONGEST_FILE) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(StudioError::Settings { file, what: error.to_string() });
                }
            };
            let found = Self::parse(&text);
            let found =
                found.ok_or(StudioError::Settings { file, what: "it is not TOML".into() })?;
            said.url = said.url.or(found.url);
            said.token = said.token.or(found.token);
            said.team = said.team.or(found.team);
        }
        Ok(said)
    }

    /// The table `[studio]`; `None` of what is not TOML.
    fn parse(text: &str) -> Option<Self> {
        let all = DeTable::parse(text).ok()?.into_inner();
        let Some(DeValue::Table(studio)) = all.get("studio").map(|value| value.get_ref()) else {
            return Some(Self::default());
        };
        let text = |name: &str| match studio.get(name)?.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
            _ => None,
        };
        Some(Self { url: text("url"), token: text("token"), team: text("team") })
    }
}

/// The files of settings, the user's first.
fn files() -> [PathBuf; 2] {
    let named =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = named("DATACHAIN_GLOBAL_CONFIG_DIR").unwrap_or_else(|| {
        let base = named("XDG_CONFIG_HOME").unwrap_or_else(|| folder::home().join(".config"));
        base.join("datachain")
    });
    let system = named("DATACHAIN_SYSTEM_CONFIG_DIR");
    let system = system.unwrap_or_else(|| {
        // The first folder alone, as `platformdirs` takes it.
        let all = std::env::var_os("XDG_CONFIG_DIRS").unwrap_or_default();
        let first = std::env::split_paths(&all).next().filter(|path| path.is_absolute());
        first.unwrap_or_else(|| PathBuf::from("/etc/xdg")).join("datachain")
    });
    [user.join("config"), system.join("config")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_name_of_a_team() {
        let cases = [
            ("studio://team", Some("team")),
            ("studio://team/", Some("team")),
            ("studio://a%20b", Some("a b")),
            ("studio://", None),
        ];
        for (given, want) in cases {
            let found = team(given).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(found.as_deref(), want, "{given}");
        }
        let bad = ["studio://u:secret@team", "studio://team?token=secret", "studio://secret@t/x"];
        for given in bad {
            let error = team(given).expect_err(given).to_string();
            assert!(!error.contains("secret"), "{given}: {error}");
        }
        assert!(team("studio://a%00b").is_err() && team("studio://%ff").is_err());
    }

    #[test]
    fn a_server_is_one_of_the_web() {
        assert_eq!(server("https://a.b/").expect("one"), "https://a.b");
        assert_eq!(server("http://127.0.0.1:80/x").expect("one"), "http://127.0.0.1:80/x");
        for bad in ["", "a.b", "ftp://a", "https://", "https://u:p@h", "https://h?x", "https://a b"]
        {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_goes_unencrypted_to_this_machine_alone() {
        for good in
            ["http://localhost", "http://LOCALHOST:8080/x", "http://127.9.9.9", "http://[::1]:1"]
        {
            assert_eq!(server(good).expect("of this machine"), good);
        }
        let bad =
            ["http://a.b", "http://localhost.a.b", "http://127.0.0.1.a.b", "http://10.0.0.1:80/"];
        for bad in bad.into_iter().chain(["http://[2001:db8::1]", "http://0.0.0.0"]) {
            let refused = server(bad);
            assert!(matches!(refused, Err(StudioError::Plain)), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn settings_are_those_of_datachain() {
        let said = Said::parse("[studio]\ntoken = \"t\"\nteam = \"x\"\n").expect("TOML");
        assert_eq!((said.token.as_deref(), said.team.as_deref()), (Some("t"), Some("x")));
        assert!(Said::parse("a = 1").expect("TOML").token.is_none());
        assert!(Said::parse("[studio").is_none());
        assert_eq!(format!("{:?}", Token("secret".into())), "...");
    }
}
