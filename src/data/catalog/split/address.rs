//! The address of a catalog on servers: `clickhouse://HOST:PORT/DATABASE?metastore=postgresql://HOST:PORT/DATABASE`.
//!
//! The metastore may also be a SQLite catalog: `?metastore=/path/to/.datachain`. ClickHouse on
//! another machine is reached over TLS unless `secure=false` allows sending the password in plain
//! text; on this machine only through its usual TLS ports, 8443 and 443, or with `secure=true`. A
//! user name may precede the host (`reader@host`); a password never does: it comes from the
//! environment or a file.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::error::ServerError;

/// The scheme of an address.
const SCHEME: &str = "clickhouse://";

/// The locations of rows and names of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub warehouse: Server,
    pub metastore: Names,
}

/// The location of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    Postgres(Server),
    Sqlite(PathBuf),
}

/// One server and one of its databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub database: String,
    /// As given in the address.
    pub user: Option<String>,
    /// Whether it is reached over TLS.
    pub secure: bool,
}

/// Whether the named catalog is an address.
pub fn is_address(given: &Path) -> bool {
    given.to_str().is_some_and(|given| given.starts_with(SCHEME))
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// An invalid address. A password in it is not repeated.
    pub fn parse(given: &str) -> Result<Self, ServerError> {
        let wrong =
            |why: &str| ServerError::Address { given: without_password(given), why: why.into() };
        let rest = given
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("it does not begin with `clickhouse://`"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The usual port depends on whether it is reached over TLS.
        let mut warehouse = server(place, (0, "default"), "`clickhouse://`", &wrong)?;
        let (mut metastore, mut secure) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "metastore" => metastore = Some(decoded(value, &wrong)?),
                "secure" => secure = Some(truth(value, &wrong)?),
                _ => {
                    return Err(wrong(&format!(
                        "its options are `metastore` and `secure`, not `{name}`"
                    )));
                }
            }
        }
        let is_elsewhere = !is_loopback(&warehouse.host);
        warehouse.secure = secure.unwrap_or(is_elsewhere || matches!(warehouse.port, 443 | 8443));
        if warehouse.port == 0 {
            warehouse.port = if warehouse.secure { 8443 } else { 8123 };
        }
        let metastore = metastore
            .ok_or_else(|| wrong("it does not say where the names are (`?metastore=`)"))?;
        Ok(Self { warehouse, metastore: names(&metastore, &wrong)? })
    }

    /// The server and the database of its rows, for a message.
    pub fn shown(&self) -> String {
        format!("{SCHEME}{}/{}", self.warehouse.authority(), self.warehouse.database)
    }
}

fn names(given: &str, wrong: &dyn Fn(&str) -> ServerError) -> Result<Names, ServerError> {
    let rest = given.strip_prefix("postgresql://").or_else(|| given.strip_prefix("postgres://"));
    let Some(rest) = rest else {
        return match given.contains("://") {
            true => Err(wrong("its metastore is neither `postgresql://...` nor a folder")),
            false if given.is_empty() => Err(wrong("its metastore is empty")),
            false => Ok(Names::Sqlite(given.into())),
        };
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut server = server(place, (5432, "datachain"), "`postgresql://`", wrong)?;
    server.secure = !is_loopback(&server.host);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        server.secure = match pair {
            "sslmode=disable" => false,
            "sslmode=require" | "sslmode=verify-ca" | "sslmode=verify-full" => true,
            _ => {
                // The text after `=` may be a password.
                let name = pair.split('=').next().unwrap_or_default();
                return Err(wrong(&format!(
                    "the metastore's options are `sslmode=disable` and `sslmode=require`, not this `{name}`"
                )));
            }
        };
    }
    Ok(Names::Postgres(server))
}

fn server(
    place: &str,
    (port, database): (u16, &str),
    scheme: &'static str,
    wrong: &dyn Fn(&str) -> ServerError,
) -> Result<Server, ServerError> {
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (user, at) = match authority.rsplit_once('@') {
        Some((user, at)) => (Some(user), at),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(ServerError::Password(scheme));
    }
    let (host, said) = match at.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => at.split_once(':').map_or((at, None), |(host, port)| (host, Some(port))),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(wrong("it names no host"));
    }
    let port = match said {
        Some(said) => said.parse().map_err(|_| wrong("its port is no number"))?,
        None => port,
    };
    let path = path.trim_end_matches('/');
    if path.contains('/') {
        return Err(wrong("a database is one name"));
    }
    let path = decoded(path, wrong)?;
    Ok(Server {
        host: host.to_owned(),
        port,
        database: if path.is_empty() { database.to_owned() } else { path },
        user: user.map(|user| decoded(user, wrong)).transpose()?,
        secure: false,
    })
}

