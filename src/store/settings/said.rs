//! What a table may say, by the scheme that it is named by. Pure.
//!
//! No table holds a secret: it names a profile, a file or a variable of the environment that does.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Wrong;
use crate::error::show;
use dcfs_core::name::nearest;

/// What a table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    S3(S3),
    Gs(Gs),
    Az(Az),
    Http(Http),
    Hf(Hf),
}

/// What may be said of S3 and its kin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3 {
    /// A profile of `~/.aws`, whatever the environment says of keys.
    pub profile: Option<String>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    /// Do not sign.
    pub anon: bool,
    /// Agree to pay for requests.
    pub request_payer: bool,
    /// `virtual`: buckets stand in the name of the host.
    pub addressing_style: Option<String>,
}

/// What may be said of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gs {
    pub endpoint_url: Option<String>,
    /// A service account, or what `gcloud auth application-default login` left.
    pub credentials_file: Option<String>,
    /// Do not sign.
    pub anon: bool,
    /// The project that pays for requests.
    pub user_project: Option<String>,
}

/// What may be said of Azure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Az {
    pub account: Option<String>,
    pub endpoint_url: Option<String>,
    /// What the portal gives: an account, its key or a signature.
    pub connection_string: Option<Secret>,
    /// Do not sign.
    pub anon: bool,
}

/// What may be said of a web server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Certificates to trust beside the system's, as PEM.
    pub ca_bundle: Option<String>,
}

/// What may be said of data sets of the Hugging Face hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hf {
    pub endpoint_url: Option<String>,
    pub token: Option<Secret>,
    /// Send no token.
    pub anon: bool,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An absolute path, or one that begins with `~/`.
    File(String),
    /// A variable of the environment.
    Variable(String),
}

/// What tables of one kind say.
pub trait Says: Default + 'static {
    fn of(said: &Said) -> Option<&Self>;
}

macro_rules! says {
    ($($kind:ident),*) => {
        $(impl Says for $kind {
            fn of(said: &Said) -> Option<&Self> {
                match said {
                    Said::$kind(said) => Some(said),
                    _ => None,
                }
            }
        })*
    };
}

says!(S3, Gs, Az, Http, Hf);

/// What is called how in tables of one kind, and where its secrets belong.
struct Kind {
    names: &'static [&'static str],
    secrets: &'static str,
}

const OF_S3: Kind = Kind {
    names: &["profile", "region", "endpoint_url", "anon", "request_payer", "addressing_style"],
    secrets: "put them into a profile of `~/.aws/credentials`",
};

const OF_GS: Kind = Kind {
    names: &["endpoint_url", "credentials_file", "anon", "user_project"],
    secrets: "name the file that holds them by `credentials_file`",
};

const OF_AZ: Kind = Kind {
    names: &["account", "endpoint_url", "connection_string_file", "connection_string_env", "anon"],
    secrets: "name a file or a variable that holds a connection string, by `connection_string_file` or \
              `connection_string_env`",
};

const OF_HTTP: Kind = Kind { names: &["ca_bundle"], secrets: "dcfs shows none to web servers" };

const OF_HF: Kind = Kind {
    names: &["endpoint_url", "token_file", "token_env", "anon"],
    secrets: "name a file or a variable that holds the token, by `token_file` or `token_env`",
};

impl Said {
    /// Reads the table called `name`, which begins at byte `at`.
    pub fn read(at: usize, name: &str, entries: &DeTable) -> Result<Self, Wrong> {
        let entries = entries.iter().map(|(name, value)| Entry { name, value });
        match name.split("://").next() {
            Some("gs") => Gs::read(at, entries).map(Self::Gs),
            Some("az") => Az::read(at, entries).map(Self::Az),
            Some("hf") => Hf::read(at, entries).map(Self::Hf),
            Some("http" | "https") => Http::read(entries).map(Self::Http),
            _ => S3::read(at, entries).map(Self::S3),
        }
    }
}

impl S3 {
    fn read<'a>(at: usize, entries: impl Iterator<Item = Entry<'a>>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries {
            match entry.name() {
                "profile" => said.profile = Some(entry.text()?),
                "region" => said.region = Some(entry.text()?),
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "anon" => said.anon = entry.flag()?,
                "request_payer" => said.request_payer = entry.flag()?,
                "addressing_style" => said.addressing_style = Some(entry.text()?),
                _ => return Err(entry.unknown(&OF_S3)),
            }
        }
        exclude(at, [("anon", said.anon), ("profile", said.profile.is_some())])?;
        Ok(said)
    }
}

impl Gs {
    fn read<'a>(at: usize, entries: impl Iterator<Item = Entry<'a>>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries {
            match entry.name() {
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "credentials_file" => said.credentials_file = Some(entry.path()?),
                "anon" => said.anon = entry.flag()?,
                "user_project" => said.user_project = Some(entry.text()?),
                _ => return Err(entry.unknown(&OF_GS)),
            }
        }
        exclude(at, [("anon", said.anon), ("credentials_file", said.credentials_file.is_some())])?;
        Ok(said)
    }
}

