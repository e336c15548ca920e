//! The definition of a volume by its attributes and its secret, which are chosen by whoever writes a pod.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};

use dcfs_data::catalog::{self, Named};

use super::grpc::{Code, Status};

/// Prefix of attributes that Kubernetes adds.
const OF_KUBERNETES: &str = "csi.storage.k8s.io/";

/// Allowed keys of a secret: variables that are credentials themselves. A variable that names a file or a
/// program would be opened or run on the node.
const SECRETS: [&str; 17] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "HF_TOKEN",
    "CLICKHOUSE_USER",
    CLICKHOUSE_PASSWORD,
    "PGUSER",
    PGPASSWORD,
    STUDIO_TOKEN,
    STUDIO_URL,
];

/// Passwords of servers, which a secret contains for the address of a catalog.
const CLICKHOUSE_PASSWORD: &str = "CLICKHOUSE_PASSWORD";
const PGPASSWORD: &str = "PGPASSWORD";
const STUDIO_TOKEN: &str = "DATACHAIN_STUDIO_TOKEN";

/// The server that gets the token of Studio.
const STUDIO_URL: &str = "DATACHAIN_STUDIO_URL";

/// Prefixes of variables with credentials of the plugin, which are removed for a volume with its own secret.
pub const CREDENTIALS: [&str; 8] =
    ["AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "HF_", "CLICKHOUSE_", "PG", "DATACHAIN_"];

/// The catalog of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Relative to the folder of catalogs; empty for that folder itself.
    Folder(PathBuf),
    /// The address of a catalog on servers.
    Servers(String),
}

impl Default for Source {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

/// A requested volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub catalog: Source,
    /// `pets` or `pets@1.0.0`; `None` for the whole catalog.
    pub dataset: Option<String>,
    /// A filter of the dataset.
    pub filter: Option<String>,
    /// Additional arguments of `dcfs mount`.
    pub flags: Vec<OsString>,
    /// Environment variables of its process.
    pub secrets: Vec<(String, String)>,
}

impl Volume {
    /// Parses a request.
    ///
    /// # Errors
    /// `InvalidArgument` with the allowed keys.
    pub fn parse(
        attributes: &HashMap<String, String>,
        secrets: &HashMap<String, String>,
    ) -> Result<Self, Status> {
        let mut volume = Self::default();
        let mut given: Vec<_> = attributes.iter().collect();
        given.sort();
        for (key, value) in given {
            let mut flag = |name: &str| volume.flags.push(format!("--{name}={value}").into());
            match key.as_str() {
                "catalog" => volume.catalog = source(value)?,
                "dataset" => volume.dataset = Some(name(value)?.to_owned()),
                "filter" if value.len() < 4096 => volume.filter = Some(value.clone()),
                "region" => flag("region"),
                "endpointUrl" => {
                    flag("endpoint-url");
                    check_endpoint(value)?;
                }
                "prefetch" => flag("prefetch"),
                "anon" if value == "true" => volume.flags.push("--anon".into()),
                "anon" if value == "false" => {}
                key if key.starts_with(OF_KUBERNETES) => {}
                key => {
                    return Err(invalid(format!(
                        "the attribute `{key}` is unknown or invalid; known are catalog, dataset, filter, region, endpointUrl, anon (true or false), prefetch"
                    )));
                }
            }
        }
        if volume.filter.is_some() && volume.dataset.is_none() {
            return Err(invalid("`filter` needs a `dataset`".into()));
        }
        for (key, value) in secrets {
            if !SECRETS.contains(&key.as_str()) || value.contains('\0') {
                let known = SECRETS.join(", ");
                return Err(invalid(format!(
                    "the key `{key}` of the secret is not one of {known}"
                )));
            }
            volume.secrets.push((key.clone(), value.clone()));
        }
        if let Source::Servers(address) = &volume.catalog {
            check_servers(address, secrets)?;
        }
        let is_anonymous = volume.flags.iter().any(|flag| flag == "--anon");
        if attributes.contains_key("endpointUrl") && volume.secrets.is_empty() && !is_anonymous {
            return Err(invalid(
                "`endpointUrl` needs a secret or `anon`: the plugin's own credentials are sent to no server that a pod names".into(),
            ));
        }
        Ok(volume)
    }
}

/// The catalog that an attribute names. What may contain a password is not repeated.
fn source(text: &str) -> Result<Source, Status> {
    if catalog::is_address(Path::new(text)) {
        return Ok(Source::Servers(text.to_owned()));
    }
    let path = Path::new(text);
    let is_down =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    // A mistyped address may have a password, which is not for messages about folders.
    let is_like_address = text.contains(":/") || (text.contains(':') && text.contains('@'));
    match is_down && !text.contains('\0') && !is_like_address {
        true => Ok(Source::Folder(path.to_owned())),
        false => Err(invalid(
            "`catalog` is a path below the folder of catalogs, or an address: clickhouse://USER@HOST/DATABASE?metastore=postgresql://USER@HOST/DATABASE, or studio://TEAM".into(),
        )),
    }
}

