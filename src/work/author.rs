//! Who saves, from where and by which command: what lineage tells beside a version's parents.
//!
//! Nothing of this may stop a save: whatever is not there is left out, and no program is run. A catalog is shared with
//! others, so secrets in URLs are not kept.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use nix::unistd::{User, geteuid, gethostname};

use super::git;
use dcfs_core::provenance::Provenance;

/// Characters of one text that are kept.
const LONGEST: usize = 1 << 20;

/// Everything that can be found out, for a save by `command` with `filter`.
pub fn ask(command: &[OsString], filter: Option<String>) -> Provenance {
    let folder = env::current_dir().ok();
    let home = env::var_os("HOME");
    let text = |text: &OsString| masked(&text.to_string_lossy());
    Provenance {
        user: Some(user()),
        host: gethostname().ok().map(|host| host.to_string_lossy().into_owned()),
        git: folder.as_deref().and_then(|folder| git::of(folder, home.as_deref().map(Path::new))),
        folder: folder.map(|folder| folder.to_string_lossy().into_owned()),
        command: command.iter().map(text).collect(),
        filter: filter.map(|filter| masked(&filter)),
    }
}

/// As the password file names who runs this; the number where it does not.
fn user() -> String {
    let known = User::from_uid(geteuid()).ok().flatten();
    known.map_or_else(|| geteuid().to_string(), |user| user.name)
}

/// A text without the passwords of its URLs, and without the signatures of signed ones.
fn masked(text: &str) -> String {
    let text: String = text.chars().take(LONGEST).collect();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + "://".len());
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        let (url, after) = tail.split_at(tail.find(ends).unwrap_or(tail.len()));
        out += head;
        out += &without_signature(&without_password(url));
        rest = after;
    }
    out + rest
}

/// `user:***@host/...` of what stands after `://`.
fn without_password(url: &str) -> String {
    let Some((who, rest)) = url.rsplit_once('@') else { return url.to_owned() };
    let Some((user, password)) = who.split_once(':') else { return url.to_owned() };
    // `host:8080/a@b` has a port, and `bucket/a:b@c` a path.
    let port =
        password.split_once('/').is_some_and(|(port, _)| port.bytes().all(|b| b.is_ascii_digit()));
    match user.contains('/') || port {
        true => url.to_owned(),
        false => format!("{user}:***@{rest}"),
    }
}

/// Parameters whose values open an object to whoever has them.
const SIGNATURES: [&str; 5] =
    ["sig", "signature", "x-amz-signature", "x-amz-security-token", "x-goog-signature"];

fn without_signature(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if SIGNATURES.contains(&name.to_ascii_lowercase().as_str()) => {
            format!("{name}=***")
        }
        _ => part.to_owned(),
    });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_kept() {
        let cases = [
            ("pets", "pets"),
            ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
            ("http://host:8080/x@y", "http://host:8080/x@y"),
            ("http://ann:secret@host/x", "http://ann:***@host/x"),
            ("http://ann:se@cr/et@host/x", "http://ann:***@host/x"),
            ("http://ann:123@host", "http://ann:***@host"),
            ("http://:secret@host", "http://:***@host"),
            ("az://data@account/x", "az://data@account/x"),
            (
                "a = \"http://u:p@h/x\" or b = 'ftp://u:p@h'",
                "a = \"http://u:***@h/x\" or b = 'ftp://u:***@h'",
            ),
            ("https://h/x?a=1&X-Amz-Signature=abc&b=2", "https://h/x?a=1&X-Amz-Signature=***&b=2"),
            ("https://h/x?SIG=a%3D&sv=1", "https://h/x?SIG=***&sv=1"),
            ("://", "://"),
            ("a ://:@ b", "a ://:***@ b"),
        ];
        for (text, want) in cases {
            assert_eq!(masked(text), want);
        }
    }

    #[test]
    fn a_folder_without_git_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(git::of(folder.path(), None), None);
        assert_eq!(git::of(&folder.path().join("gone"), None), None);
        let by = ask(&["dcfs".into(), "a b".into()], None);
        assert!(by.user.is_some() && by.folder.is_some());
        assert_eq!(by.script(), "dcfs 'a b'");
    }
}
