//! The requests of SSO: a new token from the OIDC service, and keys of a role from the portal.
//!
//! One token is refreshed at a time, because a refresh token may be valid only once. If the new token cannot be
//! written (a read-only home), it is kept in memory, and used until the file has a later one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Sso;
use super::token::{Refresh, Token};
use crate::backend::s3::credentials::error::CredentialError;
use crate::backend::s3::credentials::keys::Keys;
use crate::backend::s3::credentials::web::{self, Web};
use crate::error::show;
use crate::net;

/// Tokens that could not be written, by file. The lock is held during a refresh.
static UNWRITTEN: Mutex<BTreeMap<PathBuf, Token>> = Mutex::const_new(BTreeMap::new());

/// The portal's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    role_credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// Milliseconds since 1970.
    expiration: i64,
}

/// The OIDC service's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewToken {
    access_token: String,
    /// In seconds.
    expires_in: u32,
    refresh_token: Option<String>,
}

/// Fetches keys of the role that `sso` names.
///
/// # Errors
/// `SignedOut` if the user has to sign in again, `Failed` if the portal has no keys or does not answer.
pub async fn keys(web: &Web, sso: &Sso) -> Result<Keys, CredentialError> {
    let from = sso.title();
    let token = good(web, sso).await?;
    let (status, body) = web.answer(&from, portal(sso, &token)?).await?;
    match status {
        status if status.is_success() => keys_of(&from, &body),
        StatusCode::UNAUTHORIZED => Err(sso.signed_out("the portal rejects its token")),
        status => Err(CredentialError::failed(
            &from,
            format!("the portal answers {}{}", status.as_u16(), reason(&body, &token.access)),
        )),
    }
}

/// A token that the portal accepts.
async fn good(web: &Web, sso: &Sso) -> Result<Token, CredentialError> {
    let expired = || sso.signed_out("its token has expired");
    if !sso.is_session {
        return Some(sso.token()?).filter(Token::is_good).ok_or_else(expired);
    }
    let mut unwritten = UNWRITTEN.lock().await;
    let token = match (sso.token()?, unwritten.get(&sso.file)) {
        (old, Some(later)) if later.ends > old.ends => later.clone(),
        (token, _) => token,
    };
    let Some(refresh) = token.refresh().filter(|_| !token.is_fresh()) else {
        return Some(token).filter(Token::is_good).ok_or_else(expired);
    };
    match exchange(web, sso, &token, refresh).await {
        Ok(new) => {
            keep(sso, &new, &mut unwritten);
            Ok(new)
        }
        Err(_) if token.is_good() => Ok(token),
        // Another process may have refreshed it first.
        Err(error) => sso.token().ok().filter(Token::is_good).ok_or(error),
    }
}

async fn exchange(
    web: &Web,
    sso: &Sso,
    old: &Token,
    by: Refresh<'_>,
) -> Result<Token, CredentialError> {
    let from = sso.title();
    let (status, body) = web.answer(&from, oidc(sso, &by)?).await?;
    if status.is_client_error() {
        let reason = reason(&body, by.refresh);
        return Err(sso.signed_out(format!("its token has expired and is not renewed{reason}")));
    }
    let new = serde_json::from_slice::<NewToken>(&body).ok().filter(|_| status.is_success());
    let cause = || format!("asked for a new token, it answers {}", status.as_u16());
    let new = new.ok_or_else(|| CredentialError::failed(&from, cause()))?;
    let ends = SystemTime::now() + Duration::from_secs(new.expires_in.into());
    Ok(old.renewed(new.access_token, ends, new.refresh_token))
}

/// Stores a token for all who use it.
fn keep(sso: &Sso, new: &Token, unwritten: &mut BTreeMap<PathBuf, Token>) {
    let Err(error) = new.write(&sso.file) else { return drop(unwritten.remove(&sso.file)) };
    tracing::warn!("the new token of SSO cannot be written to `{}`: {error}", sso.file.display());
    unwritten.insert(sso.file.clone(), new.clone());
}

fn portal(sso: &Sso, token: &Token) -> Result<HttpRequest, CredentialError> {
    let from = sso.title();
    let base = base(sso, sso.portal.as_deref(), "portal.sso")?;
    let query = web::pairs([("role_name", sso.role.as_str()), ("account_id", &sso.account)]);
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    web::address(&from, &mut request, &format!("{base}/federation/credentials?{query}"))?;
    let wrong = |_| sso.signed_out("its token is invalid");
    let mut value = HeaderValue::from_str(&token.access).map_err(wrong)?;
    value.set_sensitive(true);
    request.headers_mut().insert("x-amz-sso_bearer_token", value);
    Ok(request)
}

fn oidc(sso: &Sso, by: &Refresh) -> Result<HttpRequest, CredentialError> {
    let base = base(sso, sso.oidc.as_deref(), "oidc")?;
    let body = json!({
        "grantType": "refresh_token",
        "clientId": by.id,
        "clientSecret": by.secret,
        "refreshToken": by.refresh,
    });
    let mut request = HttpRequest::new(HttpRequestBody::from(body.to_string()));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    web::address(&sso.title(), &mut request, &format!("{base}/token"))?;
    Ok(request)
}

/// The configured endpoint, else that of AWS.
fn base(sso: &Sso, named: Option<&str>, service: &str) -> Result<String, CredentialError> {
    let from = sso.title();
    match named {
        Some(url) => {
            net::endpoint(url).map_err(|error| CredentialError::failed(&from, error.to_string()))
        }
        None => web::aws(&from, service, &sso.region),
    }
}