/// Whether a host is this machine.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn decoded(text: &str, wrong: &dyn Fn(&str) -> ServerError) -> Result<String, ServerError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| wrong("it is not UTF-8"))?;
    if text.contains(char::is_control) {
        Err(wrong("it has control characters"))
    } else {
        Ok(text.into_owned())
    }
}

fn truth(value: &str, wrong: &dyn Fn(&str) -> ServerError) -> Result<bool, ServerError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong("`secure` is `true` or `false`")),
    }
}

/// An address for a message, without anything that may be a password: nothing before the last `@`
/// or after a `?`.
fn without_password(given: &str) -> String {
    let (scheme, rest) = given.split_once("://").unwrap_or(("", given));
    let rest = match rest.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => rest.to_owned(),
    };
    let shown = match rest.split_once('?') {
        Some((place, _)) => format!("{place}?..."),
        None => rest,
    };
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    format!("{scheme}{shown}").escape_debug().to_string()
}

impl Server {
    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_both_halves_are() {
        let server = |host: &str, port, database: &str, user: Option<&str>, secure| Server {
            host: host.into(),
            port,
            database: database.into(),
            user: user.map(Into::into),
            secure,
        };
        let cases = [
            (
                "clickhouse://ch:8443/dc?metastore=postgresql://pg/meta",
                server("ch", 8443, "dc", None, true),
                Names::Postgres(server("pg", 5432, "meta", None, true)),
            ),
            (
                "clickhouse://reader@127.0.0.1?metastore=postgresql%3A%2F%2Fa%40b@localhost:5433/x",
                server("127.0.0.1", 8123, "default", Some("reader"), false),
                Names::Postgres(server("localhost", 5433, "x", Some("a@b"), false)),
            ),
            (
                "clickhouse://[::1]:9000/dc?secure=true&metastore=/data/a%20b/.datachain",
                server("::1", 9000, "dc", None, true),
                Names::Sqlite("/data/a b/.datachain".into()),
            ),
        ];
        for (place, port, secure) in [
            ("h", 8443, true),
            ("h:8123", 8123, true),
            ("localhost", 8123, false),
            ("127.0.0.1:8443", 8443, true),
        ] {
            let found = Address::parse(&format!("clickhouse://{place}/d?metastore=/m"));
            let found = found.unwrap_or_else(|error| panic!("{place}: {error}")).warehouse;
            assert_eq!((found.port, found.secure), (port, secure), "{place}");
        }
        let plain =
            Address::parse("clickhouse://h/d?secure=false&metastore=/m").expect("it is one");
        assert_eq!((plain.warehouse.port, plain.warehouse.secure), (8123, false));
        for (given, warehouse, metastore) in cases {
            let found = Address::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(found, Address { warehouse, metastore }, "{given}");
        }
    }

    #[test]
    fn a_wrong_address_is_told_without_its_password() {
        let cases = [
            ("clickhouse://u:secret@h/d?metastore=postgresql://h/d", "password"),
            ("clickhouse://h/d?metastore=postgresql://u:secret@h/d", "password"),
            ("clickhouse://u:secret@h/d?metastor=x", "password"),
            ("clickhouse://h:x/d?metastore=m", "its port is no number"),
            ("clickhouse://h/d", "where the names are"),
            ("clickhouse:///d?metastore=m", "names no host"),
            ("clickhouse://h/d?metastore=mysql://u:secret@h", "neither"),
            ("clickhouse://h/d?metastore=postgresql://h/d?sslmode=maybe", "sslmode"),
            ("clickhouse://h/a/b?metastore=m", "a database is one name"),
            ("clickhouse://u:s@secret@h:x/d?metastore=m", "password"),
            ("clickhouse://u:secret/more@h:x/d?metastore=m", "its port is no number"),
            ("clickhouse://h:x/d?password=secret", "its port is no number"),
            ("clickhouse://h/d?metastore=postgresql://h/d?password=secret", "sslmode"),
        ];
        for (given, want) in cases {
            let error = Address::parse(given).expect_err(given).to_string();
            assert!(error.contains(want) && !error.contains("secret"), "{given}: {error}");
        }
    }
}
