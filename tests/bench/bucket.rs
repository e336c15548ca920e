//! A bucket as `object_store` sees it.

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder};

/// The client of `bucket` at `endpoint`, without signatures.
pub fn client(endpoint: &str, bucket: &str) -> object_store::Result<AmazonS3> {
    // Refused only where there is one already.
    rustls::crypto::ring::default_provider().install_default().ok();
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_skip_signature(true)
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .build()
}
