//! `-o`: the options of mount(8) and fstab, in one list with commas.

use std::path::PathBuf;
use std::time::Duration;

use super::usage;
use dcfs_core::error::Result;
use dcfs_vfs::siblings::Prefetch;

/// What `-o` may say of the mount itself. The rest is for mount(8) and accepted in silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    pub allow_other: bool,
    pub xattr: bool,
    pub anon: bool,
    pub endpoint_url: Option<String>,
    pub region: Option<String>,
    pub profile: Option<String>,
    pub request_payer: bool,
    pub config: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    pub cache_size: Option<u64>,
    pub memory: Option<u64>,
    pub prefetch: Option<Prefetch>,
    pub timeout: Option<Duration>,
}

/// What [`MountOptions`] knows, for messages.
const KNOWN: &str = "allow_other, xattr, anon, endpoint_url=URL, region=R, profile=NAME, request_payer, config=FILE, cache_dir=DIR, cache_size=64G, memory=512M, prefetch=siblings, timeout=60s";

/// Options that are true of every dcfs mount, or that mount(8), fstab and systemd use themselves.
const IGNORED: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "nodev",
    "dev",
    "nosuid",
    "suid",
    "noexec",
    "exec",
    "noatime",
    "relatime",
    "atime",
    "strictatime",
    "nodiratime",
    "async",
    "default_permissions",
    "comment",
];

impl MountOptions {
    /// Reads a list such as `allow_other,endpoint_url=http://h:9000,_netdev`. A backslash keeps a
    /// comma in a value.
    ///
    /// # Errors
    /// An option that nobody knows, or a value that is none.
    pub fn parse(list: &str) -> Result<Self> {
        let mut options = Self::default();
        for option in split(list) {
            options.set(&option)?;
        }
        Ok(options)
    }

    fn set(&mut self, option: &str) -> Result<()> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        // `endpoint-url` and `endpoint_url` alike, as mountpoint-s3 takes them.
        let plain = name.replace('-', "_");
        match (plain.as_str(), value) {
            ("allow_other", None) => self.allow_other = true,
            ("xattr", None) => self.xattr = true,
            ("anon", None) => self.anon = true,
            ("endpoint_url", Some(url)) => self.endpoint_url = Some(url.into()),
            ("region", Some(region)) => self.region = Some(region.into()),
            ("profile", Some(name)) => self.profile = Some(name.into()),
            ("request_payer", None) => self.request_payer = true,
            ("config", Some(file)) => self.config = Some(file.into()),
            ("cache_dir", Some(folder)) => self.cache_dir = Some(folder.into()),
            ("cache_size", Some(size)) => self.cache_size = Some(parse_size(size).map_err(usage)?),
            ("memory", Some(size)) => self.memory = Some(parse_size(size).map_err(usage)?),
            ("prefetch", Some(which)) => {
                self.prefetch = Some(
                    Prefetch::named(which)
                        .ok_or_else(|| usage(format!("invalid variant: {which}")))?,
                );
            }
            ("timeout", Some(time)) => self.timeout = Some(parse_duration(time).map_err(usage)?),
            ("", None) => {}
            _ if name.starts_with("x-") || IGNORED.contains(&name) => {}
            _ => {
                return Err(usage(format!("unknown mount option `{option}`; known are {KNOWN}")));
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash keeps.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' => parts[last].extend(chars.next()),
            ',' => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
}

/// `60s`, `500ms`, `2m`, or plain seconds.
///
/// # Errors
/// Anything else, and zero: a mount that never waits answers nothing.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)) {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("`{text}` is not a time; write `60s`, `500ms` or `2m`")),
    }
}

/// `64G`, `500M`, `2T`, `100K`, or plain bytes; each step is 1,024.
///
/// # Errors
/// Anything else.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).unwrap_or(unit);
    let power = ["", "K", "M", "G", "T"].iter().position(|known| known.eq_ignore_ascii_case(unit));
    let bytes = power
        .zip(number.parse::<u64>().ok())
        .and_then(|(power, number)| number.checked_mul(1 << (10 * power)));
    bytes.ok_or_else(|| format!("`{text}` is not a size; write `64G`, `500M` or `0`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fstab_says() {
        let list = "rw,_netdev,nofail,x-systemd.automount,allow_other,xattr,endpoint-url=http://h:1/a\\,b,profile=p,request-payer,config=/c,timeout=5s";
        let want = MountOptions {
            allow_other: true,
            xattr: true,
            endpoint_url: Some("http://h:1/a,b".into()),
            profile: Some("p".into()),
            request_payer: true,
            config: Some("/c".into()),
            timeout: Some(Duration::from_secs(5)),
            ..MountOptions::default()
        };
        assert_eq!(MountOptions::parse(list).ok(), Some(want));
        assert_eq!(MountOptions::parse("").ok(), Some(MountOptions::default()));
    }

    #[test]
    fn an_unknown_option_is_named() {
        for list in ["alow_other", "region", "anon=1", "timeout=never", "timeout=0s"] {
            let error = MountOptions::parse(list).expect_err(list).to_string();
            assert!(error.contains('`'), "{error}");
        }
    }

    #[test]
    fn reads_sizes() {
        let cases = [
            ("0", 0),
            ("12", 12),
            ("1k", 1024),
            ("500M", 500 << 20),
            ("64GiB", 64 << 30),
            ("2TB", 2 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "1X", "1GG", "99999999999T", "\u{e9}"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_times() {
        let cases = [("60s", 60_000), ("60", 60_000), ("500ms", 500), ("2m", 120_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1.5s", "1h", "0", "99999999999999999999s", "18446744073709551615m"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
