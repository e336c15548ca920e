//! Tables of environments and settings, and the result of each.

use super::*;

fn config(anon: bool) -> Config {
    Config { anon, ..Config::new(Duration::from_secs(1)) }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn gcs(anon: bool, variables: Pairs<'_>) -> Gcs {
    told("", anon, variables)
}

/// Google Cloud Storage with a table for the bucket `b`.
fn told(table: &str, anon: bool, variables: Pairs<'_>) -> Gcs {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let text = if table.is_empty() { String::new() } else { format!("[\"gs://b\"]\n{table}") };
    let settings = crate::Settings::parse("/c".as_ref(), &text).unwrap();
    let config = Config { settings, ..config(anon) };
    Gcs::new(&config, &variables.iter().map(own).collect())
}

/// Whether requests are signed, or why no client could be made.
fn decided(gcs: &Gcs) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bucket = gcs.bucket("b", b"k");
    let made = runtime.block_on(bucket.way.client("b")).map_err(|error| error.to_string());
    made.map(|_| bucket.is_signed())
}

#[test]
fn credentials_are_those_of_the_environment_or_none() {
    let token = ("GOOGLE_BEARER_TOKEN", "secret");
    let cases: [(bool, Pairs<'_>, bool); 6] = [
        (false, &[token], true),
        (true, &[token], false),
        (false, &[token, ("GOOGLE_SKIP_SIGNATURE", "true")], false),
        (false, &[("STORAGE_EMULATOR_HOST", "localhost:1")], false),
        (false, &[("STORAGE_EMULATOR_HOST", "http://localhost:1"), token], true),
        (false, &[("NO_GCE_CHECK", "true")], false),
    ];
    for (anon, variables, signed) in cases {
        assert_eq!(decided(&gcs(anon, variables)), Ok(signed), "{anon} {variables:?}");
    }
}

#[test]
fn what_gcloud_left_is_used_and_never_repeated() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&folder).unwrap();
    let user = r#"{"type":"authorized_user","client_id":"c","client_secret":"secret",
        "refresh_token":"secret"}"#;
    std::fs::write(folder.join(DEFAULT), user).unwrap();
    let home = ("HOME", home.path().to_str().unwrap());
    assert_eq!(decided(&gcs(false, &[home])), Ok(true));
    assert_eq!(decided(&gcs(true, &[home])), Ok(false));
    let elsewhere = ("CLOUDSDK_CONFIG", folder.to_str().unwrap());
    assert_eq!(decided(&gcs(false, &[elsewhere])), Ok(true));
    for bad in [
        r#"{"type":"external_account","x":"secret"}"#,
        r#"{"type":"authorized_user","client_id":["secret"]}"#,
        "\"secret\"",
        "",
    ] {
        std::fs::write(folder.join(DEFAULT), bad).unwrap();
        let error = decided(&gcs(false, &[home])).unwrap_err();
        assert!(error.starts_with("the settings for Google Cloud Storage are wrong: "), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_table_wins_over_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let user =
        r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
    std::fs::write(home.path().join("k.json"), user).unwrap();
    let home = ("HOME", home.path().to_str().unwrap());
    let (token, skip) = (("GOOGLE_BEARER_TOKEN", "secret"), ("GOOGLE_SKIP_SIGNATURE", "true"));
    let emulator = ("STORAGE_EMULATOR_HOST", "localhost:1");
    let file = "credentials_file = '~/k.json'";
    let cases: [(&str, bool, Pairs<'_>, bool, &str); 6] = [
        ("anon = true", false, &[token, home], false, "Google Cloud"),
        (file, false, &[home, skip], true, "Google Cloud"),
        (file, false, &[home, emulator], true, "http://localhost:1"),
        (file, true, &[home], false, "Google Cloud"),
        // Another server receives no credentials of the environment.
        ("endpoint_url = 'https://t/'", false, &[token, emulator], false, "https://t"),
        ("endpoint_url = 'http://t'\nanon = true", false, &[emulator], false, "http://t"),
    ];
    for (table, anon, variables, signed, server) in cases {
        let gcs = told(table, anon, variables);
        gcs.check().unwrap();
        assert_eq!(decided(&gcs), Ok(signed), "{table} {variables:?}");
        assert_eq!(cloud::Bucket::server(&*gcs.bucket("b", b"k")), server, "{table}");
        let said = gcs.describe("gs://b/in").unwrap();
        assert_eq!((said[0].1.as_str(), said[1].1.as_str()), ("[\"gs://b\"]", server));
        assert_eq!(said[2].1 != "anonymous", signed, "{said:?}");
        let other = cloud::Bucket::server(&*gcs.bucket("c", b"k")).to_owned();
        assert!(!other.contains("//t"), "other buckets are as they were: {other}");
    }
    let open = told(&format!("endpoint_url = 'http://t'\n{file}"), false, &[home]);
    assert!(decided(&open).unwrap_err().contains("without TLS"), "a token is not sent in the open");
    let wrong = [
        ("credentials_file = '/nonexistent/k'", "the settings for Google Cloud Storage are wrong"),
        ("endpoint_url = 'http://u:hush@h'", "`h` is not an endpoint"),
    ];
    for (table, message) in wrong {
        let error = told(table, false, &[home]).check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("settings of `gs://b`: {message}")), "{error}");
    }
}

#[test]
fn the_endpoint_is_checked() {
    let servers = [("localhost:9023", "http://localhost:9023"), ("https://h/", "https://h")];
    for (given, server) in servers {
        let gcs = gcs(false, &[("STORAGE_EMULATOR_HOST", given)]);
        assert_eq!(cloud::Bucket::server(&*gcs.bucket("b", b"k")), server);
    }
    let error = decided(&gcs(true, &[("STORAGE_EMULATOR_HOST", "http://u:secret@h")]));
    assert_eq!(error, Err("`h` is not an endpoint; write `http[s]://host[:port]`".into()));
}
