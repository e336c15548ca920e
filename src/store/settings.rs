//! Settings per bucket or prefix, as the user's `config.toml` has them. Pure.
//!
//! ```toml
//! ["s3://training-data"]
//! profile = "research"
//! region = "eu-central-1"
//!
//! ["s3://minio/images/"]
//! endpoint_url = "http://minio:9000"
//! ```
//!
//! 1. A table is named by a scheme (`s3://`), a bucket, or a bucket and a prefix of whole segments.
//! 2. Of all tables that an object is under, the longest counts, alone: tables do not add up.
//! 3. What a table leaves out is as if there were no file.
//! 4. Tables hold no secrets: they name a profile, and the profile holds the keys.
//!
//! What a table may say depends on its scheme. A new scheme is one more [`Said`], and one more arm
//! in [`Said::read`].

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::show;
use crate::error::Kind;
use crate::name::nearest;

/// Schemes that have settings.
const SCHEMES: [&str; 1] = ["s3://"];

/// What the file says; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    file: Option<PathBuf>,
    tables: Vec<Table>,
}

/// One table of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    /// `s3://bucket/prefix`, without a slash at its end but those of the scheme.
    name: String,
    said: Said,
}

/// What a table says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    S3(S3),
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
}

/// Why the file cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Error {
    file: PathBuf,
    /// From 1.
    line: usize,
    message: String,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, line {}: {}", self.file.display(), self.line, self.message)
    }
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        Self::new(Kind::Invalid, error)
    }
}

/// A message, and the byte of the text it is about.
type Wrong = (usize, String);

impl Settings {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// No TOML, a table or a name that nobody knows, or a value that is none; with the line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let tables = tables(text).map_err(|(at, message)| Error {
            file: file.to_owned(),
            line: text.as_bytes()[..at.min(text.len())].split(|b| *b == b'\n').count(),
            message,
        })?;
        Ok(Self { file: Some(file.to_owned()), tables })
    }

    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The name of every table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.as_str())
    }

    /// What counts for an object of S3, and the name of the table that says it.
    pub fn s3(&self, bucket: &str, key: &[u8]) -> Option<(&str, &S3)> {
        let address = [b"s3://", bucket.as_bytes(), b"/", key].concat();
        let table = self.of(&address)?;
        let Said::S3(said) = &table.said;
        Some((&table.name, said))
    }

    /// Each table of S3.
    pub fn all_s3(&self) -> impl Iterator<Item = (&str, &S3)> {
        self.tables.iter().map(|table| {
            let Said::S3(said) = &table.said;
            (table.name.as_str(), said)
        })
    }

    /// The longest table that `address` is under.
    fn of(&self, address: &[u8]) -> Option<&Table> {
        let over = self.tables.iter().filter(|table| is_under(address, &table.name));
        over.max_by_key(|table| table.name.len())
    }
}

/// Whether `name` is `address`, or ends where a segment of it does.
fn is_under(address: &[u8], name: &str) -> bool {
    address
        .strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || name.ends_with("://"))
}

fn tables(text: &str) -> Result<Vec<Table>, Wrong> {
    let document = DeTable::parse(text)
        .map_err(|error| (error.span().map_or(0, |span| span.start), show(error.message())))?;
    let mut tables: Vec<Table> = Vec::new();
    for (name, value) in document.get_ref() {
        let at = name.span().start;
        let wrong = |message| (at, message);
        let table = address(name.get_ref()).map_err(wrong)?;
        if tables.iter().any(|other| other.name == table) {
            return Err((at, format!("there are two tables for `{}`", show(&table))));
        }
        let DeValue::Table(entries) = value.get_ref() else {
            return Err((at, format!("`{}` is a table: write `[\"{0}\"]`", show(name.get_ref()))));
        };
        tables.push(Table { said: Said::read(at, &table, entries)?, name: table });
    }
    Ok(tables)
}

/// The name of a table, without slashes at its end.
fn address(name: &str) -> Result<String, String> {
    let Some((scheme, rest)) = name.split_once("://") else {
        let near = nearest::to(name, SCHEMES.into_iter());
        let hint = nearest::hint(&near, "tables are called as `[\"s3://bucket/prefix\"]`");
        return Err(format!("`{}` is no bucket{hint}", show(name)));
    };
    let scheme = format!("{scheme}://");
    if !SCHEMES.contains(&scheme.as_str()) {
        let hint =
            nearest::hint(&nearest::to(&scheme, SCHEMES.into_iter()), "there are for `s3://`");
        return Err(format!("there are no settings for `{}`{hint}", show(&scheme)));
    }
    let rest = rest.trim_end_matches('/');
    let bucket = rest.split('/').next().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if (bucket.is_empty() && !rest.is_empty()) || !bucket.bytes().all(plain) {
        let text = "is no bucket's name; write `s3://bucket/prefix`, without patterns";
        return Err(format!("`{}` {text}", show(bucket)));
    }
    Ok(format!("{scheme}{rest}"))
}

impl Said {
    /// Reads the table called `name`, which begins at byte `at`.
    fn read(at: usize, name: &str, entries: &DeTable) -> Result<Self, Wrong> {
        debug_assert!(name.starts_with("s3://"), "the only scheme with settings");
        Ok(Self::S3(S3::read(at, entries)?))
    }
}

impl S3 {
    const NAMES: [&str; 5] = ["profile", "region", "endpoint_url", "anon", "request_payer"];

