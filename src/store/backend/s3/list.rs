//! Listings of S3: all versions (ListObjectVersions), else the current objects (ListObjectsV2, else ListObjects).
//!
//! Versions are DataChain's default. If the store does not list them (R2, rclone, nginx) or does not allow it,
//! the first request is repeated for current objects, and the listing is marked as such. If the store does not
//! know ListObjectsV2, or answers it as ListObjects, ListObjects is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::aws::AwsAuthorizer;
use percent_encoding::percent_decode_str;

use super::{Answer, Bucket, HINTS};
use crate::cloud::fault::{is_about_credentials, is_region};
use crate::error::Error;
use crate::list::ask::{Asker, Failure, query};
use crate::list::page::{Ask, Building, Page, Pages, Token};
use crate::list::{How, Listed, xml};
use crate::refusal::Refusal;
use dcfs_core::time::Timestamp;

/// The largest page that S3 returns.
const PAGE: &str = "1000";

/// Lists a bucket, or a prefix of it.
pub struct Lister {
    bucket: Arc<Bucket>,
    asker: Asker,
    question: AtomicU8,
}

/// The API call; each is tried after the one before was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Question {
    Versions,
    Current,
    /// ListObjects, the first version.
    Old,
}

/// An answer.
#[derive(Debug)]
enum Told {
    Page(Page),
    /// An answer to ListObjects: it continues after a key.
    OldPage(Page),
    /// Current objects instead of versions, or the other way round.
    OtherKind,
}

/// A refusal, and whose credentials signed the request.
type Refused = (Refusal, Option<Arc<str>>);

impl Lister {
    /// Sends no request yet.
    ///
    /// # Errors
    /// `Setting` if the store's settings are invalid.
    pub fn new(bucket: Arc<Bucket>, place: String, how: How) -> Result<Self, Error> {
        let reach = bucket.reach();
        let asker = Asker {
            http: reach.http()?,
            bucket: format!("s3://{}", bucket.name()),
            place,
            server: reach.server().to_owned(),
            timeout: reach.net.timeout,
            hints: &HINTS,
        };
        let first = if how.is_current { Question::Current } else { Question::Versions };
        Ok(Self { asker, bucket, question: AtomicU8::new(first as u8) })
    }

    fn question(&self) -> Question {
        match self.question.load(Ordering::Relaxed) {
            0 => Question::Versions,
            1 => Question::Current,
            _ => Question::Old,
        }
    }

    async fn turn(&self, ask: Ask) -> Result<Page, Error> {
        let is_first = ask.token.is_none() && ask.after.is_empty();
        loop {
            let question = self.question();
            let other = match (self.send(&ask, question).await?, question) {
                (Ok(Told::Page(page)), _) => return Ok(page),
                // The next page is requested with the call that was answered.
                (Ok(Told::OldPage(page)), _) => {
                    self.question.store(Question::Old as u8, Ordering::Relaxed);
                    return Ok(page);
                }
                (Ok(Told::OtherKind), Question::Versions) if is_first => Question::Current,
                (Ok(Told::OtherKind), Question::Versions) => {
                    return Err(self.odd("it no longer lists versions"));
                }
                (Ok(Told::OtherKind), _) => {
                    return Err(self.odd("it lists versions although none were requested"));
                }
                (Err((refusal, _)), Question::Versions)
                    if is_first && is_about_question(&refusal) =>
                {
                    tracing::info!("`{}` lists current objects only: {refusal}", self.asker.place);
                    Question::Current
                }
                (Err((refusal, _)), Question::Current) if is_first && is_unknown(&refusal) => {
                    Question::Old
                }
                (Err((refusal, whose)), _) => return Err(self.asker.meaning(&refusal, whose)),
            };
            self.question.store(other as u8, Ordering::Relaxed);
        }
    }

    /// Sends a request, and repeats it once if it is refused: to the region that the refusal names, and with
    /// other credentials, if there are others by now.
    async fn send(&self, ask: &Ask, question: Question) -> Result<Result<Told, Refused>, Error> {
        let mut signer = self.bucket.signer(&self.asker.place).await?;
        loop {
            let was_moved = self.bucket.is_moved();
            let whose = signer.keys.is_some().then(|| Arc::clone(&signer.whose));
            let (refusal, note) = match self.signed(&signer, ask, question).await {
                Ok(told) => return Ok(Ok(told)),
                Err(Failure::Told(error)) => return Err(error),
                Err(Failure::Refused(refusal, note)) => (refusal, note),
            };
            if self.bucket.go_on(&note, was_moved) {
                continue;
            }
            let identity = self.bucket.reach().identity.as_ref();
            signer = match identity.filter(|_| is_about_credentials(&refusal)) {
                Some(identity) => match identity.others(&signer).await {
                    Some(other) => other,
                    None => return Ok(Err((refusal, whose))),
                },
                None => return Ok(Err((refusal, whose))),
            };
        }
    }

