//! Listings of Azure containers: all versions, or the current blobs if the account or the signature does not
//! allow versions.
//!
//! Pages are requested one after another: the API version that `object_store` signs for has no start-after
//! parameter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::azure::AzureAuthorizer;
use object_store::client::HttpConnector;
use percent_encoding::percent_decode_str;

use super::{Container, HINTS};
use crate::cloud::{self, wire};
use crate::error::Error;
use crate::list::ask::{Asker, Failure, query};
use crate::list::page::{Ask, Building, Page, Pages, Token};
use crate::list::{How, Listed, xml};
use crate::refusal::Refusal;
use dcfs_core::time::Timestamp;

/// The largest page that Azure returns.
const PAGE: &str = "5000";

/// The API version that `object_store` signs for, sent with unsigned requests too.
const API: &str = "2023-11-03";

/// Lists a container, or a prefix of it.
pub struct Lister {
    container: Arc<Container>,
    asker: Asker,
    is_current: AtomicBool,
}

impl Lister {
    /// Sends no request yet.
    ///
    /// # Errors
    /// `Setting` if the store's settings are invalid.
    pub fn new(container: Arc<Container>, place: String, how: How) -> Result<Self, Error> {
        let server = cloud::Bucket::server(&*container).to_owned();
        let (net, is_plain) = container.wire();
        let options = net.options(is_plain)?;
        let asker = Asker {
            http: wire::Connector::new(net)
                .connect(&options)
                .map_err(|error| cloud::setting("Azure", &error))?,
            bucket: format!("az://{}", container.name()),
            place,
            server,
            timeout: net.timeout,
            hints: &HINTS,
        };
        Ok(Self { asker, container, is_current: AtomicBool::new(how.is_current) })
    }

    async fn turn(&self, ask: Ask) -> Result<Page, Error> {
        let is_first = ask.token.is_none();
        let (page, whose) = self.send(&ask).await?;
        match page {
            Ok(page) => Ok(page),
            Err(Failure::Refused(refusal, _))
                if is_first && !self.is_current() && has_no_versions(&refusal) =>
            {
                self.is_current.store(true, Ordering::Relaxed);
                let (page, whose) = self.send(&ask).await?;
                page.map_err(|failure| self.asker.told(failure, whose))
            }
            Err(failure) => Err(self.asker.told(failure, whose)),
        }
    }

    async fn send(&self, ask: &Ask) -> Result<(Result<Page, Failure>, Option<Arc<str>>), Error> {
        let credential = self.container.credential(&self.asker.place).await?;
        let (endpoint, account) = self.container.endpoint()?;
        let versions = !self.is_current();
        let mut request = self.asker.request(&self.url(&endpoint, ask, versions))?;
        if let Some(credential) = &credential {
            let signed = AzureAuthorizer::new(credential, &account).try_authorize(&mut request);
            signed.map_err(|error| Error::Failed {
                place: self.asker.place.clone(),
                cause: error.to_string(),
            })?;
        } else if let Ok(api) = API.parse() {
            request.headers_mut().insert("x-ms-version", api);
        }
        let whose = credential.map(|_| "the Azure credentials".into());
        Ok((self.asker.get(&request, |body| read(body, &ask.prefix, versions)).await, whose))
    }

    fn url(&self, endpoint: &str, ask: &Ask, versions: bool) -> String {
        let include = if versions { "metadata,versions" } else { "metadata" };
        let mut pairs = vec![
            ("restype", "container"),
            ("comp", "list"),
            ("include", include),
            ("maxresults", PAGE),
            ("prefix", &ask.prefix),
        ];
        pairs.extend(ask.token.as_ref().map(|token| ("marker", token.0.as_str())));
        pairs.retain(|pair| !pair.1.is_empty());
        format!("{endpoint}/{}{}", self.container.name(), query(&pairs))
    }
}

impl Pages for Lister {
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Page, Error>> {
        self.turn(ask).boxed()
    }

    fn can_begin_anywhere(&self) -> bool {
        false
    }

    fn is_current(&self) -> bool {
        self.is_current.load(Ordering::Relaxed)
    }

    fn place(&self) -> &str {
        &self.asker.place
    }
}

/// Whether current blobs can be listed instead, because versions are not available.
fn has_no_versions(refusal: &Refusal) -> bool {
    const CODES: [&str; 4] = [
        "AuthorizationPermissionMismatch",
        "FeatureNotSupportedForAccount",
        "InvalidQueryParameterValue",
        "UnsupportedQueryParameter",
    ];
    [400, 403, 409].contains(&refusal.status) && CODES.contains(&refusal.code.as_str())
}

/// One blob as listed, not decoded.
#[derive(Default)]
struct Blob {
    name: Option<String>,
    version: Option<String>,
    is_current: bool,
    size: u64,
    etag: String,
    last_modified: Option<Timestamp>,
    /// A folder: of an account with hierarchical namespaces, or a marker written by Hadoop.
    is_folder: bool,
}

