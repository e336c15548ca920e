//! Masks secrets in texts that others get to see: recorded commands and scripts, addresses in a log
//! or on a page.
//!
//! Values that are named like a secret, and the passwords and signatures of URLs, are shown as
//! `***`.

/// The most characters of a text that are kept.
const LONGEST: usize = 1 << 20;

/// Masks the passwords of URLs, the signatures of signed URLs, and values that are named like a
/// secret.
pub fn masked(text: &str) -> String {
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
    without_named(&(out + rest))
}

/// Masks the password in the text after `://`: `user:***@host/...`.
fn without_password(url: &str) -> String {
    let Some((who, rest)) = url.rsplit_once('@') else { return url.to_owned() };
    let Some((user, password)) = who.split_once(':') else { return url.to_owned() };
    // `host:8080/a@b` has a port, and `bucket/a:b@c` is a path.
    let port =
        password.split_once('/').is_some_and(|(port, _)| port.bytes().all(|b| b.is_ascii_digit()));
    match user.contains('/') || port {
        true => url.to_owned(),
        false => format!("{user}:***@{rest}"),
    }
}

/// Names whose values grant access to whoever has them: URL parameters, options, settings of a
/// script.
const SECRETS: [&str; 20] = [
    "sig",
    "signature",
    "x-amz-signature",
    "x-amz-security-token",
    "x-amz-credential",
    "x-goog-signature",
    "x-goog-credential",
    "access_token",
    "access-token",
    "token",
    "auth_token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "api_key",
    "api-key",
    "apikey",
    "aws_secret_access_key",
];

fn is_secret(name: &str) -> bool {
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    SECRETS.contains(&name.as_str())
        || name.ends_with("_password")
        || name.ends_with("_token")
        || name.ends_with("_secret")
        || name.ends_with("_key")
            && (name.contains("secret") || name.contains("account") || name.contains("access"))
}

fn without_signature(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => part.to_owned(),
    });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

/// Masks `password=x`, `access_token='x'` and the like, outside URLs.
fn without_named(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (head, tail) = rest.split_at(at + 1);
        let spaced = head[..at].trim_end_matches(' ');
        let start = spaced
            .rfind(|c| !is_name(c))
            .map_or(0, |last| last + spaced[last..].chars().next().map_or(1, char::len_utf8));
        out += head;
        let is_comparison = tail.starts_with('=') || head[..at].ends_with(['!', '<', '>', '=']);
        if is_comparison || !is_secret(&spaced[start..]) {
            rest = tail;
            continue;
        }
        let value = tail.trim_start_matches(' ');
        out += &tail[..tail.len() - value.len()];
        let length = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
            _ => value
                .find(|c: char| {
                    c.is_whitespace() || matches!(c, '&' | ',' | ')' | '"' | '\'' | ';')
                })
                .unwrap_or(value.len()),
        };
        if length > 0 {
            out += "***";
        }
        rest = &value[length..];
    }
    out + rest
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
            ("https://h/x?access_token=abc", "https://h/x?access_token=***"),
            ("dcfs index x --note password=abc", "dcfs index x --note password=***"),
            ("read(password='a b', path=\"x\")", "read(password=***, path=\"x\")"),
            ("AWS_SECRET_ACCESS_KEY=abc python x.py", "AWS_SECRET_ACCESS_KEY=*** python x.py"),
            ("token = \"hush\" # ours", "token = *** # ours"),
            ("size = 10 and label == token", "size = 10 and label == token"),
            ("token == 3 and key=4", "token == 3 and key=4"),
            ("://", "://"),
            ("a ://:@ b", "a ://:***@ b"),
        ];
        for (text, want) in cases {
            assert_eq!(masked(text), want);
        }
    }
}
