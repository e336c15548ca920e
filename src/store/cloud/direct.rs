//! Whole objects, requested without `object_store`: a GET is written into a buffer, and of the usual answer only the checked headers are parsed.
//!
//! `object_store` builds a request that `http1` takes apart, and an answer of which most is not needed: for a small file that
//! is a good part of the whole. So here the same request is written directly. Any answer but the usual one, or none, is handed to
//! `object_store` as the answer to its own request ([`Told`]): what it means is decided there alone, and no request is
//! added.

use std::sync::Arc;

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http1::{self, Answered, Client, Origin, Told};
use crate::metrics::SENT;
use crate::pin::{Answer, Ask};
use crate::remote::Arriving;

/// Bytes of a key that `object_store` does not escape, beside letters and digits.
const KEY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Limit of a key in bytes: those of S3 have at most 1,024. `object_store` refuses a request whose address has over 64 KiB.
const LONGEST: usize = 4 << 10;

/// A bucket of S3 or a server that speaks its protocol.
#[derive(Debug)]
pub struct Direct {
    http: Arc<Client>,
    origin: Origin,
    /// The URL of the bucket, and where its path begins.
    url: String,
    path: usize,
    region: String,
    request_payer: bool,
}

/// A bucket, and the credentials to sign with; `None`: requests are not signed.
pub struct Signed<'a> {
    pub direct: &'a Direct,
    pub keys: Option<Arc<AwsCredential>>,
}

/// A whole object that is arriving.
pub struct Whole {
    pub answer: Answer,
    pub body: Answered,
}

impl Direct {
    /// Requests to the bucket at `url`, which ends without a slash, by this client; `None` if it does not send them itself.
    pub fn new(http: Arc<Client>, url: String, region: &str, request_payer: bool) -> Option<Self> {
        let origin = Origin::of(&request(&url)?).filter(|origin| http.is_direct(origin))?;
        let rest = url.find("://")? + 3;
        let path = url[rest..].find('/').map_or(url.len(), |at| rest + at);
        let is_plain = !url[path..].contains(['?', '#']);
        let region = region.to_owned();
        is_plain.then_some(Self { http, origin, url, path, region, request_payer })
    }

    /// The request for the object at `key`, serialised; `None` if it is left to `object_store`.
    fn written(&self, key: &Path, ask: &Ask, keys: Option<&AwsCredential>) -> Option<Vec<u8>> {
        if key.as_ref().len() > LONGEST {
            return None;
        }
        let key = utf8_percent_encode(key.as_ref(), KEY);
        let query = match ask {
            Ask::Version(version) if is_verbatim(version) => format!("?versionId={version}"),
            Ask::Version(_) => return None,
            Ask::IfMatch(_) | Ask::Any => String::new(),
        };
        let if_match = match ask {
            Ask::IfMatch(etag) => Some(etag),
            _ => None,
        };
        let Some(keys) = keys else {
            let parts = [&self.url[self.path..], "/"].into_iter().chain(key).chain([&*query]);
            let mut head = http1::begun("GET", parts, &self.origin);
            if let Some(etag) = if_match {
                ["if-match: ", etag, "\r\n"].into_iter().for_each(|part| head.push_str(part));
            }
            head.push_str("\r\n");
            return Some(head.into_bytes());
        };
        let mut request = request(&format!("{}/{key}{query}", self.url))?;
        if let Some(etag) = if_match {
            request.headers_mut().insert("if-match", etag.parse().ok()?);
        }
        let signing = AwsAuthorizer::new(keys, "s3", &self.region);
        signing.with_request_payer(self.request_payer).try_authorize(&mut request, None).ok()?;
        Some(http1::written(&request, &self.origin))
    }
}

impl Signed<'_> {
    /// Requests an object of `size` bytes.
    ///
    /// # Errors
    /// The answer is for `object_store`; it is to send the request itself if there is none.
    pub async fn whole(
        &self,
        key: &Path,
        ask: &Ask,
        (size, arriving): (u64, &Arriving),
    ) -> Result<Whole, Option<Told>> {
        let sent = self.direct.written(key, ask, self.keys.as_deref()).ok_or(None)?;
        SENT.add(1);
        let whole = self.direct.http.whole(&self.direct.origin, &sent, (size, arriving)).await?;
        let http1::Plain { version, etag, last_modified, .. } = whole.head;
        // As `object_store`, which reports 1970 where there is none.
        let last_modified = last_modified.filter(|changed| changed.micros() != 0);
        Ok(Whole { answer: Answer { size, version, etag, last_modified }, body: whole.body })
    }
}

fn request(url: &str) -> Option<HttpRequest> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().ok()?;
    Some(request)
}