/// Parses a page.
fn read(body: &[u8], prefix: &str, versions: bool) -> Result<Page, String> {
    let (mut blob, mut next) = (Blob::default(), None);
    let mut building = Building::new(prefix);
    let root = xml::read(body, |element| {
        match element.path {
            "NextMarker" => next = Some(element.text.to_owned()).filter(|next| !next.is_empty()),
            "Blobs/Blob" => std::mem::take(&mut blob).put(versions, &mut building)?,
            path => {
                if let Some(field) = path.strip_prefix("Blobs/Blob/") {
                    blob.take(field, &element)?;
                }
            }
        }
        Ok(())
    })?;
    match root.as_str() {
        "EnumerationResults" => Ok(building.done(next.map(|next| Token(next, None)))),
        other => Err(format!("a page of `{other}`")),
    }
}

impl Blob {
    fn take(&mut self, field: &str, element: &xml::Element<'_>) -> Result<(), String> {
        let text = element.text;
        match field {
            "Name" if element.is_encoded => {
                let name = percent_decode_str(text).decode_utf8();
                self.name = Some(name.map_err(|_| "a name that is not UTF-8")?.into());
            }
            "Name" => self.name = Some(text.to_owned()),
            "VersionId" => self.version = Some(text.to_owned()).filter(|text| !text.is_empty()),
            "IsCurrentVersion" => self.is_current = text.trim() == "true",
            "Properties/Content-Length" => {
                self.size = text.trim().parse().map_err(|_| format!("a size of `{text}`"))?;
            }
            "Properties/Etag" => text.trim_matches('"').clone_into(&mut self.etag),
            "Properties/Last-Modified" => self.last_modified = date(text),
            "Properties/ResourceType" => self.is_folder |= text == "directory",
            "Metadata/hdi_isfolder" => self.is_folder |= text == "true",
            _ => {}
        }
        Ok(())
    }

    fn put(self, versions: bool, building: &mut Building) -> Result<(), String> {
        let name = self.name.ok_or("a blob without a name")?;
        if !building.key(&name) {
            return Ok(());
        }
        if self.is_folder {
            building.special();
            return Ok(());
        }
        let version = self.version.filter(|_| versions);
        building.row(Listed {
            path: name,
            size: self.size,
            etag: self.etag,
            is_latest: version.is_none() || self.is_current,
            version: version.unwrap_or_default(),
            last_modified: self.last_modified.ok_or("a blob without a time")?,
        });
        Ok(())
    }
}

/// Parses `Fri, 20 Nov 2026 10:31:23 GMT`.
fn date(text: &str) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some(Timestamp::from_micros(date.timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_read_as_datachain_records_them() {
        let properties = "<Properties><Last-Modified>Fri, 20 Nov 2026 10:31:23 GMT</Last-Modified>\
            <Etag>0x8D</Etag><Content-Length>7</Content-Length></Properties>";
        let folder = "<Properties><Last-Modified>Fri, 20 Nov 2026 10:31:23 GMT</Last-Modified></Properties>\
            <Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>";
        let body = format!(
            "\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Prefix>a</Prefix><Blobs>\
             <Blob><Name>a/b</Name><VersionId>v1</VersionId>{properties}</Blob>\
             <Blob><Name>a/b</Name><VersionId>v2</VersionId><IsCurrentVersion>true</IsCurrentVersion>{properties}</Blob>\
             <Blob><Name Encoded=\"true\">a/c%EF%BF%BE</Name>{properties}</Blob>\
             <Blob><Name>a/d</Name>{folder}</Blob><Blob><Name>a/e/</Name>{folder}</Blob>\
             </Blobs><NextMarker>m</NextMarker></EnumerationResults>"
        );
        let page = read(body.as_bytes(), "a", true).unwrap();
        let rows: Vec<_> = page
            .rows
            .iter()
            .map(|row| (&*row.path, &*row.version, row.is_latest, row.size, &*row.etag))
            .collect();
        let want = [
            ("a/b", "v1", false, 7, "0x8D"),
            ("a/b", "v2", true, 7, "0x8D"),
            ("a/c\u{fffe}", "", true, 7, "0x8D"),
        ];
        assert_eq!(rows, want);
        assert_eq!(page.rows[0].last_modified, Timestamp::parse("2026-11-20 10:31:23").unwrap());
        assert_eq!(
            (page.special, page.unfit.len(), page.token),
            (1, 1, Some(Token("m".into(), None)))
        );
    }

    #[test]
    fn answers_that_cannot_be_used_are_refused() {
        let blob = |inside: &str| {
            format!("<EnumerationResults><Blobs><Blob>{inside}</Blob></Blobs></EnumerationResults>")
        };
        let cases = [
            (blob(""), "a blob without a name"),
            (blob("<Name>a</Name>"), "a blob without a time"),
            (blob("<Properties><Content-Length>x</Content-Length></Properties>"), "a size of `x`"),
            ("<Error/>".to_owned(), "not XML"),
            ("<Error></Error>".to_owned(), "a page of `Error`"),
        ];
        for (body, message) in cases {
            let error = read(body.as_bytes(), "", true).unwrap_err();
            assert!(error.contains(message), "{body}: {error}");
        }
    }
}
