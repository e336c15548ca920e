//! Profiles in `~/.aws/config` and `~/.aws/credentials`.
//!
//! A profile is `[default]` or `[profile NAME]` of the first file merged with `[NAME]` of the second, whose
//! values win. A path that does not exist, or is not a regular file, counts as empty.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::CredentialError;
use super::ini::{self, Section, Sections, Value};
use super::words::words;
use crate::error::show;
use dcfs_core::name::nearest;

/// Files that people or tools write are shorter.
const LONGEST: u64 = 4 << 20;

/// The profile if none is named.
const DEFAULT: &str = "default";

/// Both files, parsed.
#[derive(Debug, Default)]
pub struct Files {
    config: PathBuf,
    credentials: PathBuf,
    profiles: BTreeMap<String, Profile>,
    services: BTreeMap<String, Section>,
    /// The `sso-session` sections.
    sessions: BTreeMap<String, Section>,
}

/// The settings of one profile in both files.
#[derive(Debug, Default)]
pub struct Profile {
    pub name: String,
    /// From both files.
    all: Section,
    /// From the second alone: its keys win over a `credential_process` of the first.
    own: Section,
}

impl Files {
    /// Reads the files that the environment names.
    ///
    /// # Errors
    /// A file exists and cannot be read or parsed.
    pub fn read(environment: &Environment) -> Result<Self, CredentialError> {
        let config = environment.path("AWS_CONFIG_FILE", "~/.aws/config");
        let credentials = environment.path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
        let mut files = Self { config, credentials, ..Self::default() };
        for (name, section) in sections(&files.config)? {
            files.take(&name, section);
        }
        for (name, section) in sections(&files.credentials)? {
            let new = || Profile { name: name.clone(), ..Profile::default() };
            let profile = files.profiles.entry(name.clone()).or_insert_with(new);
            profile.all.extend(section.clone());
            profile.own = section;
        }
        Ok(files)
    }

    /// Keeps a section of the first file, if it is relevant.
    fn take(&mut self, section: &str, names: Section) {
        let parts = words(section).unwrap_or_default();
        let (kind, name) = match (section, parts.as_slice()) {
            (DEFAULT, _) => ("profile", DEFAULT.to_owned()),
            (_, [kind, name]) => (kind.as_str(), name.clone()),
            _ => return,
        };
        match kind {
            "profile" => {
                let profile = Profile { name: name.clone(), all: names, own: Section::new() };
                self.profiles.insert(name, profile);
            }
            "services" => drop(self.services.insert(name, names)),
            "sso-session" => drop(self.sessions.insert(name, names)),
            _ => {}
        }
    }

    /// The profile called `named`; without a name, the default one if it exists.
    ///
    /// # Errors
    /// The named profile does not exist.
    pub fn profile(&self, named: Option<&str>) -> Result<Option<&Profile>, CredentialError> {
        let name = named.unwrap_or(DEFAULT);
        match self.profiles.get(name) {
            Some(profile) => Ok(Some(profile)),
            None if named.is_none() => Ok(None),
            None => {
                let known = self.profiles.keys().map(String::as_str);
                let hint = match nearest::to(name, known) {
                    near if near.is_empty() => String::new(),
                    near => nearest::hint(&near, ""),
                };
                Err(CredentialError::NoProfile {
                    profile: show(name),
                    config: self.config.display().to_string(),
                    credentials: self.credentials.display().to_string(),
                    hint: show(&hint),
                })
            }
        }
    }

    /// The value of `name` in the section `[sso-session {session}]`; an error if there is no such section.
    pub fn session(&self, session: &str, name: &str) -> Result<Option<&str>, ()> {
        Ok(text(self.sessions.get(session).ok_or(())?, name))
    }

    /// The endpoint that `profile` sets for a service: from its `services` section, else its own.
    ///
    /// # Errors
    /// It names a `services` section that does not exist.
    pub fn endpoint(
        &self,
        profile: &Profile,
        service: &str,
    ) -> Result<Option<String>, CredentialError> {
        if let Some(section) = profile.get("services") {
            let Some(services) = self.services.get(section) else {
                let text = format!("there is no section `[services {}]`", show(section));
                return Err(CredentialError::wrong(&profile.title(), text));
            };
            if let Some(Value::Nested(of)) = services.get(service)
                && let Some(url) = of.get("endpoint_url").filter(|url| !url.is_empty())
            {
                return Ok(Some(url.clone()));
            }
        }
        Ok(profile.get("endpoint_url").map(str::to_owned))
    }
}