/// Whether a version is itself in a query.
fn is_verbatim(version: &str) -> bool {
    version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, poll_fn};
    use http_body::Body;
    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::memory::InMemory;
    use object_store::{
        ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, StaticCredentialProvider,
    };

    use super::*;
    use crate::cloud::{self, Bucket, CloudObject, fault, options, wire};
    use crate::error::Error;
    use crate::net::{self, Net};
    use crate::remote::{Question, Requests};

    const BODY: &[u8] = b"hello";

    /// A server that answers every request in the same way, over connections that it keeps; the heads of its requests.
    fn server(answer: &'static [u8]) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, heads) = channel();
        std::thread::spawn(move || {
            while let Ok((mut peer, _)) = listener.accept() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while matches!(peer.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let head = String::from_utf8(std::mem::take(&mut head)).expect("text");
                        if sender.send(head).is_err() {
                            return;
                        }
                        if peer.write_all(answer).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        (format!("http://127.0.0.1:{port}"), heads)
    }

    const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"e\"\r\n\r\nhello";

    /// The same bucket in both ways.
    fn both(endpoint: &str, keys: Option<&Arc<AwsCredential>>) -> (AmazonS3, Direct) {
        let net = Net::new(Duration::from_secs(5), &Vec::new());
        let http = Arc::new(Client::new(&net, true).expect("a client"));
        let connector = wire::Connector::new(&net).by(Some(Arc::clone(&http)));
        let builder = AmazonS3Builder::new()
            .with_bucket_name("b")
            .with_region("r-1")
            .with_endpoint(endpoint)
            .with_request_payer(true)
            .with_skip_signature(keys.is_none())
            .with_http_connector(connector)
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_retry(net::once());
        let builder = match keys {
            Some(keys) => {
                builder.with_credentials(Arc::new(StaticCredentialProvider::new(AwsCredential {
                    key_id: keys.key_id.clone(),
                    secret_key: keys.secret_key.clone(),
                    token: keys.token.clone(),
                })))
            }
            None => builder,
        };
        let store = builder.build().expect("a client");
        let direct = Direct::new(http, format!("{endpoint}/b"), "r-1", true);
        (store, direct.expect("a plain address"))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test)
    }

    fn keys() -> Arc<AwsCredential> {
        Arc::new(AwsCredential {
            key_id: "id".into(),
            secret_key: "secret".into(),
            token: Some("token".into()),
        })
    }

    /// The line that says when a request was signed.
    fn time(head: &str) -> Option<&str> {
        head.lines().find(|line| line.starts_with("x-amz-date"))
    }

    #[test]
    fn a_request_is_that_of_object_store() {
        let (keys, (endpoint, heads)) = (keys(), server(USUAL));
        let paths = ["a", "dir/a b.bin", "caf\u{e9}/+%20?x=1&y#[z]*~!'()@:;,$=_-.\\\"", "%2F%25"];
        let asks = [
            Ask::Any,
            Ask::IfMatch("\"0-a/b+c=\"".into()),
            Ask::Version("v.1_-Z".into()),
            Ask::Version("null".into()),
        ];
        let within = format!("{endpoint}/in");
        for (keys, endpoint) in [None, Some(&keys)]
            .into_iter()
            .flat_map(|keys| [&endpoint, &within].map(|endpoint| (keys, endpoint)))
        {
            let (store, direct) = both(endpoint, keys);
            for (path, ask) in paths.iter().flat_map(|path| asks.iter().map(move |ask| (path, ask)))
            {
                let key = Path::parse(path).expect("a key");
                assert_eq!(key.as_ref(), *path);
                // Signed within the same second, they are equal.
                loop {
                    run(async { store.get_opts(&key, options(ask.clone())).await.map(drop) })
                        .expect("an answer");
                    let signed = Signed { direct: &direct, keys: keys.cloned() };
                    let whole = run(signed.whole(&key, ask, (5, &Arriving::default())));
                    assert!(whole.is_ok(), "{path} {ask:?}");
                    let theirs = heads.recv().expect("a request");
                    let ours = heads.recv().expect("another");
                    assert_eq!(theirs.len(), ours.len(), "{theirs} {ours}");
                    if time(&theirs) == time(&ours) {
                        assert_eq!(theirs, ours);
                        break;
                    }
                }
            }
        }
        let (_, direct) = both(&endpoint, None);
        let odd = Ask::Version("a b&c".into());
        assert_eq!(direct.written(&Path::from("a"), &odd, None), None, "left to it");
    }

    #[test]
    fn a_request_is_for_the_address_of_its_bucket_or_left_to_object_store() {
        let net = Net::new(Duration::from_secs(5), &Vec::new());
        let http = |is_plain| Arc::new(Client::new(&net, is_plain).expect("a client"));
        let key = Path::from("k");
        for (url, want) in [
            ("http://b.h:1", "GET /k HTTP/1.1\r\nhost: b.h:1\r\n"),
            ("http://h/in/b", "GET /in/b/k HTTP/1.1\r\nhost: h\r\n"),
            ("http://[::1]:9/b", "GET /b/k HTTP/1.1\r\nhost: [::1]:9\r\n"),
            ("https://h/b", "GET /b/k HTTP/1.1\r\nhost: h\r\n"),
        ] {
            let direct = Direct::new(http(true), url.into(), "r-1", false).expect("an address");
            for keys in [None, Some(&*keys())] {
                let sent = direct.written(&key, &Ask::Any, keys).expect("a request");
                let sent = String::from_utf8(sent).expect("text");
                assert!(sent.starts_with(want), "{url}: {sent}");
                let long = Path::from("k".repeat(LONGEST + 1));
                assert_eq!(direct.written(&long, &Ask::Any, keys), None, "a long key");
            }
        }
        for (url, is_plain) in [("http://h/b", false), ("https://h/b?x", true), ("ftp://h", true)] {
            assert!(Direct::new(http(is_plain), url.into(), "r-1", false).is_none(), "{url}");
        }
    }

    #[test]
    fn the_usual_answer_is_read_and_any_other_is_left_to_object_store_without_another_request() {
        run(async {
            let (endpoint, heads) = server(USUAL);
            let (_, direct) = both(&endpoint, None);
            let signed = Signed { direct: &direct, keys: None };
            // Over one connection: the server accepts no other meanwhile.
            for _ in 0..3 {
                let (key, arriving) = (Path::from("k"), Arriving::default());
                let whole = signed.whole(&key, &Ask::Any, (5, &arriving)).await;
                let Ok(Whole { answer, mut body }) = whole else { panic!("the usual answer") };
                assert_eq!((answer.size, answer.etag.as_deref()), (5, Some("\"e\"")));
                let mut next = async || poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                let frame = next().await.expect("some").expect("bytes");
                assert_eq!(frame.into_data().expect("bytes"), BODY);
                assert!(next().await.is_none());
            }
            assert_eq!(heads.try_iter().count(), 3);
        });
        let others: [&'static [u8]; 4] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\netag: \"e\"\r\n\r\nhello!",
            b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\ncontent-range: bytes 0-4/9\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 22\r\n\r\n<Code>NoSuchKey</Code>",
        ];
        for other in others {
            run(async {
                let (endpoint, heads) = server(other);
                let (store, direct) = both(&endpoint, None);
                let key = Path::from("k");
                let usual = store.get(&key).await.map(|got| got.meta);
                let signed = Signed { direct: &direct, keys: None };
                let whole = signed.whole(&key, &Ask::Any, (5, &Arriving::default())).await;
                let Err(Some(told)) = whole else { panic!("not the usual answer") };
                assert_eq!(heads.try_iter().count(), 2);
                let mut options = GetOptions::default();
                options.extensions.insert(told);
                let given = store.get_opts(&key, options).await.map(|got| got.meta);
                let text = |error: object_store::Error| match fault::refusal(&error) {
                    Some(refusal) => refusal.to_string(),
                    None => net::innermost(&error),
                };
                assert_eq!(given.map_err(text), usual.map_err(text));
                assert_eq!(heads.try_iter().count(), 0, "nothing was sent again");
                let _ = store.get(&key).await;
                assert_eq!(heads.try_iter().count(), 1);
            });
        }
    }

    /// A bucket that moves when its first client fails, which sends nothing.
    struct Moving {
        first: InMemory,
        then: AmazonS3,
        direct: Direct,
        is_moved: AtomicBool,
    }

    impl Bucket for Moving {
        type Signer = ();

        fn client<'a>(
            &'a self,
            _place: &'a str,
        ) -> BoxFuture<'a, Result<cloud::Client<'a, ()>, Error>> {
            let is_moved = self.is_moved.load(Ordering::Relaxed);
            let store: &dyn ObjectStore = if is_moved { &self.then } else { &self.first };
            let direct = (!is_moved).then_some(Signed { direct: &self.direct, keys: None });
            let client = cloud::Client { store, whose: None, signer: (), direct };
            std::future::ready(Ok(client)).boxed()
        }

        fn go_on(&self, _note: &wire::Note, _was_moved: bool) -> bool {
            !self.is_moved.swap(true, Ordering::Relaxed)
        }

        fn name(&self) -> &str {
            "b"
        }

        fn server(&self) -> &str {
            "s"
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(5)
        }

        fn hints(&self) -> &'static fault::Hints {
            &fault::Hints { signed: "", expired: "", anonymous: "", elsewhere: "", unknown: "" }
        }
    }

    #[test]
    fn an_answer_that_was_not_taken_is_not_that_to_the_next_request() {
        let (endpoint, heads) = server(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        let (then, direct) = both(&endpoint, None);
        let is_moved = AtomicBool::new(false);
        let moving = Arc::new(Moving { first: InMemory::new(), then, direct, is_moved });
        let object = Arc::new(CloudObject::new(moving, Path::from("k"), "s3://b/k".into()));
        let arriving = Arriving::default();
        let question = Question { ask: Ask::Any, range: 0..5, is_whole: true, arriving };
        assert!(run(Requests::get(object, question)).is_err());
        assert_eq!(heads.try_iter().count(), 2);
    }
}