    async fn signed(
        &self,
        signer: &Answer,
        ask: &Ask,
        question: Question,
    ) -> Result<Told, Failure> {
        let url = self.url(ask, question);
        let mut request = self.asker.request(&url).map_err(Failure::Told)?;
        if let Some(keys) = &signer.keys {
            let wrong = |error: object_store::Error| {
                Failure::Told(Error::Failed {
                    place: self.asker.place.clone(),
                    cause: error.to_string(),
                })
            };
            AwsAuthorizer::new(keys, "s3", self.bucket.region())
                .with_request_payer(self.bucket.reach().request_payer)
                .try_authorize(&mut request, None)
                .map_err(wrong)?;
        }
        self.asker.get(&request, |body| read(body, &ask.prefix, question)).await
    }

    fn url(&self, ask: &Ask, question: Question) -> String {
        let mut pairs = vec![("encoding-type", "url"), ("max-keys", PAGE), ("prefix", &ask.prefix)];
        // Without a token, a page begins after a key.
        let (token, after) = match question {
            Question::Versions => {
                pairs.push(("versions", ""));
                ("key-marker", "key-marker")
            }
            Question::Current => {
                pairs.push(("list-type", "2"));
                ("continuation-token", "start-after")
            }
            Question::Old => ("marker", "marker"),
        };
        match &ask.token {
            Some(Token(key, version)) => {
                pairs.push((token, key));
                pairs.extend(version.as_deref().map(|version| ("version-id-marker", version)));
            }
            None if ask.after.is_empty() => {}
            None => pairs.push((after, &ask.after)),
        }
        let base = self.bucket.url();
        // With virtual-hosted addresses the path is empty.
        let slash = if self.bucket.is_virtual() { "/" } else { "" };
        format!("{base}{slash}{}", query(&pairs))
    }

    fn odd(&self, answer: &str) -> Error {
        Error::Answer { place: self.asker.place.clone(), answer: answer.to_owned() }
    }
}

impl Pages for Lister {
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Page, Error>> {
        self.turn(ask).boxed()
    }

    /// Directory buckets and R2 list in an order of their own.
    fn can_begin_anywhere(&self) -> bool {
        let server = self.bucket.reach().server();
        !(self.bucket.name().ends_with("--x-s3") || server.contains("r2.cloudflarestorage"))
    }

    fn is_current(&self) -> bool {
        self.question() != Question::Versions
    }

    fn place(&self) -> &str {
        &self.asker.place
    }
}

/// Refusals of the signature itself: another call would be refused as well.
const KEYS: [&str; 5] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "InvalidToken",
    "ExpiredToken",
];

/// Whether a refusal means that the store does not know ListObjectsV2.
fn is_unknown(refusal: &Refusal) -> bool {
    [405, 501].contains(&refusal.status)
        || [400, 404].contains(&refusal.status) && is_about_question(refusal)
}

/// Whether a refusal may concern the call itself, so that current objects may be listed where versions are not.
fn is_about_question(refusal: &Refusal) -> bool {
    let code = refusal.code.as_str();
    // Servers refuse ListObjectVersions in many ways. If the bucket, the region or the credentials are wrong,
    // the next call fails too, and that error is reported.
    match refusal.status {
        403 => !KEYS.contains(&code),
        404 => code != "NoSuchBucket",
        400 => !is_about_credentials(refusal) && !is_region(400, code),
        405 | 501 => true,
        _ => false,
    }
}

/// One entry, not decoded.
#[derive(Default)]
struct Entry {
    key: String,
    version: String,
    etag: String,
    size: Option<u64>,
    is_latest: Option<bool>,
    last_modified: Option<Timestamp>,
    /// A delete marker.
    is_marker: bool,
}

/// The fields around the entries, not decoded.
#[derive(Default)]
struct Frame {
    is_encoded: bool,
    is_truncated: bool,
    key_marker: Option<String>,
    version_marker: Option<String>,
    continuation: Option<String>,
    /// `NextMarker` of ListObjects.
    marker: Option<String>,
}

