//! What a failure of `object_store` means for the object that was asked for.
//!
//! Its `Error` hides the status and the body of an answer behind a type that cannot be named from
//! outside, so both are read from the one sentence that carries them; `tests/it/store.rs` holds
//! that they still are, against a server that refuses in every way.

use std::error::Error as StdError;

use super::super::error::{Error, show};

/// A refusal of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// S3's own code, such as `NoSuchKey`; empty where the server does not say.
    pub code: String,
    message: String,
}

/// The sentence of `object_store`'s `RequestError::Status`.
const STATUS: &str = "Server returned non-2xx status code: ";
/// The sentence of its `RequestError::BareRedirect`: S3's answer to a wrong region.
const REDIRECT: &str = "Received redirect without LOCATION";
/// The sentence of its `GetResultError::NotPartial`.
const NOT_PARTIAL: &str = "Received non-partial response";
/// Codes of credentials that come with other statuses than 401 and 403.
const CREDENTIALS: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];

impl Refusal {
    /// The refusal in `error`, if a server answered at all.
    pub fn of(error: &object_store::Error) -> Option<Self> {
        chain(error).find_map(|text| Self::parse(text.strip_prefix(STATUS)?))
    }

    /// Reads `404 Not Found: <Error><Code>NoSuchKey</Code>...`.
    fn parse(text: &str) -> Option<Self> {
        let (status, rest) = text.split_at_checked(3)?;
        let body = rest.split_once(": ").map_or("", |(_, body)| body);
        Some(Self {
            status: status.parse().ok()?,
            code: element(body, "Code"),
            message: element(body, "Message"),
        })
    }
}

/// `404 NoSuchKey (The specified key does not exist.)`
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the store answers {}", self.status)?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => Ok(()),
            (code, "") => write!(f, " {code}"),
            (code, message) => write!(f, " {code} ({message})"),
        }
    }
}

/// What is between `<name>` and `</name>` in `xml`, fit to print.
fn element(xml: &str, name: &str) -> String {
    let inside = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    show(inside().unwrap_or_default())
}

/// The meaning of `error`, but for a failed precondition, which [`super::object`] looks into.
pub fn meaning(place: &str, signed: bool, error: &object_store::Error) -> Error {
    let place = place.to_owned();
    let Some(refusal) = Refusal::of(error) else { return unanswered(place, error) };
    let answer = refusal.to_string();
    let code = refusal.code.as_str();
    match refusal.status {
        _ if CREDENTIALS.contains(&code) => {
            Error::Denied { place, answer, hint: "get new credentials and mount again" }
        }
        401 | 403 => Error::Denied { place, answer, hint: hint(code, signed) },
        404 => Error::Gone { place, answer },
        // The object is shorter than the range that was recorded for it.
        416 => {
            let (recorded, found) = ("as recorded".into(), "shorter".into());
            Error::Changed { place, what: "size", recorded, found }
        }
        429 | 503 => Error::Busy { place, answer },
        301 | 307 | 400 if is_region(refusal.status, code) => other_region(place, &answer),
        _ => Error::Failed { place, cause: answer },
    }
}

fn is_region(status: u16, code: &str) -> bool {
    status != 400
        || ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException"].contains(&code)
}

fn hint(code: &str, signed: bool) -> &'static str {
    match (code, signed) {
        ("InvalidObjectState", _) => "it is archived: restore it first",
        ("RequestTimeTooSkewed", _) => "set the clock of this machine",
        (_, true) => {
            "the credentials of the environment do not allow it; for a public bucket pass `--anon`"
        }
        (_, false) => {
            "it was asked for without credentials: set `AWS_ACCESS_KEY_ID` and \
             `AWS_SECRET_ACCESS_KEY` and do not pass `--anon`"
        }
    }
}

fn unanswered(place: String, error: &object_store::Error) -> Error {
    let says = |sentence| chain(error).any(|text| text.starts_with(sentence));
    if says(NOT_PARTIAL) {
        return Error::RangeIgnored { place };
    }
    if says(REDIRECT) {
        return other_region(place, "the store sends elsewhere");
    }
    let cause = show(&innermost(error));
    if says("HTTP error") || says("Error performing") {
        return Error::Failed { place, cause };
    }
    Error::Answer { place, answer: cause }
}

fn other_region(place: String, answer: &str) -> Error {
    let cause = format!("{answer}: the bucket is in another region; pass it as `--region`");
    Error::Failed { place, cause }
}

/// Each error of the chain as text, outermost first.
fn chain(error: &object_store::Error) -> impl Iterator<Item = String> {
    std::iter::successors(Some(error as &dyn StdError), |e| (*e).source()).map(ToString::to_string)
}

/// The last error of the chain: the one that says what happened, without repeating the others.
pub fn innermost(error: &object_store::Error) -> String {
    chain(error).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &str) -> object_store::Error {
        let source = format!("{STATUS}{status}").into();
        object_store::Error::Generic { store: "S3", source }
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let xml = |code: &str| format!("<?xml?><Error><Code>{code}</Code><Message>m</Message>");
        let cases = [
            (
                format!("404 Not Found: {}", xml("NoSuchKey")),
                "`s3://b/k` is gone, or that version of it: the store answers 404 NoSuchKey (m); \
              index it again",
            ),
            (
                "403 Forbidden: ".into(),
                "`s3://b/k` may not be read: the store answers 403; the credentials of the \
              environment do not allow it; for a public bucket pass `--anon`",
            ),
            (
                format!("403 Forbidden: {}", xml("InvalidObjectState")),
                "`s3://b/k` may not be read: the store answers 403 InvalidObjectState (m); it is \
              archived: restore it first",
            ),
            (
                format!("400 Bad Request: {}", xml("ExpiredToken")),
                "`s3://b/k` may not be read: the store answers 400 ExpiredToken (m); get new \
              credentials and mount again",
            ),
            (
                format!("503 Slow Down: {}", xml("SlowDown")),
                "the store is busy and did not give `s3://b/k`: the store answers 503 SlowDown (m); \
              try again later",
            ),
            (
                format!("400 Bad Request: {}", xml("AuthorizationHeaderMalformed")),
                "`s3://b/k` could not be read: the store answers 400 AuthorizationHeaderMalformed \
              (m): the bucket is in another region; pass it as `--region`",
            ),
            (
                format!("400 Bad Request: {}", xml("x\u{1b}\n")),
                "`s3://b/k` could not be read: the store answers 400 x\\u{1b}\\n (m)",
            ),
            (
                "416 Range Not Satisfiable: ".into(),
                "`s3://b/k` is no longer the object recorded: its size was as recorded and is \
              shorter; index it again and save a new version",
            ),
        ];
        for (answer, message) in cases {
            assert_eq!(meaning("s3://b/k", true, &text(&answer)).to_string(), message, "{answer}");
        }
        let anonymous = meaning("k", false, &text("403 Forbidden: ")).to_string();
        assert!(anonymous.contains("set `AWS_ACCESS_KEY_ID`"), "{anonymous}");
    }

    #[test]
    fn any_answer_is_read_without_a_panic() {
        for answer in ["", "4", "40\u{e9}", "abc: x", "200", "404: <Code><Code></Code>"] {
            meaning("k", true, &text(answer));
        }
    }
}
