//! Texts of the file, and their meaning.

use proptest::prelude::*;

use super::*;
use crate::backend::tables::{Az, Gs, Hf, Http, S3};

/// The table that applies to an object of S3, and its name.
fn s3<'a>(settings: &'a Settings, bucket: &str, key: &[u8]) -> Option<(&'a str, &'a S3)> {
    let (name, said) = longest(settings.all(), &address("s3", bucket, key))?;
    Some((name.text(), said))
}

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("/c.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn mounts_have_options_of_their_own() {
    let text = "[mount]\nlocal_root = ['/a,b', '/c']\nallow_other = true\nxattr = false\ngid = 5\n['s3://b']\nanon = true";
    let settings = Settings::parse(Path::new("/c.toml"), text).unwrap();
    let options: Vec<String> = settings.mount().collect();
    assert_eq!(options, ["allow_other", "gid=5", "local_root=/a\\,b", "local_root=/c"]);
    assert_eq!(settings.names().count(), 1);
    for wrong in ["[mount]\na = 1.5", "[mount]\na = [1]", "mount = 1"] {
        assert!(Settings::parse(Path::new("/c.toml"), wrong).is_err(), "{wrong}");
    }
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
        let (name, _) = s3(&settings, bucket, key).unwrap();
        assert_eq!(name, table, "{bucket} {}", key.escape_ascii());
    }
    let (_, said) = s3(&settings, "b", b"in/side/x").unwrap();
    assert_eq!(*said, S3 { anon: true, ..S3::default() }, "nothing of the others");
    assert_eq!(s3(&parse("").unwrap(), "b", b"k"), None);
    assert_eq!(s3(&parse("[\"s3://b\"]").unwrap(), "c", b"b"), None);
}