/// Parses a page. The name of its outermost element tells which call it answers.
fn read(body: &[u8], prefix: &str, question: Question) -> Result<Told, String> {
    let versions = question == Question::Versions;
    let (mut frame, mut entry, mut entries) = (Frame::default(), Entry::default(), Vec::new());
    let root = xml::read(body, |element| {
        let text = element.text;
        let Some((kind, field)) = element.path.split_once('/') else {
            match element.path {
                "Version" | "Contents" => entries.push(std::mem::take(&mut entry)),
                "DeleteMarker" => {
                    entry.is_marker = true;
                    entries.push(std::mem::take(&mut entry));
                }
                other => frame.take(other, text),
            }
            return Ok(());
        };
        match (kind, field) {
            ("Version" | "Contents" | "DeleteMarker", field) => entry.take(field, text),
            _ => Ok(()),
        }
    })?;
    match (root.as_str(), versions) {
        ("ListVersionsResult", true) | ("ListBucketResult", false) => {}
        ("ListVersionsResult" | "ListBucketResult", _) => return Ok(Told::OtherKind),
        // S3 may begin an answer with status 200, and fail later.
        (other, _) => return Err(format!("a page of `{other}`")),
    }
    let mut building = Building::new(prefix);
    // Some servers list delete markers separately.
    entries.sort_by_key(|entry| entry.is_marker);
    for entry in entries {
        entry.put(frame.is_encoded, versions, &mut building)?;
    }
    if versions {
        return Ok(Told::Page(building.done(frame.version_token()?)));
    }
    match (frame.is_truncated, frame.continuation.take()) {
        (true, Some(token)) => Ok(Told::Page(building.done(Some(Token(token, None))))),
        (true, None) => {
            // Servers with ListObjects name no marker if it is the last key of the page.
            let marker = frame.old_token()?.or_else(|| building.last().map(str::to_owned));
            let marker = marker.ok_or_else(lost)?;
            Ok(Told::OldPage(building.done(Some(Token(marker, None)))))
        }
        (false, _) => Ok(Told::Page(building.done(None))),
    }
}

impl Entry {
    fn take(&mut self, field: &str, text: &str) -> Result<(), String> {
        match field {
            "Key" => text.clone_into(&mut self.key),
            "VersionId" => text.clone_into(&mut self.version),
            "ETag" => text.trim_matches('"').clone_into(&mut self.etag),
            "Size" => {
                self.size = Some(text.trim().parse().map_err(|_| format!("a size of `{text}`"))?)
            }
            "IsLatest" => self.is_latest = Some(text.trim() == "true"),
            "LastModified" => self.last_modified = Timestamp::parse(text),
            _ => {}
        }
        Ok(())
    }

    fn put(self, is_encoded: bool, versions: bool, building: &mut Building) -> Result<(), String> {
        let Some(path) = decoded(self.key, is_encoded) else {
            building.not_utf8();
            return Ok(());
        };
        if self.is_marker {
            building.marker(path);
            return Ok(());
        }
        if !building.key(&path) {
            return Ok(());
        }
        let missing = |what: &str| format!("an entry without a {what}");
        let is_own = versions && self.version != "null";
        building.row(Listed {
            path,
            size: self.size.ok_or_else(|| missing("size"))?,
            version: if is_own { self.version } else { String::new() },
            etag: self.etag,
            is_latest: self.is_latest.unwrap_or(true),
            last_modified: self.last_modified.ok_or_else(|| missing("time"))?,
        });
        Ok(())
    }
}

impl Frame {
    fn take(&mut self, name: &str, text: &str) {
        let own = || Some(text.to_owned()).filter(|text| !text.is_empty());
        match name {
            "EncodingType" => self.is_encoded = text.trim().eq_ignore_ascii_case("url"),
            "IsTruncated" => self.is_truncated = text.trim() == "true",
            "NextKeyMarker" => self.key_marker = own(),
            "NextVersionIdMarker" => self.version_marker = own(),
            "NextContinuationToken" => self.continuation = own(),
            "NextMarker" => self.marker = own(),
            _ => {}
        }
    }

    fn version_token(self) -> Result<Option<Token>, String> {
        if !self.is_truncated {
            return Ok(None);
        }
        let key = decoded(self.key_marker.ok_or_else(lost)?, self.is_encoded).ok_or_else(lost)?;
        Ok(Some(Token(key, self.version_marker)))
    }

    fn old_token(&mut self) -> Result<Option<String>, String> {
        let Some(marker) = self.marker.take() else { return Ok(None) };
        decoded(marker, self.is_encoded).ok_or_else(lost).map(Some)
    }
}

fn lost() -> String {
    "there is more, but it does not say where".to_owned()
}

