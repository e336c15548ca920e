//! Datasets of the Hugging Face hub: URLs, tokens, and the headers of its answers.
//!
//! The hub serves a file of any commit at `/datasets/OWNER/NAME/resolve/COMMIT/PATH`. It answers small files
//! itself, with the git id of the blob as etag, and redirects to another host for large ones, whose etag is
//! unrelated. Either way its own answer names the commit in `X-Repo-Commit`, which is the recorded version.
//!
//! The token is `HF_TOKEN`, else the one that `hf auth login` stored: `HF_TOKEN_PATH`, or `token` below
//! `HF_HOME`, `XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface`. It is sent only to the hub
//! (`HF_ENDPOINT`). A table of `config.toml` wins over all of these; if it names another hub, only the table's
//! own token is sent there.

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use super::address::is_dots;
use super::encode;
use super::headers::text;
use super::settings;
use crate::backend::ways;
use crate::error::Error;
use crate::net::{self, Variables};
use crate::pin::Ask;

/// The hub's own endpoint.
const HUB: &str = "https://huggingface.co";

/// A file of a dataset of the Hugging Face hub.
#[derive(Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `OWNER/NAME`, of letters, digits, `.`, `-` and `_` only.
    pub repository: String,
    /// The revision after `@`; a commit recorded in the row takes precedence.
    pub revision: Option<String>,
    /// The path in the repository; no segment is empty, `.` or `..`.
    pub path: String,
}

impl HubFile {
    /// The address that tables of settings are matched against, without a revision.
    pub fn address(&self) -> String {
        format!("hf://datasets/{}/{}", self.repository, self.path)
    }

    /// Parses `OWNER/NAME[@REVISION]/PATH`, as `huggingface_hub` writes it: slashes in a revision are encoded,
    /// except in `refs/convert/...` and `refs/pr/...`.
    ///
    /// # Errors
    /// Why it has no exact meaning.
    pub fn of(path: &[u8]) -> Result<Self, &'static str> {
        const NO_FILE: &str = "its path names no file of a data set; write `OWNER/NAME/PATH`";
        let text = std::str::from_utf8(path).map_err(|_| "its path is not UTF-8")?;
        if text.chars().any(char::is_control) {
            return Err("its path holds a control character");
        }
        let (owner, rest) = text.split_once('/').ok_or(NO_FILE)?;
        let end = rest.find(['/', '@']).ok_or(NO_FILE)?;
        let (name, rest) = rest.split_at(end);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain) && !is_dots(name);
        if !is_name(owner) || !is_name(name) {
            return Err(NO_FILE);
        }
        let (revision, file) = match rest.strip_prefix('@') {
            Some(rest) => revision(rest).map(|(revision, file)| (Some(revision), file)),
            None => rest.strip_prefix('/').map(|file| (None, file)),
        }
        .ok_or(NO_FILE)?;
        if file.split('/').any(|segment| segment.is_empty() || segment == "." || segment == "..") {
            return Err("its path holds an empty, `.` or `..` segment");
        }
        let repository = format!("{owner}/{name}");
        Ok(Self { repository, revision, path: file.to_owned() })
    }
}

/// Splits the text after `@` into a decoded revision and a path.
fn revision(rest: &str) -> Option<(String, &str)> {
    let special = ["refs/convert/", "refs/pr/"].into_iter().find(|refs| rest.starts_with(refs));
    let start = special.map_or(0, str::len);
    let end = start + rest[start..].find('/')?;
    let revision = rest[..end].replace("%2F", "/").replace("%2f", "/");
    (end > start).then(|| (revision, &rest[end + 1..]))
}

/// The hub's endpoint, and the token.
pub struct Hub {
    endpoint: Result<String, String>,
    /// Marked sensitive, so that it is not printed.
    token: Result<Option<HeaderValue>, String>,
}

impl Hub {
    /// Reads the token's file, if the token comes from one.
    pub fn new(anon: bool, environment: &Variables, table: Option<&settings::Hf>) -> Self {
        let find = |name: &str| net::find(environment, name).filter(|value| !value.is_empty());
        let said = |given: &str| net::endpoint(given).map_err(|error| error.to_string());
        let usual = said(find("HF_ENDPOINT").unwrap_or(HUB));
        let own = table.and_then(|table| table.endpoint_url.as_deref()).map(said);
        let is_other = own.as_ref().is_some_and(|own| *own != usual);
        let is_silent = is_other || net::is_yes(find("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let token = || {
            let told = find("HF_TOKEN").or_else(|| find("HUGGING_FACE_HUB_TOKEN"));
            let text =
                told.map(str::to_owned).or_else(|| std::fs::read_to_string(file(&find)?).ok());
            bearer(text?.trim())
        };
        let token = match table.and_then(|table| table.token.as_ref()) {
            _ if anon || table.is_some_and(|table| table.anon) => Ok(None),
            Some(named) => ways::secret(named, environment).and_then(|text| {
                let none = || "the token that it names is invalid".to_owned();
                bearer(&text).ok_or_else(none).map(Some)
            }),
            None if is_silent => Ok(None),
            None => Ok(token()),
        };
        Self { endpoint: own.unwrap_or(usual), token }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `Setting` for an invalid endpoint, and for a token that is not where it should be.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = self.endpoint.as_ref().err().or(self.token.as_ref().err());
        wrong.map_or(Ok(()), |wrong| Err(Error::Setting(wrong.clone())))
    }

    /// A description of the identity.
    pub fn whose(&self) -> String {
        match &self.token {
            Ok(Some(_)) => "a token".into(),
            Ok(None) => "anonymous".into(),
            Err(error) => error.clone(),
        }
    }

    /// The server, to tell objects of two hubs apart, and for messages.
    pub fn server(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(HUB)
    }

    pub fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref().ok()?.as_ref()
    }