    fn read(at: usize, entries: &DeTable) -> Result<Self, Wrong> {
        let mut said = Self::default();
        for (name, value) in entries {
            match name.get_ref().as_ref() {
                "profile" => said.profile = Some(text(name.get_ref(), value)?),
                "region" => said.region = Some(text(name.get_ref(), value)?),
                "endpoint_url" => said.endpoint_url = Some(text(name.get_ref(), value)?),
                "anon" => said.anon = flag(name.get_ref(), value)?,
                "request_payer" => said.request_payer = flag(name.get_ref(), value)?,
                unknown => return Err((name.span().start, unknown_name(unknown, &Self::NAMES))),
            }
        }
        if said.anon && said.profile.is_some() {
            return Err((at, "`anon` and `profile` exclude each other".into()));
        }
        Ok(said)
    }
}

fn unknown_name(name: &str, known: &[&str]) -> String {
    if ["key", "secret", "token"].iter().any(|word| name.to_ascii_lowercase().contains(word)) {
        let text = "keys do not stand here: put them into a profile of `~/.aws/credentials`";
        return format!("no setting is called `{}`; {text}", show(name));
    }
    let near = nearest::to(name, known.iter().copied());
    let all = format!("there are {}", known.join(", "));
    format!("no setting is called `{}`{}", show(name), nearest::hint(&near, &all))
}

fn text(name: &str, value: &Spanned<DeValue>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
        _ => Err((value.span().start, format!("`{name}` is a text, such as `{name} = \"...\"`"))),
    }
}

fn flag(name: &str, value: &Spanned<DeValue>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(flag) => Ok(*flag),
        _ => Err((value.span().start, format!("`{name}` is `true` or `false`, without quotes"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("/c.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_longest_table_counts_alone() {
        let settings = parse(
            "[\"s3://\"]\nregion = \"all\"\n[\"s3://b\"]\nprofile = \"p\"\n\
             [\"s3://b/in/side/\"]\nanon = true\n[\"s3://b/in\"]\nrequest_payer = true\n",
        )
        .unwrap();
        let cases: [(&str, &[u8], &str); 9] = [
            ("other", b"k", "s3://"),
            ("bb", b"k", "s3://"),
            ("b", b"k", "s3://b"),
            ("b", b"inn/k", "s3://b"),
            ("b", b"in", "s3://b/in"),
            ("b", b"in/k", "s3://b/in"),
            ("b", b"in/sider", "s3://b/in"),
            ("b", b"in/side/\xff", "s3://b/in/side"),
            ("b", b"in/side", "s3://b/in/side"),
        ];
        for (bucket, key, table) in cases {
            let (name, _) = settings.s3(bucket, key).unwrap();
            assert_eq!(name, table, "{bucket} {}", key.escape_ascii());
        }
        let (_, said) = settings.s3("b", b"in/side/x").unwrap();
        assert_eq!(*said, S3 { anon: true, ..S3::default() }, "nothing of the others");
        assert_eq!(parse("").unwrap().s3("b", b"k"), None);
        assert_eq!(parse("[\"s3://b\"]").unwrap().s3("c", b"b"), None);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let cases = [
            (
                "\n[\"s3://b\"]\nregoin = \"x\"",
                "3: no setting is called `regoin`; did you mean `region`?",
            ),
            (
                "[\"s3://b\"]\nxyzzy = 1",
                "2: no setting is called `xyzzy`; there are profile, region, endpoint_url, anon, request_payer",
            ),
            (
                "[\"s3://b\"]\naws_secret_access_key = \"hush\"",
                "2: no setting is called `aws_secret_access_key`; keys do not stand here",
            ),
            ("[\"s3://b\"]\nanon = \"yes\"", "2: `anon` is `true` or `false`, without quotes"),
            ("[\"s3://b\"]\n\nregion = 7", "3: `region` is a text, such as `region = \"...\"`"),
            ("[\"s3://b\"]\nregion = \"\"", "2: `region` is a text"),
            (
                "[\"s3://b\"]\nanon = true\nprofile = \"p\"",
                "1: `anon` and `profile` exclude each other",
            ),
            ("[\"s3://b\"]\n[\"s3://b/\"]", "2: there are two tables for `s3://b`"),
            ("[\"s3://b\"]\n[\"s3://b\"]", "2: "),
            ("[\"s3:///b\"]", "1: `` is no bucket's name"),
            (
                "[\"s3://public-*\"]",
                "1: `public-*` is no bucket's name; write `s3://bucket/prefix`, without patterns",
            ),
            ("[\"gs://b\"]", "1: there are no settings for `gs://`; there are for `s3://`"),
            ("[\"s://b\"]", "1: there are no settings for `s://`; did you mean `s3://`?"),
            ("[s3]", "1: `s3` is no bucket; tables are called"),
            ("\"s3://b\" = 1", "1: `s3://b` is a table: write `[\"s3://b\"]`"),
            ("[\"s3://b\"]\nregion = ", "2: "),
            ("\u{feff}[\"s3://b\"", "1: "),
            ("= = =", "1: "),
        ];
        for (text, message) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(&format!("`/c.toml`, line {message}")), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn reads_everything() {
        let text = "[\"s3://b\"]\nprofile = 'p'\nregion='r' # c\nendpoint_url=\"http://h\"\nanon=false\nrequest_payer = true";
        let own = |text: &str| Some(text.to_owned());
        let want = S3 {
            profile: own("p"),
            region: own("r"),
            endpoint_url: own("http://h"),
            anon: false,
            request_payer: true,
        };
        assert_eq!(parse(text).unwrap().s3("b", b"k"), Some(("s3://b", &want)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\[\"s3://[a-z/]{0,4}\"\\]\n|[a-z\"= \\[\\]\n\u{e9}]{0,9}|anon = true\n){0,8}") {
            let _ = parse(&text);
        }
    }
}