/// Decodes `encoding-type=url`, which is form encoding: `+` is a space. `None` if it is not UTF-8.
fn decoded(text: String, is_encoded: bool) -> Option<String> {
    if !is_encoded {
        return Some(text);
    }
    if !text.contains(['+', '%']) {
        return Some(text);
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a</Prefix>
<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<NextKeyMarker>a%20%2B%C3%A9</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>
<Version><Key>a%2Fx+y%2520</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest>
<LastModified>2026-11-20T10:31:23.287Z</LastModified><ETag>&quot;e-1&quot;</ETag><Size>7</Size><Owner><ID>o</ID></Owner></Version>
<DeleteMarker><Key>a0</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest></DeleteMarker>
<Version><Key>a/</Key><VersionId>null</VersionId><LastModified>2026-11-20T10:31:23Z</LastModified><Size>0</Size></Version>
<Version><Key>az</Key><VersionId>null</VersionId><IsLatest>false</IsLatest><LastModified>2026-11-20T10:31:23Z</LastModified><ETag>e</ETag><Size>0</Size></Version>
</ListVersionsResult>"#;

    fn page(body: &str, prefix: &str, versions: bool) -> Result<Page, String> {
        let question = if versions { Question::Versions } else { Question::Current };
        match read(body.as_bytes(), prefix, question)? {
            Told::Page(page) => Ok(page),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn versions_are_read_as_datachain_records_them() {
        let page = page(VERSIONS, "a", true).unwrap();
        let second = Timestamp::parse("2026-11-20 10:31:23").unwrap();
        let want = [
            Listed {
                path: "a/x y%20".into(),
                size: 7,
                version: "v2".into(),
                etag: "e-1".into(),
                is_latest: true,
                last_modified: Timestamp::from_micros(second.micros() + 287_000),
            },
            Listed {
                path: "az".into(),
                size: 0,
                version: String::new(),
                etag: "e".into(),
                is_latest: false,
                last_modified: second,
            },
        ];
        assert_eq!(page.rows, want);
        assert_eq!(page.token, Some(Token("a +\u{e9}".into(), Some("null".into()))));
        assert_eq!(
            (page.seen, page.unfit, page.last.as_deref()),
            (4, vec!["a/".to_owned()], Some("az"))
        );
    }

    #[test]
    fn current_objects_have_no_version() {
        let body = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t+%</NextContinuationToken>\
            <Contents><Key>a+b%20</Key><LastModified>2026-11-20T10:31:23Z</LastModified><ETag>\"e\"</ETag><Size>1</Size>\
            </Contents><CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes></ListBucketResult>";
        let page = page(body, "", false).unwrap();
        assert_eq!((page.rows[0].path.as_str(), page.rows[0].is_latest), ("a+b%20", true));
        assert_eq!(page.token, Some(Token("t+%".into(), None)));
        let as_versions = read(body.as_bytes(), "", Question::Versions);
        assert!(matches!(as_versions, Ok(Told::OtherKind)));
    }

    #[test]
    fn a_page_of_the_first_version_goes_on_after_a_key() {
        let page = |marker: &str| {
            let body = format!(
                "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>{marker}<Contents><Key>a%20b</Key>\
                 <LastModified>2026-11-20T10:31:23Z</LastModified><Size>1</Size></Contents></ListBucketResult>"
            );
            match read(body.as_bytes(), "", Question::Current) {
                Ok(Told::OldPage(page)) => page.token,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(page(""), Some(Token("a b".into(), None)));
        assert_eq!(page("<NextMarker>x%2By</NextMarker>"), Some(Token("x+y".into(), None)));
    }

    #[test]
    fn answers_that_cannot_be_used_are_refused() {
        let entry = |inside: &str| {
            format!("<ListBucketResult><Contents>{inside}</Contents></ListBucketResult>")
        };
        let time = "<LastModified>2026-11-20T10:31:23Z</LastModified>";
        let cases = [
            (entry("<Key>a</Key><Size>1</Size>"), "an entry without a time"),
            (entry(&format!("<Key>a</Key>{time}")), "an entry without a size"),
            (entry("<Size>-1</Size>"), "a size of `-1`"),
            ("<Error><Code>SlowDown</Code></Error>".into(), "a page of `Error`"),
            ("<ListBucketResult><Contents>".into(), "it breaks off"),
            (
                "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>".into(),
                "it does not say where",
            ),
        ];
        for (body, message) in cases {
            let error = page(&body, "", false).unwrap_err();
            assert!(error.contains(message), "{body}: {error}");
        }
    }

    #[test]
    fn only_some_refusals_are_about_versions() {
        let cases = [
            (403, "AccessDenied", true),
            (403, "InvalidAccessKeyId", false),
            (403, "SignatureDoesNotMatch", false),
            (501, "NotImplemented", true),
            (405, "MethodNotAllowed", true),
            (400, "InvalidArgument", true),
            (400, "ExpiredToken", false),
            (404, "NoSuchBucket", false),
            (404, "NoSuchKey", true),
            (404, "", true),
            (400, "Unsupported", true),
            (400, "AuthorizationHeaderMalformed", false),
            (403, "Forbidden", true),
            (503, "SlowDown", false),
        ];
        for (status, code, want) in cases {
            let refusal = Refusal { status, code: code.into(), message: String::new() };
            assert_eq!(is_about_question(&refusal), want, "{code}");
        }
    }
}