impl Profile {
    /// The value of `name`, if set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        text(&self.all, name)
    }

    /// The value of `name` nested below `section`, as in `s3 =`.
    pub fn get_nested(&self, section: &str, name: &str) -> Option<&str> {
        match self.all.get(section) {
            Some(Value::Nested(of)) => of.get(name).map(String::as_str).filter(|v| !v.is_empty()),
            _ => None,
        }
    }

    /// The value of `name` in `~/.aws/credentials` only.
    pub fn get_own(&self, name: &str) -> Option<&str> {
        text(&self.own, name)
    }

    /// For messages.
    pub fn title(&self) -> String {
        format!("profile `{}`", show(&self.name))
    }
}

fn text<'a>(section: &'a Section, name: &str) -> Option<&'a str> {
    match section.get(name) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn sections(path: &Path) -> Result<Sections, CredentialError> {
    let shown = || show(&path.display().to_string());
    let unreadable = |cause: String| CredentialError::Unreadable { path: shown(), cause };
    // A FIFO would block for ever, and the AWS command line does not read one.
    if !path.is_file() {
        return Ok(Sections::new());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable("it is longer than 4 MiB".into()));
    }
    ini::parse(&bytes).map_err(|wrong| CredentialError::Malformed {
        path: shown(),
        line: wrong.line,
        cause: wrong.cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &str, credentials: &str) -> Result<Files, CredentialError> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".aws")).unwrap();
        fs::write(home.path().join(".aws/config"), config).unwrap();
        fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        Files::read(&Environment::made_of(home.path(), &[]))
    }

    #[test]
    fn profiles_are_of_both_files() {
        let config = "[default]\nregion=d\n[profile a]\nregion=r\nk=config\n[b]\nregion=no\n\
                      [profile 'my own']\nregion=m\n[profile x y z]\nregion=no\n[profile]\nregion=no";
        let files = files(config, "[a]\nk=own\n[c]\nk=c\n[profile d]\nk=no").unwrap();
        let get = |profile, name| {
            let profile = files.profile(Some(profile)).ok().flatten();
            profile.and_then(|p| p.get(name)).unwrap_or("-").to_owned()
        };
        let cases = [
            ("default", "region", "d"),
            ("a", "region", "r"),
            ("a", "k", "own"),
            ("b", "region", "-"),
            ("c", "k", "c"),
            ("d", "k", "-"),
            ("my own", "region", "m"),
            ("x", "region", "-"),
        ];
        for (profile, name, want) in cases {
            assert_eq!(get(profile, name), want, "{profile} {name}");
        }
        let own = files.profile(Some("a")).unwrap().unwrap();
        assert_eq!((own.get_own("k"), own.get_own("region")), (Some("own"), None));
    }

    #[test]
    fn a_profile_that_is_nowhere_is_said_so() {
        let files = files("[profile research]\nregion=r", "").unwrap();
        assert!(files.profile(None).unwrap().is_none(), "the default one need not be there");
        let error = files.profile(Some("reserch")).unwrap_err().to_string();
        assert!(error.starts_with("there is no profile `reserch` in `"), "{error}");
        assert!(error.ends_with("; did you mean `research`?"), "{error}");
        let error = files.profile(Some("zzz\n")).unwrap_err().to_string();
        assert!(error.contains("`zzz\\n`") && error.ends_with("credentials`"), "{error}");
    }

    #[test]
    fn endpoints_are_found_where_they_may_stand() {
        let config = "[profile a]\nservices = s\nendpoint_url = http://general\n\
                      [services s]\ns3 =\n  endpoint_url = http://s3\n[profile b]\nservices = none";
        let files = files(config, "").unwrap();
        let a = files.profile(Some("a")).unwrap().unwrap();
        assert_eq!(files.endpoint(a, "s3").unwrap().as_deref(), Some("http://s3"));
        assert_eq!(files.endpoint(a, "sts").unwrap().as_deref(), Some("http://general"));
        let b = files.profile(Some("b")).unwrap().unwrap();
        let error = files.endpoint(b, "s3").unwrap_err().to_string();
        assert_eq!(error, "profile `b`: there is no section `[services none]`");
    }

    #[test]
    fn files_that_cannot_be_used_are_named_and_missing_ones_say_nothing() {
        let error = files("[default]\nhush", "").unwrap_err().to_string();
        assert!(error.contains(".aws/config`, line 2: ") && !error.contains("hush"), "{error}");
        let home = tempfile::tempdir().unwrap();
        let none = Environment::made_of(home.path(), &[("AWS_CONFIG_FILE", "/dev/zero")]);
        assert!(Files::read(&none).unwrap().profiles.is_empty());
        let long = home.path().join("long");
        fs::write(&long, vec![b'\n'; 5 << 20]).unwrap();
        let long =
            Environment::made_of(home.path(), &[("AWS_CONFIG_FILE", long.to_str().unwrap())]);
        assert!(Files::read(&long).unwrap_err().to_string().contains("longer than"));
    }
}