/// Refuses an address with a password, of a file, or of the node itself, and one whose passwords are not in the
/// secret: those of the plugin are sent to no server that a pod names.
fn check_servers(address: &str, secrets: &HashMap<String, String>) -> Result<(), Status> {
    let named = catalog::named(address).map_err(|error| invalid(error.to_string()))?;
    let needed: &[&str] = match &named {
        Named::Servers { names: None, .. } => {
            return Err(invalid(
                "the metastore of a volume's `catalog` is `postgresql://...`: a volume reads no file of the node".into(),
            ));
        }
        Named::Studio { has_team: false } => {
            return Err(invalid("`catalog` names no team: write studio://TEAM".into()));
        }
        Named::Servers { .. } => &[CLICKHOUSE_PASSWORD, PGPASSWORD],
        Named::Studio { .. } => &[STUDIO_TOKEN],
    };
    if let Some(missing) = needed.iter().find(|key| !secrets.contains_key(**key)) {
        return Err(invalid(format!(
            "a catalog on servers needs a secret with {}, and it has no `{missing}`; for a user without a password, leave it empty",
            needed.join(" and ")
        )));
    }
    match named {
        Named::Servers { rows, names } => std::iter::once(rows).chain(names).try_for_each(|host| {
            check_host(&host).map_err(|why| {
                invalid(format!(
                    "a server of `catalog` {why}: `{host}`; a volume names another machine"
                ))
            })
        }),
        Named::Studio { .. } => match secrets.get(STUDIO_URL) {
            Some(url) => {
                check_url(url).map_err(|why| invalid(format!("`{STUDIO_URL}` in the secret {why}")))
            }
            None => Ok(()),
        },
    }
}

/// Refuses an endpoint that is this node itself or its metadata service.
fn check_endpoint(url: &str) -> Result<(), Status> {
    check_url(url).map_err(|why| {
        invalid(format!(
            "`endpointUrl` {why}; only the administrator can name such a server, with a flag of the plugin"
        ))
    })
}

/// Why a URL may not be asked.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return Err("is not of the form http://HOST or https://HOST") };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(is_plain) {
        return Err("names no valid host");
    }
    check_host(match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    })
}

/// Metadata services of clouds whose addresses are not link-local: of AWS over IPv6, of Alibaba, and of Azure.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Why a host may not be asked: the plugin sends requests as the node, not as the pod, so it may be neither this
/// node nor its metadata service.
fn check_host(host: &str) -> Result<(), &'static str> {
    const NEAR: &str = "is an address of the node itself, or of its metadata service";
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        let is_near = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
        };
        return if is_near || METADATA.contains(&address) { Err(NEAR) } else { Ok(()) };
    }
    // A host that ends in a number is an IPv4 address in another notation, such as 127.1 or 0x7f000001.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.is_empty() || last.starts_with(|c: char| c.is_ascii_digit()) || host.contains(':') {
        return Err("names no valid host");
    }
    match host == "localhost" || host.ends_with(".localhost") {
        true => Err(NEAR),
        false => Ok(()),
    }
}

/// Validates the name of one directory.
fn name(text: &str) -> Result<&str, Status> {
    let is_one = !text.is_empty() && text.len() < 256 && !text.contains(['/', '\0']);
    match is_one && text != "." && text != ".." {
        true => Ok(text),
        false => Err(invalid("`dataset` is a name as `ls datasets` of a mount shows it".into())),
    }
}

