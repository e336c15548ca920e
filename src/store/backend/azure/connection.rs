//! `AZURE_STORAGE_CONNECTION_STRING`: `Name=value;Name=value`, as the portal shows it. Pure.
//!
//! Names are case-insensitive, as in Microsoft's libraries; a value may contain `=`. Unknown names are ignored.

/// The parts of a connection string that concern blobs. Holds secrets, so it has no `Debug`.
#[derive(Default, PartialEq, Eq)]
pub struct Connection {
    pub account: Option<String>,
    pub key: Option<String>,
    /// A shared access signature, without the leading `?`.
    pub sas: Option<String>,
    pub endpoint: Option<String>,
    /// Azurite on this machine.
    pub is_development: bool,
}

impl Connection {
    /// # Errors
    /// The reason, if it names neither an account nor an endpoint. It repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<_> =
            text.split(';').filter_map(|part| part.trim().split_once('=')).collect();
        let get = |name: &str| {
            let found = parts.iter().find(|part| part.0.trim().eq_ignore_ascii_case(name));
            found.map(|part| part.1.trim()).filter(|value| !value.is_empty())
        };
        let own = |value: Option<&str>| value.map(str::to_owned);
        let account = get("AccountName");
        let protocol = get("DefaultEndpointsProtocol").unwrap_or("https");
        let suffixed =
            || Some(format!("{protocol}://{}.blob.{}", account?, get("EndpointSuffix")?));
        let endpoint = own(get("BlobEndpoint")).or_else(suffixed);
        let connection = Self {
            account: own(account).or_else(|| first_label(endpoint.as_deref()?)),
            key: own(get("AccountKey")),
            sas: get("SharedAccessSignature").map(|sas| sas.trim_start_matches('?').to_owned()),
            endpoint,
            is_development: get("UseDevelopmentStorage")
                .is_some_and(|v| v.eq_ignore_ascii_case("true")),
        };
        if connection.is_development || connection.account.is_some() {
            Ok(connection)
        } else {
            Err("it names neither an account nor an endpoint")
        }
    }
}

/// The account in one of Azure's own endpoints: `acc` of `https://acc.blob.core.windows.net`.
fn first_label(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://")?.1.split(['/', ':', '?']).next()?;
    let label = host.split('.').next().filter(|label| !label.is_empty());
    label.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_portal_gives() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            (
                "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a+b/c==;\
                 EndpointSuffix=core.windows.net",
                Connection {
                    account: some("acc"),
                    key: some("a+b/c=="),
                    endpoint: some("https://acc.blob.core.windows.net"),
                    ..Connection::default()
                },
            ),
            (
                "accountname=acc; BlobEndpoint=http://127.0.0.1:1/acc ;AccountKey=k;",
                Connection {
                    account: some("acc"),
                    key: some("k"),
                    endpoint: some("http://127.0.0.1:1/acc"),
                    ..Connection::default()
                },
            ),
            (
                "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=a%3D",
                Connection {
                    account: some("acc"),
                    sas: some("sv=1&sig=a%3D"),
                    endpoint: some("https://acc.blob.core.windows.net/"),
                    ..Connection::default()
                },
            ),
            (
                "UseDevelopmentStorage=true",
                Connection { is_development: true, ..Connection::default() },
            ),
            ("AccountName=acc", Connection { account: some("acc"), ..Connection::default() }),
        ];
        for (text, connection) in cases {
            assert!(Connection::parse(text).ok().unwrap() == connection, "{text}");
        }
        for text in ["", ";;", "secret", "AccountKey=secret", "UseDevelopmentStorage=false"] {
            let error = Connection::parse(text).err().unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
