//! `-o`: the options of mount(8) and fstab, as a comma-separated list.
//!
//! An option is a flag of `dcfs mount` without its dashes, so there is nothing to keep in step: the list is
//! converted to flags, which are parsed before the explicit ones.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgAction, Command};

use super::usage;
use dcfs_core::error::Result;

/// Flags that are not mount options: they control the command itself.
const NOT_OPTIONS: [&str; 3] = ["foreground", "report", "help"];

/// Options that are always true for dcfs, or that mount(8), fstab and systemd use themselves.
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

/// Converts a list such as `allow_other,endpoint_url=http://h:9000,_netdev` to flags of `mount`. A backslash
/// escapes a comma in a value.
///
/// # Errors
/// An unknown option, a missing or superfluous value.
pub fn flags(list: &str, mount: &Command) -> Result<Vec<OsString>> {
    let options = split(list);
    let flags = options.iter().map(|option| flag(option, mount));
    flags.filter_map(Result::transpose).collect()
}

/// One option as a flag; `None` for ignored ones.
fn flag(option: &str, mount: &Command) -> Result<Option<OsString>> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    if option.is_empty() || name.starts_with("x-") || IGNORED.contains(&name) {
        return Ok(None);
    }
    // Accepts `endpoint-url` and `endpoint_url`, like mountpoint-s3.
    let long = name.replace('_', "-");
    let known = known(mount).find(|arg| arg.get_long() == Some(&*long));
    let Some(known) = known else { return Err(unknown(option, mount)) };
    match (takes_value(known), value) {
        (true, Some(value)) => Ok(Some(format!("--{long}={value}").into())),
        (false, None) => Ok(Some(format!("--{long}").into())),
        (true, None) => {
            Err(usage(format!("the mount option `{name}` needs a value: `{name}=...`")))
        }
        (false, Some(_)) => Err(usage(format!("the mount option `{name}` takes no value"))),
    }
}

fn known(mount: &Command) -> impl Iterator<Item = &clap::Arg> {
    let is_option = |long: &str| long != "catalog" && !NOT_OPTIONS.contains(&long);
    mount.get_arguments().filter(move |arg| arg.get_long().is_some_and(is_option))
}

fn takes_value(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn unknown(option: &str, mount: &Command) -> dcfs_core::error::Error {
    let names: Vec<String> = known(mount)
        .filter_map(|arg| {
            let name = arg.get_long()?.replace('-', "_");
            let value = arg.get_value_names().and_then(|names| names.first());
            Some(match value.filter(|_| takes_value(arg)) {
                Some(value) => format!("{name}={value}"),
                None => name,
            })
        })
        .collect();
    let list = names.join(", ");
    usage(format!("unknown mount option `{option}`; known are {list}"))
}

/// Splits at commas that are neither escaped nor in a quoted value, such as an SELinux label.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut chars, mut is_quoted) = (list.chars(), false);
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '\\' => parts[last].extend(chars.next()),
            '"' if is_quoted => is_quoted = false,
            '"' if parts[last].ends_with('=') => is_quoted = true,
            ',' if !is_quoted => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    parts
}

/// Parses an SELinux label: `user:role:type:level`.
///
/// # Errors
/// Anything that could end it early for the kernel.
pub fn parse_label(text: &str) -> std::result::Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.:,".contains(c);
    match !text.is_empty() && text.chars().all(is_part) && text.contains(':') {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not an SELinux label; write `user:role:type:level`, as `ls -Z` prints them"
        )),
    }
}

/// Parses `60s`, `500ms`, `2m`, or plain seconds.
///
/// # Errors
/// Anything else, and zero: a mount that never waits could not answer.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)) {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("`{text}` is not a time; write `60s`, `500ms`, `2m`, `1h` or `7d`")),
    }
}

/// Parses `64G`, `500M`, `2T`, `100K`, or plain bytes; each unit is 1,024 times the smaller one.
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

/// Parses permission bits in octal, such as `0640`.
///
/// # Errors
/// Anything else; set-user-id and the like.
pub fn parse_mode(text: &str) -> std::result::Result<u16, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| format!("`{text}` is not a mode; write octal digits, e.g. `0644`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(list: &str) -> Result<String> {
        let flags = flags(list, &super::super::mount::command())?;
        Ok(flags.iter().map(|flag| flag.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn takes_what_fstab_says() {
        let cases = [
            ("rw,_netdev,nofail,x-systemd.automount,,", ""),
            ("allow_other,xattr,anon", "--allow-other --xattr --anon"),
            ("endpoint-url=http://h:1/a\\,b", "--endpoint-url=http://h:1/a,b"),
            ("profile=p,request-payer,timeout=5s", "--profile=p --request-payer --timeout=5s"),
            (
                "ro,context=\"system_u:object_r:t:s0:c1,c2\",anon",
                "--context=system_u:object_r:t:s0:c1,c2 --anon",
            ),
            ("local_root=/a,local_root=/b", "--local-root=/a --local-root=/b"),
        ];
        for (given, want) in cases {
            assert_eq!(list(given).ok().as_deref(), Some(want), "{given}");
        }
    }

    /// A new flag is automatically an option; only its row in the document is written by hand.
    #[test]
    fn every_option_has_its_row_in_the_document() {
        let page = include_str!("../../../docs/configuration.md");
        let table = page.split("\n## ").find(|part| part.starts_with("The table `[mount]`"));
        let keys =
            table.expect("there is such a table").lines().filter(|line| line.starts_with("| `"));
        let keys: Vec<&str> = keys.flat_map(|line| line.split(" | ").next()).collect();
        let mount = super::super::mount::command();
        // `config` names the file that would contain it.
        let options =
            known(&mount).filter_map(clap::Arg::get_long).filter(|long| *long != "config");
        for option in options {
            let key = format!("`{}`", option.replace('-', "_"));
            assert!(keys.iter().any(|line| line.contains(&key)), "{key} has no row");
        }
    }

    #[test]
    fn an_unknown_option_is_named() {
        for given in ["alow_other", "region", "anon=1", "catalog=/x", "report", "foreground"] {
            let error = list(given).expect_err(given).to_string();
            assert!(error.contains('`'), "{error}");
        }
    }

    #[test]
    fn a_label_ends_nothing() {
        assert!(parse_label("system_u:object_r:container_file_t:s0:c1,c2").is_ok());
        for text in ["", "x", "a:b\",allow_other", "a:b c", "a:\\b", "a:b\n"] {
            assert!(parse_label(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_modes() {
        let cases = [
            ("644", Some(0o644)),
            ("0555", Some(0o555)),
            ("0o440", None),
            ("1777", None),
            ("8", None),
        ];
        for (text, mode) in cases {
            assert_eq!(parse_mode(text).ok(), mode, "{text}");
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
        let cases =
            [("60s", 60_000), ("60", 60_000), ("500ms", 500), ("2m", 120_000), ("7d", 604_800_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1.5s", "1w", "0", "99999999999999999999s", "18446744073709551615m"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
