//! Validated keys that requests are signed with.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::aws::AwsCredential;
use serde::Deserialize;

use super::error::CredentialError;
use dcfs_core::time::Timestamp;

/// Limit for each of the three, in bytes. Session tokens have a few kilobytes.
const LONGEST: usize = 64 << 10;

/// Keys that are valid in a request. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    id: String,
    secret: String,
    token: Option<String>,
    /// `None`: they do not expire.
    ends: Option<SystemTime>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// The output of a `credential_process`, or the answer of a container's service, which calls the session token
/// `Token`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: Option<u64>,
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "Token")]
    session_token: Option<String>,
    expiration: Option<String>,
}

impl Keys {
    /// Validates keys; `from` names their origin.
    ///
    /// # Errors
    /// They are empty, or contain bytes that are not allowed in a request: the signing library would panic.
    pub fn new(
        from: &str,
        id: &str,
        secret: &str,
        token: Option<&str>,
    ) -> Result<Self, CredentialError> {
        let token = token.filter(|token| !token.is_empty());
        for (name, text) in
            [("access key id", id), ("secret", secret), ("token", token.unwrap_or("-"))]
        {
            let plain = text.bytes().all(|b| b.is_ascii_graphic());
            if text.is_empty() || text.len() > LONGEST || !plain {
                return Err(CredentialError::wrong(from, format!("its {name} is invalid")));
            }
        }
        let token = token.map(str::to_owned);
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), token, ends: None })
    }

    /// Sets the expiry to `text`, a time with an offset.
    pub fn until(self, from: &str, text: &str) -> Result<Self, CredentialError> {
        let ends = Timestamp::parse(text).ok_or_else(|| {
            CredentialError::failed(from, format!("`{text}` is not a valid expiry time"))
        })?;
        Ok(Self { ends: Some(ends.to_system()), ..self })
    }

    /// Sets the expiry, in milliseconds since 1970.
    pub fn until_millis(self, millis: i64) -> Self {
        let ends = Timestamp::from_micros(millis.saturating_mul(1000)).to_system();
        Self { ends: Some(ends), ..self }
    }

    /// Parses JSON; if `versioned`, `"Version": 1` is required, as for a `credential_process`.
    ///
    /// # Errors
    /// Not JSON, or another version. Nothing of the input is repeated.
    pub fn from_json(from: &str, json: &[u8], versioned: bool) -> Result<Self, CredentialError> {
        let failed = |cause: String| CredentialError::failed(from, cause);
        let answer: Answer = serde_json::from_slice(json).map_err(|error| {
            // serde's own message may repeat a value.
            let (line, column) = (error.line(), error.column());
            failed(format!(
                "its answer is not JSON with `AccessKeyId` and `SecretAccessKey` \
                 (line {line}, column {column})"
            ))
        })?;
        if versioned && answer.version != Some(1) {
            return Err(failed("its answer does not say `\"Version\": 1`".into()));
        }
        let Answer { access_key_id, secret_access_key, session_token, expiration, .. } = answer;
        let keys = Self::new(from, &access_key_id, &secret_access_key, session_token.as_deref())?;
        match expiration.filter(|text| !text.is_empty()) {
            Some(text) => keys.until(from, &text),
            None => Ok(keys),
        }
    }

    /// The remaining lifetime from `now`; `None` if they do not expire.
    ///
    /// # Errors
    /// They have already expired: expired keys would be requested again without end.
    pub fn left(&self, from: &str, now: SystemTime) -> Result<Option<Duration>, CredentialError> {
        let Some(ends) = self.ends else { return Ok(None) };
        match ends.duration_since(now) {
            Ok(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(CredentialError::failed(from, "those it gave have expired already")),
        }
    }

    /// The keys in the signing library's type.
    pub fn credential(&self) -> Arc<AwsCredential> {
        let (key_id, secret_key) = (self.id.clone(), self.secret.clone());
        Arc::new(AwsCredential { key_id, secret_key, token: self.token.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_signed_with_is_taken() {
        assert!(Keys::new("x", "AKIA", "s/+=", Some("t==")).is_ok());
        assert_eq!(Keys::new("x", "a", "b", Some("")), Keys::new("x", "a", "b", None));
        let long = "k".repeat(70_000);
        let cases = [
            ("", "s", None, "access key id"),
            ("a\n", "s", None, "access key id"),
            ("a", "", None, "secret"),
            ("a", "hush hush", None, "secret"),
            ("a", "s", Some("t\r\nx-evil: 1"), "token"),
            ("a", "s", Some("\u{e9}"), "token"),
            ("a", "s", Some(long.as_str()), "token"),
        ];
        for (id, secret, token, name) in cases {
            let error = Keys::new("profile `p`", id, secret, token).unwrap_err().to_string();
            assert_eq!(error, format!("profile `p`: its {name} is invalid"));
        }
    }

    #[test]
    fn reads_what_a_process_prints() {
        let now = Timestamp::parse("2030-01-01T00:00:00Z").unwrap().to_system();
        let json = |more: &str| {
            format!(
                "{{\"Version\": 1, \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"hush\"{more}}}"
            )
        };
        let left = |more: &str| -> Result<Option<u64>, String> {
            let keys = Keys::from_json("it", json(more).as_bytes(), true);
            let left = keys.and_then(|keys| keys.left("it", now)).map_err(|e| e.to_string())?;
            Ok(left.map(|left| left.as_secs()))
        };
        assert_eq!(left(""), Ok(None));
        assert_eq!(left(", \"SessionToken\": \"t\", \"Other\": []"), Ok(None));
        assert_eq!(left(", \"SessionToken\": null, \"Expiration\": null"), Ok(None));
        for time in
            ["2030-01-01T01:00:00Z", "2030-01-01T03:00:00.000+02:00", "2030-01-01T01:00:00+00:00"]
        {
            assert_eq!(left(&format!(", \"Expiration\": \"{time}\"")), Ok(Some(3600)), "{time}");
        }
        let ended = left(", \"Expiration\": \"2029-12-31T23:59:59Z\"").unwrap_err();
        assert_eq!(ended, "it gave no credentials: those it gave have expired already");
        assert!(
            left(", \"Expiration\": \"soon\"")
                .unwrap_err()
                .contains("`soon` is not a valid expiry time")
        );
    }

    #[test]
    fn answers_that_are_none_are_refused_and_not_repeated() {
        let cases: [&[u8]; 6] = [
            b"",
            b"hush",
            b"[]",
            b"{\"Version\": 1, \"AccessKeyId\": \"hush\"}",
            b"{\"Version\": 1, \"AccessKeyId\": 7, \"SecretAccessKey\": \"hush\"}",
            b"{\"Version\": 2, \"AccessKeyId\": \"a\", \"SecretAccessKey\": \"hush\"}",
        ];
        for json in cases {
            let error = Keys::from_json("it", json, true).unwrap_err().to_string();
            assert!(
                error.starts_with("it gave no credentials: ") && !error.contains("hush"),
                "{error}"
            );
        }
        let keys = Keys::new("x", "idid", "hush", Some("hush")).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { .. }");
        let container =
            b"{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"RoleArn\":\"r\"}";
        let keys = Keys::from_json("it", container, false).unwrap();
        assert_eq!(keys.credential().token.as_deref(), Some("t"));
    }
}
