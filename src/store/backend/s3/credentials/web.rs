//! HTTP requests for credentials: STS, and the service of a container. Answers are bounded, and their bodies
//! never repeated.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector,
};
use reqwest::{StatusCode, Url};

use super::error::CredentialError;
use super::keys::Keys;
use super::source::{Container, Role, Token};
use crate::error::show;
use crate::net::{innermost, without_secrets};

/// Time limit of one request and its answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Limit of an answer, in bytes.
const LONGEST: usize = 256 << 10;

/// Name of a role session, if none is configured.
const SESSION: &str = "dcfs";

/// The HTTP client for credentials.
#[derive(Clone, Debug)]
pub struct Web(HttpClient);

impl Web {
    /// # Errors
    /// The options make no client, such as a bundle without certificates.
    pub fn new(options: &ClientOptions) -> Result<Self, CredentialError> {
        let options = options.clone().with_allow_http(true);
        let client = ReqwestConnector::default().connect(&options);
        let failed = |error: object_store::Error| {
            CredentialError::wrong("the settings", show(&error.to_string()))
        };
        Ok(Self(client.map_err(failed)?))
    }

    /// Calls AssumeRole, signed with the keys `by`.
    pub async fn role(&self, role: &Role, by: &AwsCredential) -> Result<Keys, CredentialError> {
        let from = title(role);
        let mut request = form(&from, role, "AssumeRole", None)?;
        AwsAuthorizer::new(by, "sts", &role.region)
            .try_authorize(&mut request, None)
            .map_err(|error| CredentialError::failed(&from, error.to_string()))?;
        session(&from, &self.ask(&from, request).await?)
    }

    /// Calls AssumeRoleWithWebIdentity. The token's file is read each time, because tokens are short-lived.
    pub async fn web_identity(
        &self,
        role: &Role,
        token_file: &str,
    ) -> Result<Keys, CredentialError> {
        let from = title(role);
        let token = secret_of(&from, token_file)?;
        let request = form(&from, role, "AssumeRoleWithWebIdentity", Some(&token))?;
        session(&from, &self.ask(&from, request).await?)
    }

    /// Fetches the credentials of a container's service.
    pub async fn container(&self, container: &Container) -> Result<Keys, CredentialError> {
        let from = "the container's service";
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        address(from, &mut request, &container.url)?;
        let token = match &container.token {
            Token::None => None,
            Token::File(path) => Some(secret_of(from, path)?),
            Token::Text(text) => Some(text.clone()),
        };
        if let Some(token) = token {
            let value = token
                .trim()
                .parse()
                .map_err(|_| CredentialError::failed(from, "its token is invalid"))?;
            request.headers_mut().insert("authorization", value);
        }
        Keys::from_json(from, &self.ask(from, request).await?, false)
    }

    /// The body of a successful answer.
    async fn ask(&self, from: &str, request: HttpRequest) -> Result<Bytes, CredentialError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let (status, body) = self.answer(from, request).await?;
        let cause = || format!("`{host}` answers {}{}", status.as_u16(), reason(&body));
        if status.is_success() { Ok(body) } else { Err(CredentialError::failed(from, cause())) }
    }

    /// An answer of any status.
    pub async fn answer(
        &self,
        from: &str,
        request: HttpRequest,
    ) -> Result<(StatusCode, Bytes), CredentialError> {
        let failed = |cause: String| CredentialError::failed(from, cause);
        let host = request.uri().host().unwrap_or_default().to_owned();
        let asked = async {
            let lost = |e: object_store::client::HttpError| {
                failed(format!("asking `{host}`: {}", innermost(&e)))
            };
            let answer = self.0.execute(request).await.map_err(lost)?;
            let status = answer.status();
            let mut stream = answer.into_body().bytes_stream();
            let mut body = Vec::new();
            while let Some(chunk) = stream.next().await {
                body.extend_from_slice(&chunk.map_err(lost)?);
                if body.len() > LONGEST {
                    return Err(failed(format!("`{host}` sends an endless answer")));
                }
            }
            Ok((status, body.into()))
        };
        let answer = tokio::time::timeout(LIMIT, asked).await;
        answer.map_err(|_| failed(format!("`{host}` does not answer")))?
    }
}

fn title(role: &Role) -> String {
    format!("the role `{}`", show(&role.arn))
}

/// A request to STS.
fn form(
    from: &str,
    role: &Role,
    action: &str,
    token: Option<&str>,
) -> Result<HttpRequest, CredentialError> {
    let duration = role.duration.unwrap_or(3600).to_string();
    let pairs = [
        ("Action", Some(action)),
        ("Version", Some("2011-06-15")),
        ("RoleArn", Some(role.arn.as_str())),
        ("RoleSessionName", Some(role.session.as_deref().unwrap_or(SESSION))),
        ("DurationSeconds", Some(duration.as_str())),
        ("ExternalId", role.external_id.as_deref()),
        ("WebIdentityToken", token),
    ];
    let body = self::pairs(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut request = HttpRequest::new(HttpRequestBody::from(body));
    *request.method_mut() = reqwest::Method::POST;
    let kind = "application/x-www-form-urlencoded";
    request.headers_mut().insert("content-type", kind.parse().expect("it is plain"));
    let aws = aws(from, "sts", &role.region)?;
    address(from, &mut request, role.endpoint.as_deref().unwrap_or(&aws))?;
    Ok(request)
}

/// Names and values, form-encoded.
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = Url::parse("http://form").expect("it is an address");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// The endpoint of an AWS service.
///
/// # Errors
/// The region is invalid. It becomes part of signatures, where the library would panic, and of a host name.
pub fn aws(from: &str, service: &str, region: &str) -> Result<String, CredentialError> {
    if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(CredentialError::failed(
            from,
            format!("`{}` is not an AWS region", show(region)),
        ));
    }
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    Ok(format!("https://{service}.{region}.amazonaws.com{suffix}"))
}