    /// The URL of `file`.
    ///
    /// # Errors
    /// `Setting` for an invalid endpoint.
    pub fn url(&self, file: &HubFile, ask: &Ask) -> Result<Url, Error> {
        self.check()?;
        let endpoint = self.endpoint.as_deref().unwrap_or(HUB);
        let revision = match ask {
            Ask::Version(commit) => commit,
            _ => file.revision.as_deref().unwrap_or("main"),
        };
        let (repository, path) = (&file.repository, encode::key(&file.path));
        let revision = encode::segment(revision.as_bytes());
        let url = format!("{endpoint}/datasets/{repository}/resolve/{revision}/{path}");
        Url::parse(&url).map_err(|_| Error::Setting(format!("`{}` is no hub", self.server())))
    }
}

/// The file where `hf auth login` stores the token.
fn file<'a>(find: &impl Fn(&str) -> Option<&'a str>) -> Option<PathBuf> {
    if let Some(path) = find("HF_TOKEN_PATH") {
        return Some(path.into());
    }
    let home = find("HF_HOME").map(PathBuf::from);
    let cache = || find("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("huggingface"));
    let user = || find("HOME").map(|home| PathBuf::from(home).join(".cache/huggingface"));
    Some(home.or_else(cache).or_else(user)?.join("token"))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| plain)?;
    value.set_sensitive(true);
    Some(value)
}

/// The headers of the hub's own answer about an object, whoever sends the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The resolved commit.
    pub commit: Option<String>,
    /// The git id of the blob; absent for large files.
    pub blob: Option<String>,
}

impl Told {
    /// Reads an answer of the hub, which may be a redirect.
    pub fn of(headers: &HeaderMap) -> Self {
        let is_large = headers.contains_key("x-linked-etag");
        let etag = text(headers, "etag").filter(|_| !is_large);
        let commit = text(headers, "x-repo-commit").filter(|commit| !commit.is_empty());
        Self { commit, blob: etag.filter(|etag| is_git_id(etag)) }
    }
}

