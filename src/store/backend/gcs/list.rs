//! Listings of Google Cloud Storage, through its JSON API: the XML API does not list generations.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::client::{HttpConnector, HttpRequest};
use serde::Deserialize;

use super::{Bucket, HINTS};
use crate::cloud::{self, wire};
use crate::error::Error;
use crate::list::ask::{Asker, query};
use crate::list::page::{Ask, Building, Page, Pages, Token};
use crate::list::{How, Listed};
use dcfs_core::time::Timestamp;

/// The largest page that Google returns.
const PAGE: &str = "5000";

/// The fields to return; by default Google sends all of them.
const FIELDS: &str = "items(name,size,generation,etag,timeDeleted,updated),nextPageToken";

/// Google's own endpoint.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Lists a bucket, or a prefix of it.
pub struct Lister {
    bucket: Arc<Bucket>,
    asker: Asker,
    is_current: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    items: Vec<Item>,
    #[serde(rename = "nextPageToken")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    /// A number, as text.
    size: Option<String>,
    #[serde(default)]
    generation: String,
    #[serde(default)]
    etag: String,
    time_deleted: Option<String>,
    updated: String,
}

impl Lister {
    /// Sends no request yet.
    ///
    /// # Errors
    /// `Setting` if the store's settings are invalid.
    pub fn new(bucket: Arc<Bucket>, place: String, how: How) -> Result<Self, Error> {
        let (net, is_plain) = bucket.wire()?;
        let options = net.options(is_plain)?;
        let asker = Asker {
            http: wire::Connector::new(net)
                .connect(&options)
                .map_err(|error| cloud::setting("Google", &error))?,
            bucket: format!("gs://{}", bucket.name()),
            place,
            server: cloud::Bucket::server(&*bucket).to_owned(),
            timeout: net.timeout,
            hints: &HINTS,
        };
        Ok(Self { asker, bucket, is_current: how.is_current })
    }

    async fn turn(&self, ask: Ask) -> Result<Page, Error> {
        let bearer = self.bucket.bearer(&self.asker.place).await?;
        let mut request = self.asker.request(&self.url(&ask))?;
        if let Some(bearer) = &bearer {
            sign(&mut request, bearer)?;
        }
        let whose = bearer.map(|_| "the Google credentials".into());
        let page = self.asker.get(&request, |body| read(body, &ask.prefix)).await;
        page.map_err(|failure| self.asker.told(failure, whose))
    }

    fn url(&self, ask: &Ask) -> String {
        let versions = if self.is_current { "false" } else { "true" };
        let end = ask.until.as_ref().map(|until| format!("{until}\0"));
        let mut pairs = vec![
            ("prefix", ask.prefix.as_str()),
            ("maxResults", PAGE),
            ("fields", FIELDS),
            ("versions", versions),
        ];
        // Unlike S3's `start-after`, `startOffset` is inclusive; the caller drops the first key.
        pairs.extend(Some(("startOffset", ask.after.as_str())).filter(|start| !start.1.is_empty()));
        pairs.extend(end.as_deref().map(|end| ("endOffset", end)));
        pairs.extend(ask.token.as_ref().map(|token| ("pageToken", token.0.as_str())));
        pairs.extend(self.bucket.payer().map(|project| ("userProject", project)));
        let base = self.bucket.endpoint().unwrap_or(GOOGLE);
        format!("{base}/storage/v1/b/{}/o{}", self.bucket.name(), query(&pairs))
    }
}

fn sign(request: &mut HttpRequest, bearer: &str) -> Result<(), Error> {
    let value = format!("Bearer {bearer}").parse();
    let value =
        value.map_err(|_| Error::Setting("the Google token is not valid in a header".into()))?;
    request.headers_mut().insert("authorization", value);
    Ok(())
}

impl Pages for Lister {
    fn page(&self, ask: Ask) -> BoxFuture<'_, Result<Page, Error>> {
        self.turn(ask).boxed()
    }

    fn can_begin_anywhere(&self) -> bool {
        true
    }

    fn is_current(&self) -> bool {
        self.is_current
    }

    fn place(&self) -> &str {
        &self.asker.place
    }
}

/// Parses a page.
fn read(body: &[u8], prefix: &str) -> Result<Page, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut building = Building::new(prefix);
    for item in answer.items {
        if !building.key(&item.name) {
            continue;
        }
        let size = item.size.as_deref().unwrap_or("0");
        let last_modified = Timestamp::parse(&item.updated);
        building.row(Listed {
            size: size.parse().map_err(|_| format!("a size of `{size}`"))?,
            version: item.generation,
            etag: item.etag,
            is_latest: item.time_deleted.is_none(),
            last_modified: last_modified.ok_or_else(|| format!("a time of `{}`", item.updated))?,
            path: item.name,
        });
    }
    let next = answer.next.filter(|next| !next.is_empty());
    Ok(building.done(next.map(|next| Token(next, None))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_versions() {
        let body = br#"{"items":[
            {"name":"a/b","size":"7","generation":"1","etag":"CA==","updated":"2026-11-20T10:31:23.287Z","timeDeleted":"x"},
            {"name":"a/b","size":"8","generation":"2","etag":"CB==","updated":"2026-11-20T10:31:23Z"},
            {"name":"a/b/","updated":"2026-11-20T10:31:23Z"}],"nextPageToken":"t"}"#;
        let page = read(body, "a").unwrap();
        let rows: Vec<_> =
            page.rows.iter().map(|row| (&*row.version, row.size, row.is_latest)).collect();
        assert_eq!(rows, [("1", 7, false), ("2", 8, true)]);
        assert_eq!(page.rows[0].last_modified.micros() % 1_000_000, 287_000);
        assert_eq!((page.token, page.unfit.len()), (Some(Token("t".into(), None)), 1));
        assert!(read(b"{}", "").unwrap().rows.is_empty());
    }

    #[test]
    fn answers_that_cannot_be_used_are_refused() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "EOF"),
            (b"{\"items\":[", "EOF"),
            (br#"{"items":[{"name":"a","size":"x","updated":"2026-11-20"}]}"#, "a size of `x`"),
            (br#"{"items":[{"name":"a","updated":"x"}]}"#, "a time of `x`"),
        ];
        for (body, message) in cases {
            let error = read(body, "").unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