/// Sets the URL of a request, in the form that both libraries parse alike.
pub fn address(from: &str, request: &mut HttpRequest, url: &str) -> Result<(), CredentialError> {
    let wrong =
        || CredentialError::failed(from, format!("`{}` is no address", show(without_secrets(url))));
    let parsed = Url::parse(url).ok().filter(|url| {
        let is_http = ["http", "https"].contains(&url.scheme());
        is_http && url.host_str().is_some() && url.username().is_empty() && url.password().is_none()
    });
    *request.uri_mut() = parsed.ok_or_else(wrong)?.as_str().parse().map_err(|_| wrong())?;
    Ok(())
}

/// Reads a token of a few kilobytes from a file.
fn secret_of(from: &str, path: &str) -> Result<String, CredentialError> {
    let failed =
        |cause: String| CredentialError::failed(from, format!("the token in `{path}`: {cause}"));
    let there = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !there.is_file() || there.len() > LONGEST as u64 {
        return Err(failed("it is not a regular file of a few kilobytes".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Ok(text.trim().to_owned())
}

/// Reads the keys of a session from the XML of STS.
fn session(from: &str, body: &[u8]) -> Result<Keys, CredentialError> {
    let text = String::from_utf8_lossy(body);
    let get = |name| {
        let missing =
            || CredentialError::failed(from, format!("the answer of STS has no `{name}`"));
        between(&text, name).ok_or_else(missing)
    };
    let (id, secret) = (get("AccessKeyId")?, get("SecretAccessKey")?);
    Keys::new(from, id, secret, Some(get("SessionToken")?))?.until(from, get("Expiration")?)
}

/// ` Code (Message)` from the XML of a refusal.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = between(&text, "Code").map(|code| format!(" {code}"));
    let message = between(&text, "Message").map(|message| format!(" ({message})"));
    [code, message].into_iter().flatten().collect()
}

fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(endpoint: Option<&str>) -> Role {
        Role {
            arn: "arn:aws:iam::1:role/a b&c".into(),
            session: None,
            external_id: Some("e".into()),
            duration: Some(900),
            endpoint: endpoint.map(str::to_owned),
            region: "cn-north-1".into(),
        }
    }

    #[test]
    fn a_role_is_asked_for_in_a_form() {
        let mut request = form("x", &role(None), "AssumeRole", None).unwrap();
        assert_eq!(request.uri().to_string(), "https://sts.cn-north-1.amazonaws.com.cn/");
        let body = request.body().as_bytes().unwrap().clone();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa+b%26c\
             &RoleSessionName=dcfs&DurationSeconds=900&ExternalId=e"
        );
        let by = AwsCredential { key_id: "id".into(), secret_key: "s".into(), token: None };
        AwsAuthorizer::new(&by, "sts", "r").try_authorize(&mut request, None).unwrap();
        let signed = request.headers()["authorization"].to_str().unwrap();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=id/"), "{signed}");
        assert!(signed.contains("/r/sts/aws4_request"), "{signed}");
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for url in ["", "sts", "ftp://h", "http://", "http://u:hush@h/", "http://[::1", "mailto:x"]
        {
            let error = form("x", &role(Some(url)), "AssumeRole", None).unwrap_err().to_string();
            assert!(error.contains("is no address") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_region_that_is_none_is_refused() {
        for region in ["evil.com/", "r\n", "\u{e9}"] {
            let role = Role { region: region.into(), ..role(None) };
            let error = form("x", &role, "AssumeRole", None).unwrap_err().to_string();
            assert!(error.contains("is not an AWS region"), "{error}");
        }
    }

    #[test]
    fn answers_of_sts_are_read_or_refused() {
        let xml = "<R><Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                   <SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></R>";
        assert_eq!(session("it", xml.as_bytes()).unwrap().credential().key_id, "a");
        let cases = [
            ("", "has no `AccessKeyId`"),
            ("<AccessKeyId>hush", "has no `AccessKeyId`"),
            (&xml.replace("2030", "soon"), "is not a valid expiry time"),
            (&xml.replace(">t<", "> <"), "its token is invalid"),
            (&xml.replace("Expiration", "E"), "has no `Expiration`"),
        ];
        for (xml, cause) in cases {
            let error = session("it", xml.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(cause) && !error.contains("hush"), "{xml}: {error}");
        }
        let refusal = b"<E><Code>AccessDenied</Code><Message>no\n</Message></E>";
        assert_eq!(reason(refusal), " AccessDenied (no\n)");
    }
}
