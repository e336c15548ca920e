//! Tables of environments and files, and the result of each.

use std::fs;

use super::super::{Environment, Files};
use super::{Finder, Source};

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "env"), ("AWS_SECRET_ACCESS_KEY", "hush")];

const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

const CONFIG: &str = "
[default]
region = eu-west-1
[profile keys]
aws_access_key_id = config
aws_secret_access_key = hush
[profile process]
credential_process = get keys
aws_access_key_id = config
aws_secret_access_key = hush
[profile own]
credential_process = get keys
[profile empty]
region = eu-west-1
[profile half]
aws_access_key_id = config
[profile role]
role_arn = arn:r
source_profile = keys
external_id = e
duration_seconds = 900
role_session_name = s
region = eu-west-2
[profile chain]
role_arn = arn:c
source_profile = role
[profile self]
role_arn = arn:s
source_profile = self
aws_access_key_id = config
aws_secret_access_key = hush
[profile round]
role_arn = arn:1
source_profile = round2
[profile round2]
role_arn = arn:2
source_profile = round
[profile itself]
role_arn = arn:i
source_profile = itself
[profile alone]
role_arn = arn:a
[profile both]
role_arn = arn:b
source_profile = keys
credential_source = Environment
[profile fromenv]
role_arn = arn:e
credential_source = Environment
[profile frommachine]
role_arn = arn:m
credential_source = Ec2InstanceMetadata
[profile fromcontainer]
role_arn = arn:m
credential_source = EcsContainer
[profile fromnowhere]
role_arn = arn:m
credential_source = Nowhere
[profile lost]
role_arn = arn:l
source_profile = kays
[profile hollow]
role_arn = arn:h
source_profile = empty
[profile mfa]
role_arn = arn:f
source_profile = keys
mfa_serial = arn:mfa
[profile web]
role_arn = arn:w
web_identity_token_file = ~/token
[profile webless]
web_identity_token_file = /token
[sso-session me]
sso_start_url = https://s
sso_region = eu-west-1
sso_registration_scopes = sso:account:access
[sso-session half]
sso_region = eu-west-1
[profile sso]
sso_session = me
sso_account_id = 1
sso_role_name = r
aws_access_key_id = config
aws_secret_access_key = hush
[profile ssoold]
sso_start_url = https://s
sso_region = eu-west-1
sso_account_id = 1
sso_role_name = r
[profile ssorole]
role_arn = arn:r
source_profile = ssoold
[profile ssoboth]
sso_session = me
sso_region = eu-west-1
sso_account_id = 1
sso_role_name = r
[profile ssonone]
sso_session = you
sso_account_id = 1
sso_role_name = r
[profile ssohalf]
sso_session = half
sso_account_id = 1
sso_role_name = r
[profile ssonobody]
sso_session = me
sso_account_id = 1
[profile ssoother]
sso_session = me
sso_region = eu-west-2
sso_account_id = 1
sso_role_name = r
[profile login]
login_session = me
";

const CREDENTIALS: &str = "
[own]
aws_access_key_id = own
aws_secret_access_key = hush
aws_session_token = t
[bad]
aws_access_key_id = a b
aws_secret_access_key = hush
";

type Variables<'a> = Vec<(&'a str, &'a str)>;

