//! One request for a page: sent, tried again as the store's other requests are, and read.
//!
//! What may be better the next time is tried again: no answer, a busy or failing server, an answer that breaks off or
//! cannot be read. All of it ends with `--timeout`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::StreamExt;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, HttpResponse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cloud::fault::{self, Asked, Hints, element};
use crate::error::{Error, show};
use crate::net::{RETRIES, innermost, pause};
use crate::refusal::Refusal;

/// The longest page: 5,000 blobs with long names, and their metadata, are below it.
const LONGEST: usize = 64 << 20;

/// What stays in a query: letters, digits and `-._~`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How a bucket is asked.
pub struct Asker {
    pub http: HttpClient,
    /// What is listed, for messages.
    pub place: String,
    /// The bucket, for those about it.
    pub bucket: String,
    pub server: String,
    pub timeout: Duration,
    pub hints: &'static Hints,
}

/// Why there is no page.
pub enum Failure {
    Refused(Refusal),
    Told(Error),
}

enum Attempt {
    /// It may be better the next time.
    Again(Error),
    Refused(Refusal),
}

/// `?name=value&...`.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pair =
        |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, PLAIN));
    format!("?{}", pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
}

impl Asker {
    /// A GET of `url`.
    ///
    /// # Errors
    /// `Setting`: it is none.
    pub fn request(&self, url: &str) -> Result<HttpRequest, Error> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let wrong = |_| Error::Setting(format!("`{}` is no address that can be asked", show(url)));
        *request.uri_mut() = url.parse().map_err(wrong)?;
        Ok(request)
    }

    /// Sends `request` until an answer can be read, as often as retries allow.
    pub async fn get<T>(
        &self,
        request: &HttpRequest,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let end = Instant::now() + self.timeout;
        let tries = async {
            let mut number = 0;
            loop {
                match self.attempt(request.clone(), &read).await {
                    Ok(read) => return Ok(read),
                    Err(Attempt::Refused(refusal)) => return Err(Failure::Refused(refusal)),
                    // It says more than that time is up.
                    Err(Attempt::Again(error))
                        if number == RETRIES || Instant::now() + pause(number + 1) >= end =>
                    {
                        return Err(Failure::Told(error));
                    }
                    Err(Attempt::Again(_)) => number += 1,
                }
                tokio::time::sleep(pause(number)).await;
            }
        };
        let late = |_| {
            let (place, seconds) = (self.place.clone(), self.timeout.as_secs_f64());
            Err(Failure::Told(Error::Timeout { place, seconds }))
        };
        tokio::time::timeout(self.timeout, tries).await.unwrap_or_else(late)
    }

    async fn attempt<T>(
        &self,
        request: HttpRequest,
        read: &impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Attempt> {
        let place = || self.place.clone();
        let lost = |cause: String| {
            let cause = fault::unreached(&show(&self.server), &cause, self.hints);
            Attempt::Again(Error::Failed { place: place(), cause })
        };
        let answer = self.http.execute(request).await.map_err(|error| lost(innermost(&error)))?;
        let status = answer.status().as_u16();
        let body = body(answer).await.map_err(lost)?;
        if status == 200 {
            return read(&body).map_err(|answer| {
                Attempt::Again(Error::Answer { place: place(), answer: show(&answer) })
            });
        }
        let refusal = refusal(status, &body);
        let answer = refusal.to_string();
        Err(match status {
            429 | 503 => Attempt::Again(Error::Busy { place: place(), answer }),
            408 | 500 | 502 | 504..=599 => {
                Attempt::Again(Error::Failed { place: place(), cause: answer })
            }
            _ => Attempt::Refused(refusal),
        })
    }

    /// What a refusal means. `whose` credentials it was asked with, if any.
    pub fn meaning(&self, refusal: &Refusal, whose: Option<Arc<str>>) -> Error {
        let asked = Asked { place: &self.place, server: &self.server, whose, hints: self.hints };
        match fault::refused(&asked, refusal) {
            Error::Gone { answer, .. } => Error::Missing { place: show(&self.bucket), answer },
            other => other,
        }
    }

    /// The same for a request of which only that can be told.
    pub fn told(&self, failure: Failure, whose: Option<Arc<str>>) -> Error {
        match failure {
            Failure::Refused(refusal) => self.meaning(&refusal, whose),
            Failure::Told(error) => error,
        }
    }
}

/// All of it, up to the longest.
async fn body(answer: HttpResponse) -> Result<BytesMut, String> {
    let (mut body, mut whole) = (answer.into_body().bytes_stream(), BytesMut::new());
    while let Some(chunk) = body.next().await {
        whole.extend_from_slice(&chunk.map_err(|error| innermost(&error))?);
        if whole.len() > LONGEST {
            return Err("a page without end".into());
        }
    }
    Ok(whole)
}

/// S3 and Azure refuse in XML, Google in JSON.
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