impl Az {
    fn read<'a>(at: usize, entries: impl Iterator<Item = Entry<'a>>) -> Result<Self, Wrong> {
        const SECRET: &str = "connection_string";
        let mut said = Self::default();
        for entry in entries {
            match entry.name() {
                "account" => said.account = Some(entry.text()?),
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "connection_string_file" | "connection_string_env" => {
                    entry.secret(at, SECRET, &mut said.connection_string)?;
                }
                "anon" => said.anon = entry.flag()?,
                _ => return Err(entry.unknown(&OF_AZ)),
            }
        }
        exclude(at, [("anon", said.anon), (SECRET, said.connection_string.is_some())])?;
        let account = ("account", said.account.is_some());
        exclude(at, [account, (SECRET, said.connection_string.is_some())])?;
        Ok(said)
    }
}

impl Http {
    fn read<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries {
            match entry.name() {
                "ca_bundle" => said.ca_bundle = Some(entry.path()?),
                _ => return Err(entry.unknown(&OF_HTTP)),
            }
        }
        Ok(said)
    }
}

impl Hf {
    fn read<'a>(at: usize, entries: impl Iterator<Item = Entry<'a>>) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for entry in entries {
            match entry.name() {
                "endpoint_url" => said.endpoint_url = Some(entry.text()?),
                "token_file" | "token_env" => entry.secret(at, "token", &mut said.token)?,
                "anon" => said.anon = entry.flag()?,
                _ => return Err(entry.unknown(&OF_HF)),
            }
        }
        exclude(at, [("anon", said.anon), ("token", said.token.is_some())])?;
        Ok(said)
    }
}

/// At most one of `both` is said.
fn exclude(at: usize, both: [(&str, bool); 2]) -> Result<(), Wrong> {
    let [(one, is), (other, too)] = both;
    match is && too {
        true => Err((at, format!("`{one}` and `{other}` exclude each other"))),
        false => Ok(()),
    }
}

/// A name and its value.
struct Entry<'a> {
    name: &'a Spanned<std::borrow::Cow<'a, str>>,
    value: &'a Spanned<DeValue<'a>>,
}

impl Entry<'_> {
    fn name(&self) -> &str {
        self.name.get_ref()
    }

    fn text(&self) -> Result<String, Wrong> {
        match self.value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(self.wrong(|name| format!("`{name}` is a text, such as `{name} = \"...\"`"))),
        }
    }

    fn flag(&self) -> Result<bool, Wrong> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(self.wrong(|name| format!("`{name}` is `true` or `false`, without quotes"))),
        }
    }

    /// A path that means the same wherever dcfs is started.
    fn path(&self) -> Result<String, Wrong> {
        let text = self.text()?;
        if text.starts_with('/') || text.starts_with("~/") {
            return Ok(text);
        }
        Err(self.wrong(|name| format!("`{name}` is a path that begins with `/` or `~/`")))
    }

    /// Sets `secret`, which is called `what`, to a file or a variable, as the name of the entry ends.
    fn secret(&self, at: usize, what: &str, secret: &mut Option<Secret>) -> Result<(), Wrong> {
        let said = match self.name().ends_with("_file") {
            true => Secret::File(self.path()?),
            false => Secret::Variable(self.variable()?),
        };
        if secret.replace(said).is_some() {
            return Err((at, format!("`{what}_file` and `{what}_env` exclude each other")));
        }
        Ok(())
    }

    /// What is no name of a variable may be the secret itself: it is not repeated.
    fn variable(&self) -> Result<String, Wrong> {
        let text = self.text()?;
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if text.bytes().all(plain) {
            return Ok(text);
        }
        let cause = "is the name of a variable, of capitals, digits and `_`";
        Err(self.wrong(|name| format!("`{name}` {cause}")))
    }

    fn wrong(&self, cause: impl FnOnce(&str) -> String) -> Wrong {
        (self.value.span().start, cause(self.name()))
    }

    fn unknown(&self, kind: &Kind) -> Wrong {
        const SECRETS: [&str; 7] =
            ["key", "secret", "token", "password", "sas", "connection_string", "authorization"];
        let (at, name) = (self.name.span().start, self.name());
        let shown = show(name);
        let lower = name.to_ascii_lowercase();
        if SECRETS.iter().any(|word| lower.contains(word)) {
            let text = format!("keys do not stand here: {}", kind.secrets);
            return (at, format!("no setting is called `{shown}`; {text}"));
        }
        let near = nearest::to(name, kind.names.iter().copied());
        let all = format!("there are {}", kind.names.join(", "));
        (at, format!("no setting is called `{shown}`{}", nearest::hint(&near, &all)))
    }
}