/// The source found, or the error, as text.
fn find(named: Option<&str>, variables: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
    fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
    let environment = Environment::made_of(home.path(), variables);
    let files = Files::read(&environment).unwrap();
    let finder = Finder { environment: &environment, files: &files, named, region: "us-east-1" };
    let found = match Source::find(finder) {
        Ok(source @ Source::Keys { .. }) => {
            let Source::Keys { keys, .. } = &source else { unreachable!() };
            format!("{source}: {}", keys.credential().key_id)
        }
        Ok(source) => source.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(!found.contains("hush"), "{found}");
    found.replace(&home.path().display().to_string(), "~")
}

#[test]
fn the_order_is_that_of_the_aws_command_line() {
    let profile = |name| ("AWS_PROFILE", name);
    let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:e")];
    let sso = "the role `r` of account `1` by SSO";
    let cases: [(Option<&str>, Variables, &str); 22] = [
        (None, vec![], "the role of this machine, if it has one"),
        (None, vec![OFF], "no credentials"),
        (None, KEYS.to_vec(), "the keys of the environment: env"),
        (None, [KEYS.to_vec(), vec![profile("keys")]].concat(), "the keys of the environment: env"),
        (Some("keys"), KEYS.to_vec(), "the keys of profile `keys`: config"),
        (Some("own"), vec![profile("keys")], "the keys of profile `own`: own"),
        (None, vec![profile("keys")], "the keys of profile `keys`: config"),
        (None, vec![("AWS_DEFAULT_PROFILE", "keys")], "the keys of profile `keys`: config"),
        (None, vec![profile("process")], "`credential_process` of profile `process`"),
        (None, vec![profile("own")], "the keys of profile `own`: own"),
        (None, vec![profile("role")], "the role `arn:r` by the keys of profile `keys`"),
        (
            None,
            vec![profile("chain")],
            "the role `arn:c` by the role `arn:r` by the keys of profile `keys`",
        ),
        (None, vec![profile("self")], "the role `arn:s` by the keys of profile `self`"),
        (None, [KEYS.to_vec(), web.to_vec()].concat(), "the keys of the environment: env"),
        (None, web.to_vec(), "the role `arn:e` by a web identity"),
        (Some("web"), web.to_vec(), "the role `arn:w` by a web identity"),
        (Some("fromenv"), KEYS.to_vec(), "the role `arn:e` by the keys of the environment"),
        (None, vec![profile("sso")], sso),
        (Some("ssoold"), KEYS.to_vec(), sso),
        (Some("ssoboth"), vec![], sso),
        (None, vec![profile("ssorole")], "the role `arn:r` by the role `r` of account `1` by SSO"),
        (
            None,
            vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c")],
            "the role of this container",
        ),
    ];
    for (named, variables, want) in cases {
        assert_eq!(find(named, &variables), want, "{named:?} {variables:?}");
    }
}

#[test]
fn what_makes_no_sense_is_said() {
    let cases = [
        ("half", "profile `half`: `aws_access_key_id` is set and `aws_secret_access_key` is not"),
        ("bad", "profile `bad`: its access key id is invalid"),
        (
            "kays",
            "there is no profile `kays` in `~/.aws/config` or `~/.aws/credentials`; did you mean `keys`?",
        ),
        (
            "empty",
            "profile `empty` leads to no credentials; see `aws configure list --profile empty`",
        ),
        ("alone", "profile `alone`: `role_arn` needs `source_profile` or `credential_source`"),
        ("both", "profile `both`: `source_profile` and `credential_source` exclude each other"),
        ("round", "profile `round2`: `source_profile`: it leads back to itself"),
        ("itself", "profile `itself`: `source_profile`: it leads back to itself"),
        ("lost", "profile `lost`: `source_profile`: there is no profile `kays` in"),
        ("hollow", "profile `hollow`: `source_profile`: profile `empty` has no credentials"),
        ("fromnowhere", "profile `fromnowhere`: `credential_source = Nowhere` is none; there are"),
        (
            "fromenv",
            "profile `fromenv`: `credential_source = Environment`, and the environment has none",
        ),
        (
            "fromcontainer",
            "profile `fromcontainer`: `credential_source = EcsContainer`, and the environment has none",
        ),
        ("mfa", "profile `mfa` asks for an MFA code"),
        ("webless", "profile `webless`: a web identity needs a role"),
        ("ssonone", "profile `ssonone`: there is no section `[sso-session you]`"),
        ("ssohalf", "profile `ssohalf`: SSO needs `sso_start_url`"),
        ("ssonobody", "profile `ssonobody`: SSO needs `sso_role_name`"),
        ("ssoother", "profile `ssoother`: its `sso_region` is not that of its `sso_session`"),
        ("login", "profile `login` signs in by `aws login`, which"),
    ];
    for (profile, want) in cases {
        let found = find(Some(profile), &[OFF]);
        assert!(found.starts_with(want), "{profile}: {found}");
    }
    let half = find(None, &KEYS[1..]);
    assert_eq!(
        half,
        "the environment: `AWS_SECRET_ACCESS_KEY` is set and `AWS_ACCESS_KEY_ID` is not"
    );
    assert_eq!(find(None, &[("AWS_PROFILE", "zzzz"), KEYS[0], KEYS[1]]), find(Some("zzzz"), &[]));
}

#[test]
fn a_container_is_believed_on_this_machine_or_by_tls() {
    let cases = [
        ("https://h/x", true),
        ("http://127.0.0.1:8080/x", true),
        ("http://169.254.170.23/v1", true),
        ("http://[fd00:ec2::23]/v1", true),
        ("http://evil.com/", false),
        ("file:///etc/passwd", false),
        ("x", false),
    ];
    for (url, believed) in cases {
        let found = find(None, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]);
        assert_eq!(found == "the role of this container", believed, "{url}: {found}");
    }
}

#[test]
fn whoever_has_to_sign_in_first_is_told_how() {
    let token = |ends: &str, more: &str| {
        format!(r#"{{"accessToken": "hush", "expiresAt": "{ends}-01-01T00:00:00Z"{more}}}"#)
    };
    let refresh = r#", "refreshToken": "hush", "clientId": "c", "clientSecret": "hush",
        "registrationExpiresAt": "2099-01-01T00:00:00Z""#;
    // By `hashlib.sha1(b"me")` and `hashlib.sha1(b"https://s")`.
    let (me, url) =
        ("b1c1d8736f20db3fb6c1c66bb1455ed43909f0d8", "9ea3c043881f6bad486147713ae23b0b566d0360");
    let cases = [
        ("sso", me, token("2099", ""), "ready"),
        ("sso", me, token("2001", refresh), "ready"),
        ("ssoold", url, token("2099", ""), "ready"),
        ("ssorole", url, token("2099", ""), "ready"),
        ("sso", url, token("2099", ""), "profile `sso` is not signed in by SSO: it has no token; "),
        (
            "sso",
            me,
            token("2001", ""),
            "profile `sso` is not signed in by SSO: its token has expired; ",
        ),
        (
            "ssoold",
            url,
            token("2001", refresh),
            "profile `ssoold` is not signed in by SSO: its token has",
        ),
        ("ssorole", url, "hush".into(), "profile `ssoold` is not signed in by SSO: `"),
    ];
    for (profile, file, token, want) in cases {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        fs::write(home.path().join(format!(".aws/sso/cache/{file}.json")), token).unwrap();
        let environment = Environment::made_of(home.path(), &[]);
        let files = Files::read(&environment).unwrap();
        let named = Some(profile);
        let finder = Finder { environment: &environment, files: &files, named, region: "r" };
        let told = match Source::find(finder).unwrap().ready() {
            Ok(()) => "ready".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(told.starts_with(want) && !told.contains("hush"), "{profile}: {told}");
        let how = format!("run `aws sso login --profile {}`", profile.replace("role", "old"));
        assert!(told == "ready" || told.ends_with(&how), "{profile}: {told}");
    }
}