#[test]
fn says_what_is_wrong_and_where() {
    let cases = [
        (
            "\n[\"s3://b\"]\nregoin = \"x\"",
            "3: there is no setting `regoin`; did you mean `region`?",
        ),
        (
            "[\"s3://b\"]\nxyzzy = 1",
            "2: there is no setting `xyzzy`; there are profile, region, endpoint_url, anon, request_payer",
        ),
        (
            "[\"s3://b\"]\naws_secret_access_key = \"hush\"",
            "2: there is no setting `aws_secret_access_key`; keys do not belong here",
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
        ("[\"s3:///b\"]", "1: `` is not a valid bucket name"),
        (
            "[\"s3://public-*\"]",
            "1: `public-*` is not a valid bucket name; write `s3://bucket/prefix`, without patterns",
        ),
        ("[\"ftp://b\"]", "1: there are no settings for `ftp://`"),
        (
            "[\"wasbs://b\"]",
            "1: there are no settings for `wasbs://`; there are for `s3://`, `gs://`, `az://`,",
        ),
        ("[\"s://b\"]", "1: there are no settings for `s://`; did you mean "),
        (
            "[\"gs://b c\"]",
            "1: `b c` is not a valid bucket name; write `gs://bucket/prefix`, without patterns",
        ),
        ("[\"az://b@c\"]", "1: `b@c` is not a valid container name; write `az://container/prefix`"),
        ("[\"https://u:hush@h\"]", "1: write `https://host/prefix`, without a login and a query"),
        ("[\"https://h/a?hush\"]", "1: write `https://host/prefix`, without a login and a query"),
        ("[\"http:///a\"]", "1: write `http://host/prefix`"),
        ("[\"hf://o/n\"]", "1: write `hf://datasets/OWNER/NAME`, without a revision"),
        ("[\"hf://datasets/o/n@v\"]", "1: write `hf://datasets/OWNER/NAME`, without a revision"),
        (
            "[\"gs://b\"]\nregion = 'x'",
            "2: there is no setting `region`; there are endpoint_url, credentials_file, anon",
        ),
        (
            "[\"gs://b\"]\nservice_account_key = 'hush'",
            "2: there is no setting `service_account_key`; keys do not belong here: name the file",
        ),
        (
            "[\"gs://b\"]\ncredentials_file = 'x.json'",
            "2: `credentials_file` is a path that begins with",
        ),
        (
            "[\"gs://b\"]\ncredentials_file = '/x'\nanon = true",
            "1: `anon` and `credentials_file` exclude each other",
        ),
        (
            "[\"az://b\"]\nsas_token = 'hush'",
            "2: there is no setting `sas_token`; keys do not belong here: name a file or a variable",
        ),
        (
            "[\"az://b\"]\nconnection_string = 'hush'",
            "2: there is no setting `connection_string`; keys do not belong here",
        ),
        (
            "[\"az://b\"]\nconnection_string_env = 'AccountKey=hush'",
            "2: `connection_string_env` is the name of a variable, of capitals, digits and `_`",
        ),
        (
            "[\"az://b\"]\nconnection_string_env = 'A'\nconnection_string_file = '/a'",
            "1: `connection_string_file` and `connection_string_env` exclude each other",
        ),
        (
            "[\"az://b\"]\nconnection_string_env = 'A'\nanon = true",
            "1: `anon` and `connection_string` exclude each other",
        ),
        (
            "[\"az://b\"]\nconnection_string_env = 'A'\naccount = 'a'",
            "1: `account` and `connection_string` exclude each other",
        ),
        ("[\"az://b\"]\nacount = 'x'", "2: there is no setting `acount`; did you mean `account`?"),
        (
            "[\"https://h\"]\nauthorization = 'hush'",
            "2: there is no setting `authorization`; keys do not belong here: dcfs shows none",
        ),
        ("[\"https://h\"]\nanon = true", "2: there is no setting `anon`; there are ca_bundle"),
        (
            "[\"hf://\"]\ntoken = 'hush'",
            "2: there is no setting `token`; keys do not belong here: name a file or a variable",
        ),
        ("[\"hf://\"]\ntoken_env = 'hf_hush'", "2: `token_env` is the name of a variable"),
        ("[s3]", "1: `s3` is not a bucket; tables are named"),
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
fn tables_of_other_stores_are_found_by_their_addresses() {
    let settings = parse(
        "[\"gs://\"]\nanon = true\n[\"gs://b/in\"]\ncredentials_file = '~/k.json'\n[\"az://$web\"]\n\
         account = 'a'\n[\"https://h:1/a b\"]\n[\"https://\"]\nca_bundle = '/c'\n[\"hf://datasets/o/n/d/\"]\n\
         token_env = 'T'\n[\"hf://\"]\ntoken_file = '/t'",
    )
    .unwrap();
    fn over<S: 'static>(settings: &Settings, address: &str) -> String {
        let found = longest(settings.all::<S>(), address.as_bytes());
        found.map_or("-".into(), |(name, _)| name.text().to_owned())
    }
    let cases = [
        (over::<Gs>(&settings, "gs://b/inn"), "gs://"),
        (over::<Gs>(&settings, "gs://b/in/x"), "gs://b/in"),
        (over::<Az>(&settings, "az://$web/x"), "az://$web"),
        (over::<Az>(&settings, "az://web/x"), "-"),
        (over::<Http>(&settings, "https://h:1/a%20b/c"), "https://h:1/a b"),
        (over::<Http>(&settings, "https://h:1/a%20bc"), "https://"),
        (over::<Http>(&settings, "https://h:11/"), "https://"),
        (over::<Http>(&settings, "http://h:1/a%20b"), "-"),
        (over::<Hf>(&settings, "hf://datasets/o/n/d/x"), "hf://datasets/o/n/d"),
        (over::<Hf>(&settings, "hf://datasets/o/nn/d"), "hf://"),
        (over::<S3>(&settings, "s3://b/in"), "-"),
    ];
    for (found, want) in cases {
        assert_eq!(found, want);
    }
    let said: Vec<_> = settings.all::<Hf>().map(|(_, said)| said.token.clone()).collect();
    let file = Secret::File("/t".into());
    assert!(said.contains(&Some(file)) && said.contains(&Some(Secret::Variable("T".into()))));
}

#[test]
fn reads_everything() {
    let text = "[\"s3://b\"]\nprofile = 'p'\nregion='r' # c\nendpoint_url=\"http://h\"\nanon=false\nrequest_payer = true\naddressing_style = 'virtual'";
    let own = |text: &str| Some(text.to_owned());
    let want = S3 {
        profile: own("p"),
        region: own("r"),
        endpoint_url: own("http://h"),
        anon: false,
        request_payer: true,
        addressing_style: own("virtual"),
    };
    assert_eq!(s3(&parse(text).unwrap(), "b", b"k"), Some(("s3://b", &want)));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[\"(s3|gs|az|hf|https)://[a-z/@]{0,4}\"\\]\n|[a-z\"= \\[\\]\n\u{e9}]{0,9}|anon = true\n){0,8}") {
        let _ = parse(&text);
    }
}
