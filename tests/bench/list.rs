//! A bare listing: the speed of `object_store` alone on a folder or a bucket; each object is examined and
//! dropped.
//!
//!     bench_list local FOLDER
//!     bench_list s3 ENDPOINT BUCKET
//!
//! Prints seconds and the number of objects.

mod bucket;

use std::time::Instant;

use futures_util::stream::TryStreamExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let store: Box<dyn ObjectStore> = match words.as_slice() {
        ["local", folder] => Box::new(LocalFileSystem::new_with_prefix(folder)?),
        ["s3", endpoint, bucket] => Box::new(bucket::client(endpoint, bucket)?),
        _ => return Err("see list.rs".into()),
    };
    let since = Instant::now();
    let count = store.list(None).try_fold(0, |sum, _| async move { Ok(sum + 1) }).await?;
    println!("{} {count}", since.elapsed().as_secs_f64());
    Ok(())
}