fn invalid(text: String) -> Status {
    Status::new(Code::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(attributes: &[(&str, &str)], secrets: &[(&str, &str)]) -> Result<Volume, Code> {
        let map = |all: &[(&str, &str)]| {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Volume::parse(&map(attributes), &map(secrets)).map_err(|status| status.code)
    }

    #[test]
    fn attributes_choose_and_nothing_more() {
        let volume = parse(
            &[
                ("catalog", "teams/vision"),
                ("dataset", "pets"),
                ("filter", "label = \"a/b\""),
                ("region", "eu-west-1"),
                ("anon", "true"),
                ("csi.storage.k8s.io/ephemeral", "true"),
            ],
            &[("AWS_ACCESS_KEY_ID", "k")],
        );
        let volume = volume.expect("all are known");
        assert_eq!(volume.flags, ["--anon", "--region=eu-west-1"]);
        assert_eq!(
            (volume.catalog, volume.dataset),
            (Source::Folder("teams/vision".into()), Some("pets".into()))
        );
        let at = parse(&[("catalog", "me@work/b:c")], &[]).map(|volume| volume.catalog);
        assert_eq!(at, Err(Code::InvalidArgument), "it may be a mistyped address with a password");
        let at = parse(&[("catalog", "me@work")], &[]).map(|volume| volume.catalog);
        assert_eq!(at, Ok(Source::Folder("me@work".into())));
        for (key, value) in [
            ("catalog", "/etc"),
            ("catalog", "a/../../b"),
            ("dataset", ".."),
            ("dataset", "a/b"),
            ("dataset", ""),
            ("filter", "a = 1"),
            ("anon", "yes"),
            ("local_root", "/"),
            ("allowUri", "s3://"),
        ] {
            assert_eq!(parse(&[(key, value)], &[]), Err(Code::InvalidArgument), "{key}={value}");
        }
        for key in ["LD_PRELOAD", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "DCFS_CONFIG", "PATH"] {
            assert_eq!(parse(&[], &[(key, "x")]), Err(Code::InvalidArgument), "{key}");
        }
    }

    #[test]
    fn a_catalog_on_servers_is_on_other_machines_and_needs_its_own_passwords() {
        let ours = [("CLICKHOUSE_PASSWORD", "c"), ("PGPASSWORD", "")];
        let token = ("DATACHAIN_STUDIO_TOKEN", "t");
        let with = |address: &str, secrets: &[(&str, &str)]| {
            parse(&[("catalog", address)], secrets).map(|volume| volume.catalog)
        };
        let good = "clickhouse://reader@ch.data:8443/d?metastore=postgresql://reader@10.0.0.1/d";
        assert_eq!(with(good, &ours), Ok(Source::Servers(good.into())));
        let studio = "studio://team";
        assert_eq!(with(studio, &[token]), Ok(Source::Servers(studio.into())));
        for (address, secrets) in [
            (good, &[][..]),
            (good, &ours[..1]),
            (good, &ours[1..]),
            (good, &[token]),
            (studio, &ours),
            ("studio://", &[token]),
            ("studio://team", &[token, ("DATACHAIN_STUDIO_URL", "https://169.254.169.254")]),
            ("clickhouse://h/d", &ours),
            ("clickhouse://h/d?metastore=/catalogs/a", &ours),
            ("clickhouse://127.0.0.1/d?metastore=postgresql://h/d", &ours),
            ("clickhouse://h/d?metastore=postgresql://[::1]/d", &ours),
            ("clickhouse://h/d?metastore=postgresql://localhost/d", &ours),
            ("postgresql://h/d", &ours),
        ] {
            assert_eq!(with(address, secrets), Err(Code::InvalidArgument), "{address}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for address in [
            "clickhouse://u:pass@h/d?metastore=postgresql://h/d",
            "clickhouse://h/d?metastore=postgresql://u:pass@h/d",
            "clickhouse://h/d?metastore=postgresql://h/d?password=pass",
            "clickhouse:/u:pass@h/d",
            "Clickhouse://u:pass@h/d",
            "postgresql://u:pass@h/d",
            "studio://pass@team",
        ] {
            let attributes = [("catalog".to_owned(), address.to_owned())].into();
            let keys = [CLICKHOUSE_PASSWORD, PGPASSWORD, STUDIO_TOKEN];
            let secrets = keys.map(|key| (key.to_owned(), "x".to_owned())).into();
            let refused = Volume::parse(&attributes, &secrets).expect_err(address);
            assert_eq!(refused.code, Code::InvalidArgument, "{address}");
            assert!(!refused.message.contains("u:pass"), "{address}: {}", refused.message);
            assert!(!refused.message.contains("pass@"), "{address}: {}", refused.message);
        }
    }

    #[test]
    fn an_endpoint_is_another_machine_and_needs_its_own_credentials() {
        let with = |url: &str| parse(&[("endpointUrl", url), ("anon", "true")], &[]).map(drop);
        for url in [
            "http://minio:9000",
            "https://s3.example.org/",
            "http://10.0.0.1",
            "http://[fd00::1]:9000",
        ] {
            assert_eq!(with(url), Ok(()), "{url}");
        }
        for url in [
            "http://127.0.0.1:9000",
            "http://127.1",
            "http://0x7f000001",
            "http://169.254.169.254/latest",
            "http://[fd00:ec2::254]/latest",
            "http://100.100.100.200",
            "http://168.63.129.16",
            "http://[::ffff:168.63.129.16]",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
            "http://[fe80::1]",
            "http://localhost.:1",
            "http://a@127.0.0.1",
            "http:///127.0.0.1",
            "127.0.0.1:9000",
        ] {
            assert_eq!(with(url), Err(Code::InvalidArgument), "{url}");
        }
        let url = ("endpointUrl", "http://minio:9000");
        assert_eq!(parse(&[url], &[]), Err(Code::InvalidArgument));
        assert!(parse(&[url], &[("AWS_ACCESS_KEY_ID", "k")]).is_ok());
    }
}