fn keys_of(from: &str, body: &[u8]) -> Result<Keys, CredentialError> {
    // serde's own message may repeat a value.
    let cause = "the answer of the portal is not JSON with `roleCredentials`";
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| CredentialError::failed(from, cause))?;
    let given = answer.role_credentials;
    let (id, secret) = (&given.access_key_id, &given.secret_access_key);
    Ok(Keys::new(from, id, secret, Some(&given.session_token))?.until_millis(given.expiration))
}

/// ` (why)` from the JSON of a refusal, unless it repeats `secret`.
fn reason(body: &[u8], secret: &str) -> String {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = said["error"].as_str().or_else(|| said["message"].as_str());
    let text = text.filter(|text| !text.is_empty() && !text.contains(secret));
    text.map(|text| format!(" ({})", show(text))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sso(portal: Option<&str>) -> Sso {
        let own = |text: &str| text.to_owned();
        Sso {
            profile: own("p"),
            account: own("123"),
            role: own("A+b"),
            start_url: own("https://s"),
            region: own("cn-north-1"),
            file: "/nonexistent/t.json".into(),
            is_session: true,
            portal: portal.map(own),
            oidc: portal.map(own),
        }
    }

    fn token() -> Token {
        let json = r#"{"accessToken": "hush", "expiresAt": "2099-01-01T00:00:00Z"}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::write(&path, json).unwrap();
        Token::read(&path).ok().unwrap()
    }

    #[test]
    fn the_portal_is_that_of_the_region_or_the_one_that_was_named() {
        let query = "/federation/credentials?role_name=A%2Bb&account_id=123";
        let aws = format!("https://portal.sso.cn-north-1.amazonaws.com.cn{query}");
        let own = format!("http://h:1/in{query}");
        for (named, want) in [(None, aws), (Some("http://h:1/in/"), own)] {
            let request = portal(&sso(named), &token()).unwrap();
            assert_eq!(request.uri().to_string(), want);
            assert!(!format!("{request:?}").contains("hush"));
        }
        let by = Refresh { id: "i", secret: "s", refresh: "r" };
        let request = oidc(&sso(None), &by).unwrap();
        assert_eq!(request.uri().to_string(), "https://oidc.cn-north-1.amazonaws.com.cn/token");
        let body = request.body().as_bytes().unwrap();
        let want = br#"{"grantType":"refresh_token","clientId":"i","clientSecret":"s","refreshToken":"r"}"#;
        assert_eq!(&body[..], want);
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let other = Sso { region: "evil.com/".into(), ..sso(None) };
        let cases =
            [(other, "is not an AWS region"), (sso(Some("http://u:hush@h")), "is not an endpoint")];
        for (sso, cause) in cases {
            let error = portal(&sso, &token()).unwrap_err().to_string();
            assert!(error.contains(cause) && !error.contains("hush"), "{error}");
        }
        let bad = token().renewed("hush\r\nx: y".into(), SystemTime::now(), None);
        let error = portal(&sso(None), &bad).unwrap_err().to_string();
        assert!(error.contains("aws sso login --profile p") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_token_that_cannot_be_written_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/t.json");
        let (sso, new) = (Sso { file: file.clone(), ..sso(None) }, token());
        let mut unwritten = BTreeMap::new();
        keep(&sso, &new, &mut unwritten);
        assert_eq!(unwritten.get(&file).map(|token| token.ends), Some(new.ends));
        std::fs::create_dir(folder.path().join("cache")).unwrap();
        keep(&sso, &new, &mut unwritten);
        assert!(unwritten.is_empty() && sso.token().is_ok_and(|token| token == new));
    }

    #[test]
    fn keys_end_when_the_portal_says() {
        let json = |id: &str, ends: &str| {
            format!(
                r#"{{"roleCredentials": {{"accessKeyId": "{id}", "secretAccessKey": "hush", "sessionToken": "t",
                "expiration": {ends}}}}}"#
            )
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let keys = keys_of("it", json("a", "1000060500").as_bytes()).unwrap();
        assert_eq!(keys.left("it", now).unwrap(), Some(Duration::from_millis(60_500)));
        assert_eq!(keys.credential().token.as_deref(), Some("t"));
        for ends in ["-1", "-9223372036854775808", "0"] {
            let keys = keys_of("it", json("a", ends).as_bytes()).unwrap();
            assert!(keys.left("it", now).is_err(), "{ends}");
        }
        assert!(keys_of("it", json("a", "9223372036854775807").as_bytes()).is_ok());
        for bad in [json("a b", "1"), json("a", "\"hush\""), "hush".into(), "{}".into()] {
            let error = keys_of("it", bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("it") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_refusal_is_repeated_without_the_token() {
        let cases = [
            (r#"{"message": "No access"}"#, " (No access)"),
            (r#"{"error": "invalid_grant", "error_description": "x"}"#, " (invalid_grant)"),
            (r#"{"message": "token hush is bad\n"}"#, ""),
            (r#"{"message": "a\nb"}"#, " (a\\nb)"),
            ("<html>", ""),
            ("[1]", ""),
        ];
        for (body, want) in cases {
            assert_eq!(reason(body.as_bytes(), "hush"), want, "{body}");
        }
    }
}