/// Whether an etag, quoted or weak, is a git id: others belong to the host that sends the bytes.
fn is_git_id(etag: &str) -> bool {
    let id = etag.trim_start_matches("W/").trim_matches('"');
    id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn hub(anon: bool, variables: Pairs<'_>) -> Hub {
        told("", anon, variables)
    }

    /// A hub with a table.
    fn told(table: &str, anon: bool, variables: Pairs<'_>) -> Hub {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let text = format!("[\"hf://\"]\n{table}");
        let settings = crate::Settings::parse("/c".as_ref(), &text).unwrap();
        let (_, table) = settings.all::<settings::Hf>().next().unwrap();
        Hub::new(anon, &variables.iter().map(own).collect(), Some(table))
    }

    #[test]
    fn a_table_wins_over_the_environment() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("t"), "of-file\n").unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let (token, other) = (("HF_TOKEN", "secret"), ("OTHER", "of-other"));
        let (hub, silent) = (("HF_ENDPOINT", "http://h:1"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"));
        let cases: [(&str, Pairs<'_>, &str, Option<&str>); 8] = [
            ("", &[token, hub], "http://h:1", Some("secret")),
            ("anon = true", &[token, hub], "http://h:1", None),
            ("token_env = 'OTHER'", &[token, other, silent], HUB, Some("of-other")),
            ("token_file = '~/t'", &[token, home], HUB, Some("of-file")),
            ("endpoint_url = 'http://h:2/'", &[token, hub], "http://h:2", None),
            ("endpoint_url = 'http://h:1/'", &[token, hub], "http://h:1", Some("secret")),
            (
                "endpoint_url = 'http://h:2'\ntoken_env = 'HF_TOKEN'",
                &[token, hub],
                "http://h:2",
                Some("secret"),
            ),
            (
                "endpoint_url = 'http://h:2'",
                &[token, ("HF_ENDPOINT", "broken")],
                "http://h:2",
                None,
            ),
        ];
        for (table, variables, server, token) in cases {
            let hub = told(table, false, variables);
            hub.check().unwrap();
            let want = token.map(|token| format!("Bearer {token}"));
            assert_eq!(hub.server(), server, "{table}");
            assert_eq!(hub.token().map(|t| t.to_str().unwrap()), want.as_deref(), "{table}");
            assert!(told(table, true, variables).token().is_none());
        }
        let wrong: [(&str, Pairs<'_>, &str); 4] = [
            ("token_env = 'OTHER'", &[token], "the variable `OTHER` is not set"),
            ("token_env = 'OTHER'", &[("OTHER", "a\nhush")], "the token that it names is invalid"),
            ("token_file = '/nonexistent/t'", &[token], "`/nonexistent/t` cannot be used: there"),
            ("endpoint_url = 'http://u:hush@h'", &[], "`h` is not an endpoint"),
        ];
        for (table, variables, message) in wrong {
            let error = told(table, false, variables).check().unwrap_err().to_string();
            assert!(error.starts_with(message) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn the_token_is_that_of_the_hubs_own_tools() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(at(".cache/huggingface")).unwrap();
        for name in ["token", "xdg", ".cache/huggingface/token"] {
            std::fs::write(at(name), format!(" of-{name}\n").replace('/', "-")).unwrap();
        }
        let (folder, path) = (at(""), at("xdg"));
        let home = ("HOME", folder.as_str());
        let cases: [(Pairs<'_>, Option<&str>); 8] = [
            (&[("HF_TOKEN", "secret"), home], Some("secret")),
            (&[home], Some("of-.cache-huggingface-token")),
            (&[("HF_HOME", &folder), home], Some("of-token")),
            (&[("HF_TOKEN_PATH", &path), home], Some("of-xdg")),
            (&[("XDG_CACHE_HOME", "/nonexistent"), home], None),
            (&[("HF_TOKEN", "a\nb"), home], None),
            (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), home], None),
            (&[], None),
        ];
        for (variables, token) in cases {
            let got = hub(false, variables);
            let want = token.map(|token| format!("Bearer {token}"));
            assert_eq!(got.token().map(|t| t.to_str().unwrap()), want.as_deref(), "{variables:?}");
            assert!(!format!("{:?}", got.token()).contains("secret"));
            assert!(hub(true, variables).token().is_none());
        }
    }

    #[test]
    fn a_file_is_asked_for_at_its_commit() {
        let file = |revision: Option<&str>| HubFile {
            repository: "own-er/n.a_me".into(),
            revision: revision.map(str::to_owned),
            path: "a b/%20#?\u{e9}.bin".into(),
        };
        let version = Ask::Version("0123abcd".into());
        let path = "a%20b/%2520%23%3F%C3%A9.bin";
        let cases = [
            (file(None), version, "0123abcd"),
            (file(Some("refs/pr/1")), Ask::Any, "refs%2Fpr%2F1"),
            (file(None), Ask::Any, "main"),
        ];
        for (file, ask, revision) in cases {
            let url = hub(true, &[("HF_ENDPOINT", "http://h:1/")]).url(&file, &ask).unwrap();
            let want = format!("http://h:1/datasets/own-er/n.a_me/resolve/{revision}/{path}");
            assert_eq!(url.as_str(), want);
        }
        let error = hub(true, &[("HF_ENDPOINT", "h")]).url(&file(None), &Ask::Any).unwrap_err();
        assert_eq!(error.to_string(), "`h` is not an endpoint; write `http[s]://host[:port]`");
    }

    #[test]
    fn files_are_named_as_huggingface_hub_names_them() {
        let of = |path: &str| {
            let file = HubFile::of(path.as_bytes()).unwrap();
            (file.repository, file.revision, file.path)
        };
        let file = |revision: Option<&str>, path: &str| {
            ("o-1/n_2.x".to_owned(), revision.map(str::to_owned), path.to_owned())
        };
        let cases = [
            ("o-1/n_2.x/a b/c%20#?", file(None, "a b/c%20#?")),
            ("o-1/n_2.x@v1/a@b", file(Some("v1"), "a@b")),
            ("o-1/n_2.x@a%2Fb/c", file(Some("a/b"), "c")),
            ("o-1/n_2.x@refs/convert/parquet/c", file(Some("refs/convert/parquet"), "c")),
            ("o-1/n_2.x@refs/pr/7/c/d", file(Some("refs/pr/7"), "c/d")),
            ("o-1/n_2.x@refs/other", file(Some("refs"), "other")),
        ];
        for (path, want) in cases {
            assert_eq!(of(path), want, "{path}");
        }
    }

    #[test]
    fn only_an_id_of_git_tells() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let read = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
            });
            Told::of(&pairs.collect::<HeaderMap>())
        };
        let quoted = format!("\"{id}\"");
        let told = read(&[("etag", &quoted), ("x-repo-commit", "c")]);
        assert_eq!(told, Told { commit: Some("c".into()), blob: Some(quoted.clone()) });
        assert_eq!(read(&[("etag", &quoted), ("x-linked-etag", "\"x\"")]), Told::default());
        assert_eq!(read(&[("etag", "\"of-a-cdn\""), ("x-repo-commit", "")]), Told::default());
    }
}
