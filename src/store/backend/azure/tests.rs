//! Tables of environments and settings, and the result of each.

use super::*;

const KEY: (&str, &str) = ("AZURE_STORAGE_KEY", "c2VjcmV0");
const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT", "acc");

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn azure(anon: bool, variables: Pairs<'_>) -> Azure {
    told("", anon, variables)
}

/// Azure with a table for the container `c`.
fn told(table: &str, anon: bool, variables: Pairs<'_>) -> Azure {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let text = if table.is_empty() { String::new() } else { format!("[\"az://c\"]\n{table}") };
    let settings = crate::Settings::parse("/c".as_ref(), &text).unwrap();
    let config = Config { anon, settings, ..Config::new(Duration::from_secs(1)) };
    Azure::new(&config, &variables.iter().map(own).collect())
}

fn made(azure: &Azure) -> Result<Credentials, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let way = Arc::clone(&azure.container("c", b"k").way);
    let made = runtime.block_on(way.client("c")).map_err(|error| error.to_string());
    made.map(|_| *way.credentials.get().unwrap())
}

#[test]
fn the_account_and_its_credentials_are_those_of_the_environment() {
    let own = "https://acc.blob.core.windows.net";
    let string = "AccountName=other;AccountKey=c2VjcmV0;BlobEndpoint=http://h:1/other";
    let string = ("AZURE_STORAGE_CONNECTION_STRING", string);
    let name = ("AZURE_STORAGE_ACCOUNT_NAME", "acc");
    let endpoint = ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://h:2");
    let cases: [(bool, Pairs<'_>, Credentials, &str); 7] = [
        (false, &[ACCOUNT, KEY], Credentials::Told, own),
        (true, &[ACCOUNT, KEY], Credentials::None, own),
        (false, &[name, ("AZURE_STORAGE_SAS_TOKEN", "sig=a")], Credentials::Told, own),
        (false, &[ACCOUNT, KEY, endpoint], Credentials::Told, "http://h:2"),
        (false, &[ACCOUNT, KEY, string], Credentials::Told, "http://h:1/other"),
        (false, &[("AZURE_STORAGE_USE_EMULATOR", "true")], Credentials::Told, "azurite"),
        (false, &[ACCOUNT, ("AZURE_SKIP_SIGNATURE", "1")], Credentials::None, own),
    ];
    for (anon, variables, credentials, server) in cases {
        let azure = azure(anon, variables);
        assert_eq!(made(&azure), Ok(credentials), "{variables:?}");
        assert_eq!(cloud::Bucket::server(&*azure.container("c", b"k")), server);
    }
}

#[test]
fn wrong_settings_are_named_and_secrets_are_not() {
    let string = |text| ("AZURE_STORAGE_CONNECTION_STRING", text);
    let cases: [(Pairs<'_>, &str); 4] = [
        (&[KEY], "no Azure account: set `AZURE_STORAGE_ACCOUNT` or"),
        (&[string("AccountKey=secret")], "`AZURE_STORAGE_CONNECTION_STRING` is not usable: "),
        (&[string("BlobEndpoint=https://h/?sig=secret")], "`https://h/` is not an endpoint"),
        (&[ACCOUNT, ("AZURE_STORAGE_KEY", "=secret=")], "the settings for Azure are wrong: "),
    ];
    for (variables, message) in cases {
        let error = made(&azure(false, variables)).unwrap_err();
        assert!(error.starts_with(message) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_table_wins_over_the_environment() {
    let string = |text| ("AZURE_STORAGE_CONNECTION_STRING", text);
    let theirs = string("AccountName=theirs;AccountKey=c2VjcmV0;BlobEndpoint=http://h:1/theirs");
    let own = ("OTHER", "AccountName=own;AccountKey=c2VjcmV0;BlobEndpoint=http://h:2/own");
    let emulator = ("AZURE_STORAGE_USE_EMULATOR", "true");
    let (bearer, none) = (("AZURE_STORAGE_TOKEN", "secret"), Credentials::None);
    let by_env = "connection_string_env = 'OTHER'";
    let skip = ("AZURE_SKIP_SIGNATURE", "1");
    let cases: [(&str, Pairs<'_>, Credentials, &str); 9] = [
        (by_env, &[theirs, own], Credentials::Told, "http://h:2/own"),
        (by_env, &[ACCOUNT, KEY, own], Credentials::Told, "http://h:2/own"),
        (by_env, &[emulator, skip, own], Credentials::Told, "http://h:2/own"),
        ("account = 'acc'", &[KEY], Credentials::Told, "https://acc.blob.core.windows.net"),
        (
            "account = 'acc'",
            &[ACCOUNT, KEY],
            Credentials::Told,
            "https://acc.blob.core.windows.net",
        ),
        ("account = 'acc'\nanon = true", &[theirs], none, "https://acc.blob.core.windows.net"),
        (
            "account = 'acc'",
            &[theirs, bearer],
            Credentials::Told,
            "https://acc.blob.core.windows.net",
        ),
        // Another server receives no credentials of the environment.
        ("endpoint_url = 'http://h:3/theirs'", &[theirs], none, "http://h:3/theirs"),
        ("account = 'acc'\nendpoint_url = 'http://h:3'", &[emulator, bearer], none, "http://h:3"),
    ];
    for (table, variables, credentials, server) in cases {
        let azure = told(table, false, variables);
        azure.check().unwrap();
        assert_eq!(made(&azure), Ok(credentials), "{table} {variables:?}");
        assert_eq!(cloud::Bucket::server(&*azure.container("c", b"k")), server, "{table}");
        let said = azure.describe("az://c/in").unwrap();
        assert_eq!((said[0].1.as_str(), said[1].1.as_str()), ("[\"az://c\"]", server));
        assert_eq!(said[2].1 == "anonymous", credentials == none, "{said:?}");
    }
    let other = told("account = 'acc'", false, &[theirs]).container("c", b"k");
    assert!(matches!(other.way.has_credentials(), Ok(false)), "the key is of another account");
    let wrong: [(&str, Pairs<'_>, &str); 3] = [
        (by_env, &[], "the variable `OTHER` is not set"),
        (by_env, &[("OTHER", "hush")], "the connection string is not usable: "),
        ("endpoint_url = 'https://h/?sig=hush'", &[ACCOUNT], "`https://h/` is not an endpoint"),
    ];
    for (table, variables, message) in wrong {
        let error = told(table, false, variables).check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("settings of `az://c`: {message}")), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn az_is_asked_only_where_somebody_logged_in() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir_all(at(".azure")).unwrap();
    let (folder, path) = (home.path().to_str().unwrap(), at("bin"));
    let variables = [("HOME", folder), ("PATH", path.to_str().unwrap())];
    let has_az = || azure(false, &variables).container("c", b"k").way.has_az();
    assert!(!has_az());
    std::fs::write(at(".azure/azureProfile.json"), "{}").unwrap();
    assert!(!has_az());
    std::fs::create_dir(at("bin")).unwrap();
    std::fs::write(at("bin/az"), "").unwrap();
    assert!(has_az());
}
