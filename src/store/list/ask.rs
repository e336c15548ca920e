//! One request for a page: sent, retried like the store's other requests, and parsed.
//!
//! Transient failures are retried while the budget lasts: no answer, a busy or failing server, an answer that
//! breaks off or cannot be parsed.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::budget::{Budget, Passing};
use crate::cloud::fault::{self, Asked, Hints, element};
use crate::cloud::wire::Note;
use crate::error::{Error, show};
use crate::net::innermost;
use crate::refusal::Refusal;

/// Limit of a page in bytes: 5,000 blobs with long names, and their metadata, are below it.
const LONGEST: usize = 64 << 20;

/// Number of received bytes that renew the time-out of a page.
const PROGRESS: usize = 64 << 10;

/// Characters that are kept in a query: letters, digits and `-._~`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The context in which a bucket's pages are requested.
pub struct Asker {
    pub http: HttpClient,
    /// The listed place, for messages.
    pub place: String,
    /// The bucket, for messages about it.
    pub bucket: String,
    pub server: String,
    pub timeout: Duration,
    pub hints: &'static Hints,
}

/// Why there is no page.
pub enum Failure {
    Refused(Refusal, Note),
    Told(Error),
}

enum Attempt {
    Again(Passing),
    Refused(Refusal, Note),
    Told(Error),
}

/// Formats `?name=value&...`.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pair =
        |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, PLAIN));
    format!("?{}", pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
}

impl Asker {
    /// A GET request for `url`.
    ///
    /// # Errors
    /// `Setting` if the URL is invalid.
    pub fn request(&self, url: &str) -> Result<HttpRequest, Error> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let wrong = |_| Error::Setting(format!("`{}` is not a valid URL", show(url)));
        *request.uri_mut() = url.parse().map_err(wrong)?;
        Ok(request)
    }

    /// Sends `request` until an answer can be parsed, while the budget lasts.
    pub async fn get<T>(
        &self,
        request: &HttpRequest,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut budget = Budget::new(self.timeout);
        loop {
            match self.attempt(request.clone(), &read, &mut budget).await {
                Ok(read) => return Ok(read),
                Err(Attempt::Refused(refusal, note)) => {
                    return Err(Failure::Refused(refusal, note));
                }
                Err(Attempt::Told(error)) => return Err(Failure::Told(error)),
                Err(Attempt::Again(failed)) => budget.again(failed).await.map_err(Failure::Told)?,
            }
        }
    }

    async fn attempt<T>(
        &self,
        request: HttpRequest,
        read: &impl Fn(&[u8]) -> Result<T, String>,
        budget: &mut Budget,
    ) -> Result<T, Attempt> {
        let place = || self.place.clone();
        let answer = budget.within(self.http.execute(request)).await;
        let answer = answer.ok_or_else(|| Attempt::Told(budget.over(&self.place)))?;
        let answer = answer.map_err(|error| self.lost(&innermost(&error)))?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = self.body(answer, budget).await?;
        let note = Note::of(status, &headers, refused_text(status, &body));
        let passing = |error| Attempt::Again(Passing { after: note.after, ..Passing::new(error) });
        if status == 200 {
            return read(&body).map_err(|answer| {
                passing(Error::Answer { place: place(), answer: show(&answer) })
            });
        }
        let refusal = refusal(status, &body);
        let answer = refusal.to_string();
        Err(match status {
            429 | 503 => passing(Error::Busy { place: place(), answer }),
            _ if fault::is_passing(status) => {
                passing(Error::Failed { place: place(), cause: answer })
            }
            _ => Attempt::Refused(refusal, note),
        })
    }

    /// Reads a whole answer, up to the limit; progress renews the budget.
    async fn body(&self, answer: HttpResponse, budget: &mut Budget) -> Result<BytesMut, Attempt> {
        let (mut body, mut whole) = (answer.into_body().bytes_stream(), BytesMut::new());
        loop {
            let chunk = budget.within(body.next()).await;
            let chunk = chunk.ok_or_else(|| Attempt::Told(budget.over(&self.place)))?;
            let Some(chunk) = chunk else { return Ok(whole) };
            let before = whole.len() / PROGRESS;
            whole.extend_from_slice(&chunk.map_err(|error| self.lost(&innermost(&error)))?);
            if whole.len() > LONGEST {
                return Err(self.lost("a page without end"));
            }
            if whole.len() / PROGRESS > before {
                budget.renew();
            }
        }
    }

    /// The failure for no answer, or an incomplete one.
    fn lost(&self, cause: &str) -> Attempt {
        let told = fault::unreached(&show(&self.server), cause, self.hints);
        let error = Error::Failed { place: self.place.clone(), cause: told };
        match fault::is_distrust(cause) {
            true => Attempt::Told(error),
            false => Attempt::Again(Passing {
                is_brief: fault::is_unknown_name(cause),
                ..Passing::new(error)
            }),
        }
    }

    /// The error that a refusal means. `whose` describes the credentials of the request, if any.
    pub fn meaning(&self, refusal: &Refusal, whose: Option<Arc<str>>) -> Error {
        let asked = Asked { place: &self.place, server: &self.server, whose, hints: self.hints };
        match fault::refused(&asked, refusal) {
            Error::Gone { answer, .. } => Error::Missing { place: show(&self.bucket), answer },
            other => other,
        }
    }

    /// The error for a failed request about which nothing else is known.
    pub fn told(&self, failure: Failure, whose: Option<Arc<str>>) -> Error {
        match failure {
            Failure::Refused(refusal, _) => self.meaning(&refusal, whose),
            Failure::Told(error) => error,
        }
    }
}

/// The body of a refusal.
fn refused_text(status: u16, body: &[u8]) -> &str {
    if status == 200 { "" } else { std::str::from_utf8(body).unwrap_or_default() }
}

/// Parses a refusal: S3 and Azure use XML, Google uses JSON.
fn refusal(status: u16, body: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(body);
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let message = json.pointer("/error/message").and_then(serde_json::Value::as_str);
        return Refusal { status, code: String::new(), message: show(message.unwrap_or_default()) };
    }
    Refusal { status, code: element(&text, "Code"), message: element(&text, "Message") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_every_byte() {
        let pairs = [("prefix", "a b/\u{e9}+%20&=?#"), ("versions", "")];
        assert_eq!(query(&pairs), "?prefix=a%20b%2F%C3%A9%2B%2520%26%3D%3F%23&versions=");
    }

    #[test]
    fn refusals_are_read_in_both_forms() {
        let cases: [(&[u8], &str, &str); 4] = [
            (b"<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>", "NoSuchBucket", "m"),
            (br#"{"error":{"code":404,"message":"none\n"}}"#, "", "none\\n"),
            (b"", "", ""),
            (b"\xff<Code>", "", ""),
        ];
        for (body, code, message) in cases {
            let want = Refusal { status: 404, code: code.into(), message: message.into() };
            assert_eq!(refusal(404, body), want);
        }
    }
}
