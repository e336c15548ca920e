//! User names and passwords for servers, from the environment and from files that it names.

use std::path::PathBuf;

use super::address::Server;
use super::error::ServerError;

/// A password. Its `Debug` form hides it.
#[derive(Clone, Default)]
pub struct Password(pub Option<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "..." } else { "none" })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read(file: &str) -> Result<String, ServerError> {
    let cause = |cause| ServerError::PasswordFile { file: file.to_owned(), cause };
    std::fs::read_to_string(file).map_err(cause)
}

/// The user and the password for ClickHouse: `CLICKHOUSE_USER`, `CLICKHOUSE_PASSWORD`, or the first
/// line of `CLICKHOUSE_PASSWORD_FILE`.
pub fn clickhouse(server: &Server) -> Result<(String, Password), ServerError> {
    let user = server.user.clone().or_else(|| variable("CLICKHOUSE_USER"));
    let password = match (variable("CLICKHOUSE_PASSWORD"), variable("CLICKHOUSE_PASSWORD_FILE")) {
        (Some(password), _) => Some(password),
        (None, Some(file)) => read(&file)?.lines().next().map(str::to_owned),
        (None, None) => None,
    };
    Ok((user.unwrap_or_else(|| "default".into()), Password(password)))
}

/// The same for PostgreSQL, from the variables of its own programs: `PGUSER`, `PGPASSWORD`,
/// `PGPASSFILE` or `~/.pgpass`.
pub fn postgres(server: &Server) -> Result<(String, Password), ServerError> {
    let user = server.user.clone().or_else(|| variable("PGUSER")).or_else(|| variable("USER"));
    let user = user.unwrap_or_else(|| "postgres".into());
    if let Some(password) = variable("PGPASSWORD") {
        return Ok((user, Password(Some(password))));
    }
    let text = match (variable("PGPASSFILE"), std::env::var_os("HOME")) {
        (Some(file), _) => read(&file)?,
        (None, Some(home)) => {
            std::fs::read_to_string(PathBuf::from(home).join(".pgpass")).unwrap_or_default()
        }
        (None, None) => String::new(),
    };
    let port = server.port.to_string();
    let wanted = [server.host.as_str(), &port, &server.database, &user];
    let password = text.lines().find_map(|line| of_line(line, wanted));
    Ok((user, Password(password)))
}

/// The password of a line `host:port:database:user:password`, where `*` matches anything and `\`
/// escapes `:` and `\`.
fn of_line(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => field.extend(rest.next()),
            ':' if fields.len() < wanted.len() => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    let is_meant = fields.len() == wanted.len()
        && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
    is_meant.then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_pgpass_is_for_those_it_names() {
        let wanted = ["h", "5432", "d", "u"];
        let cases = [
            ("h:5432:d:u:pass", Some("pass")),
            ("*:*:*:*:a:b\\\\", Some("a:b\\")),
            ("h:5433:d:u:pass", None),
            ("#h:5432:d:u:pass", None),
            ("h:5432", None),
            ("", None),
        ];
        for (line, want) in cases {
            assert_eq!(of_line(line, wanted).as_deref(), want, "{line}");
        }
        assert_eq!(format!("{:?}", Password(Some("secret".into()))), "...");
    }
}
