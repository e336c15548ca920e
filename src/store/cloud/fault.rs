//! Maps failures of `object_store` to errors about the requested object.
//!
//! Its `Error` hides the status and the body of an answer behind a private type, so both are parsed from the
//! one sentence that contains them; `tests/it/misbehaving.rs` checks that this still works, against a server that
//! refuses in every way.

use std::error::Error as StdError;
use std::sync::Arc;

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::{Error, show};
use crate::net::innermost;
use crate::refusal::Refusal;

/// The sentence of `object_store`'s `RequestError::Status`.
const STATUS: &str = "Server returned non-2xx status code: ";
/// The sentence of its `RequestError::BareRedirect`: S3's answer to a wrong region.
const REDIRECT: &str = "Received redirect without LOCATION";
/// The sentence of its `GetResultError::NotPartial`.
const NOT_PARTIAL: &str = "Received non-partial response";
/// Codes about credentials that come with statuses other than 401 and 403.
const CREDENTIALS: [&str; 3] = ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"];

/// The refusal in `error`, if a server answered at all.
pub fn refusal(error: &object_store::Error) -> Option<Refusal> {
    chain(error).find_map(|text| parse(text.strip_prefix(STATUS)?))
}

/// Parses `404 Not Found: <Error><Code>NoSuchKey</Code>...`, which all three clouds write.
fn parse(text: &str) -> Option<Refusal> {
    let (status, rest) = text.split_at_checked(3)?;
    let body = rest.split_once(": ").map_or("", |(_, body)| body);
    let (code, message) = (element(body, "Code"), element(body, "Message"));
    Some(Refusal { status: status.parse().ok()?, code, message })
}

/// The text between `<name>` and `</name>` in `xml`, safe to print.
pub fn element(xml: &str, name: &str) -> String {
    let inside = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    show(inside().unwrap_or_default())
}

/// Whether other credentials might help.
pub fn is_about_credentials(refusal: &Refusal) -> bool {
    let (status, code) = (refusal.status, refusal.code.as_str());
    CREDENTIALS.contains(&code) || ([401, 403].contains(&status) && !is_archived(code))
}

/// The bucket's owner does not pay for requests.
const UNPAID: &str = "who reads it pays: pass `--request-payer`; for Google name the project too, by `user_project` in \
                      `config.toml` or by `GOOGLE_CLOUD_PROJECT`";

/// The context of a request, for messages.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// `source/path`.
    pub place: &'a str,
    /// The endpoint.
    pub server: &'a str,
    /// A description of the identity that signed it; `None` if the request was not signed.
    pub whose: Option<Arc<str>>,
    pub hints: &'static Hints,
}

/// Hints for the user of a cloud.
#[derive(Debug)]
pub struct Hints {
    /// The credentials do not suffice.
    pub signed: &'static str,
    /// The credentials have expired.
    pub expired: &'static str,
    /// There were no credentials.
    pub anonymous: &'static str,
    /// The server redirects.
    pub elsewhere: &'static str,
    /// The server's name is unknown.
    pub unknown: &'static str,
}

/// Describes why a server gave no answer: `cause` as the network reports it, and a hint if its name is unknown.
pub fn unreached(server: &str, cause: &str, hints: &Hints) -> String {
    match cause.contains("lookup address") {
        true => format!("asking `{server}`: {cause}; {}", hints.unknown),
        false => format!("asking `{server}`: {cause}"),
    }
}

/// The error that `error` means, except for failed preconditions (412, 416), which [`crate::remote`] handles.
pub fn meaning(asked: &Asked, error: &object_store::Error) -> Error {
    match refusal(error) {
        Some(refusal) => refused(asked, &refusal),
        None => unanswered(asked, error),
    }
}

/// The error that a refusal means.
pub fn refused(asked: &Asked, refusal: &Refusal) -> Error {
    let place = asked.place.to_owned();
    let answer = refusal.to_string();
    let code = refusal.code.as_str();
    match refusal.status {
        _ if is_unpaid(refusal) => Error::Denied { place, answer, hint: UNPAID },
        _ if is_about_credentials(refusal) => denied(refusal, asked),
        _ if is_archived(code) => {
            Error::Denied { place, answer, hint: "it is archived: restore it first" }
        }
        // Azure's answer for a container or an account that is not public.
        404 | 409 if is_private(code) && asked.whose.is_none() => denied(refusal, asked),
        404 => Error::Gone { place, answer },
        429 | 503 => Error::Busy { place, answer },
        301 | 307 | 400 if is_region(refusal.status, code) => elsewhere(asked, &answer),
        _ => Error::Failed { place, cause: answer },
    }
}

/// Google uses a code in XML, and prose in JSON.
fn is_unpaid(refusal: &Refusal) -> bool {
    refusal.code == "UserProjectMissing"
        || refusal.message.to_lowercase().contains("requester pays")
}

fn is_archived(code: &str) -> bool {
    ["InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"].contains(&code)
}

fn is_private(code: &str) -> bool {
    ["ResourceNotFound", "PublicAccessNotPermitted"].contains(&code)
}

/// Whether a refusal with status 301, 307 or 400 is about the region.
pub fn is_region(status: u16, code: &str) -> bool {
    let codes =
        ["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"];
    status != 400 || codes.contains(&code)
}

