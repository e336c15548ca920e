//! SSO tokens, in files as `aws sso login` writes them: JSON, named by the SHA-1 of the session name or of its
//! start URL.
//!
//! A file is updated as the AWS command line does: by a rename, readable by its owner alone. Other fields are
//! kept.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};

use dcfs_core::time::Timestamp;

/// Limit of a file, in bytes.
const LONGEST: u64 = 256 << 10;

/// A token is refreshed this long before it expires, as the AWS command line does.
const EARLY: Duration = Duration::from_secs(15 * 60);

/// The contents of a file. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    all: Map<String, Value>,
    /// The access token, sent to the portal.
    pub access: String,
    pub ends: SystemTime,
}

/// The parameters of a token refresh. Never printed.
pub struct Refresh<'a> {
    pub id: &'a str,
    pub secret: &'a str,
    pub refresh: &'a str,
}

/// The path, below the home, of the token of a session (or of a start URL) called `name`.
pub fn file(name: &str) -> String {
    let hash: String = Sha1::digest(name).iter().map(|b| format!("{b:02x}")).collect();
    format!("~/.aws/sso/cache/{hash}.json")
}

impl Token {
    /// Reads a file.
    ///
    /// # Errors
    /// Why there is no token, for the user; nothing of the file is repeated.
    pub fn read(path: &Path) -> Result<Self, String> {
        // A FIFO would block for ever.
        if !path.is_file() {
            return Err("it has no token".into());
        }
        let failed =
            |cause: &str| format!("`{}` is not a valid token file: {cause}", path.display());
        let mut json = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut json));
        read.map_err(|error| failed(&error.to_string()))?;
        Self::parse(&json).ok_or_else(|| failed("it has no `accessToken` and `expiresAt`"))
    }

    fn parse(json: &[u8]) -> Option<Self> {
        let all: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let access = all.get("accessToken")?.as_str()?.to_owned();
        let ends = time(all.get("expiresAt")?)?;
        Some(Self { access, ends, all })
    }

    /// Whether it has not expired.
    pub fn is_good(&self) -> bool {
        self.lasts(Duration::ZERO)
    }

    /// Whether it stays valid for some minutes yet.
    pub fn is_fresh(&self) -> bool {
        self.lasts(EARLY)
    }

    fn lasts(&self, least: Duration) -> bool {
        self.ends.duration_since(SystemTime::now()).is_ok_and(|left| left > least)
    }

    /// Whether it can be refreshed.
    pub fn is_refreshable(&self) -> bool {
        self.refresh().is_some()
    }

    /// The parameters of its refresh; `None` if they are incomplete, or the client registration has expired.
    pub fn refresh(&self) -> Option<Refresh<'_>> {
        let get = |name| self.all.get(name)?.as_str();
        let ends = time(self.all.get("registrationExpiresAt")?)?;
        (ends > SystemTime::now()).then_some(())?;
        let (id, secret) = (get("clientId")?, get("clientSecret")?);
        Some(Refresh { id, secret, refresh: get("refreshToken")? })
    }

    /// The token that replaces this one. Without a new refresh token, it cannot be refreshed again.
    pub fn renewed(&self, access: String, ends: SystemTime, refresh: Option<String>) -> Self {
        let mut all = self.all.clone();
        all.insert("accessToken".into(), access.clone().into());
        all.insert("expiresAt".into(), written(ends).into());
        match refresh {
            Some(refresh) => drop(all.insert("refreshToken".into(), refresh.into())),
            None => drop(all.remove("refreshToken")),
        }
        Self { all, access, ends }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The folder is not writable; the file is unchanged.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = self.write_draft(&draft).and_then(|()| fs::rename(&draft, path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn write_draft(&self, draft: &Path) -> io::Result<()> {
        // An existing draft was left by a process with this pid that died.
        let _ = fs::remove_file(draft);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
        file.write_all(&serde_json::to_vec(&self.all)?)?;
        file.sync_all()
    }
}

/// Parses a time with an offset, or with `UTC`, as older releases of the AWS command line wrote.
fn time(value: &Value) -> Option<SystemTime> {
    Some(Timestamp::parse(value.as_str()?.trim_end_matches("UTC"))?.to_system())
}

/// Formats as `2030-01-02T03:04:05Z`.
fn written(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let micros = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    Timestamp::from_micros(micros).rfc3339()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const WHOLE: &str = r#"{"startUrl": "https://s", "region": "r", "accessToken": "hush", "expiresAt": "2001-01-01T00:00:00Z",
        "clientId": "c", "clientSecret": "hush", "registrationExpiresAt": "2099-01-01T00:00:00Z", "refreshToken": "hush-r",
        "more": [1]}"#;

    #[test]
    fn files_are_named_as_the_aws_command_line_names_them() {
        // `hashlib.sha1(b"my-sso").hexdigest()`
        let cases = [
            ("my-sso", "~/.aws/sso/cache/0ad374308c5a4e22f723adf10145eafad7c4031c.json"),
            ("", "~/.aws/sso/cache/da39a3ee5e6b4b0d3255bfef95601890afd80709.json"),
        ];
        for (name, path) in cases {
            assert_eq!(file(name), path);
        }
    }

    #[test]
    fn a_token_is_good_or_may_be_exchanged_or_is_none() {
        let of = |from: &str, to: &str| {
            let token = Token::parse(WHOLE.replace(from, to).as_bytes());
            token.map(|token| (token.is_good(), token.is_fresh(), token.is_refreshable()))
        };
        let cases = [
            ("", "", Some((false, false, true))),
            ("2001", "2098", Some((true, true, true))),
            ("2001-01-01T00:00:00Z", "2098-01-01T00:00:00UTC", Some((true, true, true))),
            ("2001-01-01T00:00:00Z", "2098-01-01T00:00:00+02:00", Some((true, true, true))),
            ("2099", "2002", Some((false, false, false))),
            ("refreshToken", "other", Some((false, false, false))),
            ("clientSecret", "other", Some((false, false, false))),
            ("registrationExpiresAt", "other", Some((false, false, false))),
            ("\"hush-r\"", "7", Some((false, false, false))),
            ("accessToken", "other", None),
            ("\"2001-01-01T00:00:00Z\"", "\"soon\"", None),
            ("\"2001-01-01T00:00:00Z\"", "7", None),
            ("{", "[", None),
            (WHOLE, "", None),
        ];
        for (from, to, want) in cases {
            assert_eq!(of(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn a_new_token_takes_the_place_of_the_file_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        fs::write(&path, WHOLE).unwrap();
        let old = Token::read(&path).ok().unwrap();
        let ends = Timestamp::parse("2098-01-02T03:04:05.678Z").unwrap().to_system();
        old.renewed("new".into(), ends, Some("next".into())).write(&path).unwrap();
        let said: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let get = |name: &str| said[name].as_str().unwrap().to_owned();
        assert_eq!(get("expiresAt"), "2098-01-02T03:04:05Z");
        assert_eq!((get("accessToken"), get("refreshToken")), ("new".into(), "next".into()));
        assert_eq!((get("startUrl"), &said["more"][0]), ("https://s".into(), &1.into()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        assert!(!old.renewed("new".into(), ends, None).is_refreshable());
        assert!(old.write(&folder.path().join("none/t.json")).is_err());
    }

    #[test]
    fn what_is_no_token_is_said_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let read = || Token::read(&path).err().unwrap();
        assert_eq!(read(), "it has no token");
        for text in ["hush", "", "{\"accessToken\": \"hush\"}"] {
            fs::write(&path, text).unwrap();
            let error = read();
            assert!(
                error.contains("is not a valid token file: ") && !error.contains("hush"),
                "{error}"
            );
        }
        assert_eq!(Token::read(Path::new("/dev/zero")).err().unwrap(), "it has no token");
    }
}