/// The error if other credentials may be allowed more than these, or none.
fn denied(refusal: &Refusal, asked: &Asked) -> Error {
    let answer = match &asked.whose {
        Some(whose) => format!("{refusal}, requested with {whose}"),
        None => format!("{refusal}, requested without credentials"),
    };
    let hint = match (refusal.code.as_str(), &asked.whose) {
        ("RequestTimeTooSkewed", _) => "set the clock of this machine",
        (_, None) => asked.hints.anonymous,
        (code, Some(_)) if CREDENTIALS.contains(&code) => asked.hints.expired,
        (_, Some(_)) => asked.hints.signed,
    };
    Error::Denied { place: asked.place.to_owned(), answer, hint }
}

/// The error if there is no refusal: the answer cannot be used, or none came.
fn unanswered(asked: &Asked, error: &object_store::Error) -> Error {
    let place = asked.place.to_owned();
    let says = |sentence| chain(error).any(|text| text.starts_with(sentence));
    if says(NOT_PARTIAL) {
        return Error::RangeIgnored { place };
    }
    if says(REDIRECT) {
        return elsewhere(asked, "the store redirects elsewhere");
    }
    if says("HTTP error") {
        let cause = unreached(asked.server, &innermost(error), asked.hints);
        return Error::Failed { place, cause };
    }
    // The source of `Generic`, whose text contains those of its own sources.
    let answer = show(&chain(error).nth(1).unwrap_or_default());
    Error::Answer { place, answer }
}

fn elsewhere(asked: &Asked, answer: &str) -> Error {
    let cause = format!("{answer}: {}", asked.hints.elsewhere);
    Error::Failed { place: asked.place.to_owned(), cause }
}

/// Whether a retry may succeed: the server is busy or failing, or there was no answer.
pub fn may_pass(error: &object_store::Error) -> bool {
    match refusal(error) {
        Some(refusal) => is_passing(refusal.status),
        None => {
            let kind = sources(error).find_map(|e| Some(e.downcast_ref::<HttpError>()?.kind()));
            let lost = |kind| !matches!(kind, HttpErrorKind::Decode | HttpErrorKind::Unknown);
            kind.is_some_and(lost) && !is_distrust(&innermost(error))
        }
    }
}

/// Whether a refusal with this status is transient. "Not implemented" is not.
pub fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=599)
}

/// Whether a connection failed because of a certificate: the next attempt would see the same one.
pub fn is_distrust(cause: &str) -> bool {
    cause.starts_with("invalid peer certificate")
}

/// Whether a connection failed because the server's name does not exist. Errors of the name server itself have
/// other texts.
pub fn is_unknown_name(cause: &str) -> bool {
    cause.contains("lookup address") && !cause.contains("Temporary failure")
}

fn sources(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |e| (*e).source())
}

/// Each error of the chain as text, outermost first.
fn chain(error: &object_store::Error) -> impl Iterator<Item = String> {
    sources(error).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &str) -> object_store::Error {
        let source = format!("{STATUS}{status}").into();
        object_store::Error::Generic { store: "S3", source }
    }

    fn asked(signed: bool) -> Asked<'static> {
        const HINTS: Hints = Hints {
            signed: "grant it",
            expired: "renew them",
            anonymous: "log in",
            elsewhere: "pass `--region`",
            unknown: "see `--endpoint-url`",
        };
        let whose = signed.then(|| "the keys of the environment".into());
        Asked { place: "s3://b/k", server: "https://h", whose, hints: &HINTS }
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
                "`s3://b/k` may not be read: the store answers 403, requested with the keys of the \
              environment; grant it",
            ),
            (
                format!("403 Forbidden: {}", xml("InvalidObjectState")),
                "`s3://b/k` may not be read: the store answers 403 InvalidObjectState (m); it is \
              archived: restore it first",
            ),
            (
                format!("400 Bad Request: {}", xml("ExpiredToken")),
                "`s3://b/k` may not be read: the store answers 400 ExpiredToken (m), requested with the \
              keys of the environment; renew them",
            ),
            (
                format!("503 Slow Down: {}", xml("SlowDown")),
                "the store is busy and did not return `s3://b/k`: the store answers 503 SlowDown (m); \
              try again later",
            ),
            (
                format!("400 Bad Request: {}", xml("AuthorizationHeaderMalformed")),
                "`s3://b/k` could not be read: the store answers 400 AuthorizationHeaderMalformed \
              (m): pass `--region`",
            ),
            (
                format!("400 Bad Request: {}", xml("x\u{1b}\n")),
                "`s3://b/k` could not be read: the store answers 400 x\\u{1b}\\n (m)",
            ),
        ];
        for (answer, message) in cases {
            assert_eq!(meaning(&asked(true), &text(&answer)).to_string(), message, "{answer}");
        }
        let anonymous = meaning(&asked(false), &text("403 Forbidden: ")).to_string();
        assert!(anonymous.ends_with(", requested without credentials; log in"), "{anonymous}");
        let private = text(&format!("404 Not Found: {}", xml("ResourceNotFound")));
        assert!(matches!(meaning(&asked(false), &private), Error::Denied { .. }));
        assert!(matches!(meaning(&asked(true), &private), Error::Gone { .. }));
    }

    #[test]
    fn a_server_of_an_unknown_name_is_told_with_where_to_name_it() {
        let said = |cause| unreached("https://h", cause, asked(true).hints);
        assert_eq!(said("refused"), "asking `https://h`: refused");
        let unknown = said("failed to lookup address information: Name or service not known");
        assert!(unknown.ends_with("not known; see `--endpoint-url`"), "{unknown}");
    }

    #[test]
    fn any_answer_is_read_without_a_panic() {
        for answer in ["", "4", "40\u{e9}", "abc: x", "200", "404: <Code><Code></Code>"] {
            meaning(&asked(true), &text(answer));
        }
    }
}
