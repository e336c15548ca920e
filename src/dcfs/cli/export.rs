//! `dcfs export`: real files in a layout of `_views/`, for users who want a copy.
//!
//! It is `dcfs cp -r` of what a mount shows, so each layout is implemented once; in addition it resumes where
//! it stopped, and writes the checksums of all files at the end.

use std::path::PathBuf;

use clap::ValueEnum;

use super::access::{AccessArgs, ReadAhead};
use super::asking::AskingArgs;
use super::complete;
use super::cp::{Cp, How};
use super::output::Output;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::SLASH;
use dcfs_core::loader::options::NONE;
use dcfs_core::name::DatasetRef;

/// Write the files of a dataset in the layout of a training loader
///
/// Each file appears when it is complete. An existing file with the size and the time of its row is not written
/// again, so the same command resumes after an interruption. `SHA256SUMS` is written last: if it exists, the
/// copy is complete.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Dataset, e.g. `pets`, `pets@1.0.0` or `pets@latest`
    #[arg(add = complete::datasets())]
    dataset: DatasetRef,
    /// Directory to write into, created if it does not exist; or a prefix of a bucket, `s3://bucket/prefix`
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    to: PathBuf,
    /// The layout
    #[arg(long, value_enum, default_value_t = Format::Folder)]
    format: Format,
    /// Options of the layout, as in `_views/`, e.g. `shard=1000,cls=label` or `val=0.1`
    #[arg(long, value_name = "KEY=VALUE,...")]
    options: Option<String>,
    /// Only rows that pass this filter, e.g. `info.width > 400`
    #[arg(long = "where", value_name = "FILTER", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Files to write in parallel: most of the time is spent waiting for a bucket
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    ahead: ReadAhead,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// A layout of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Files at their recorded paths
    Folder,
    /// Tar files of samples
    Webdataset,
    /// `data.yaml`, `images/` and `labels/` for Ultralytics
    Yolo,
    /// `annotations.json` and `images/`
    Coco,
    /// The rows without their files, as `rows.parquet`
    Parquet,
}

impl Export {
    /// Exports; a file that fails is reported, and the others continue.
    pub fn run(self, out: &mut Output) -> Result<()> {
        let path = self.path()?;
        self.check()?;
        let is_table = self.format == Format::Parquet;
        if let Some(uri) = self.to.to_str().filter(|to| to.starts_with("s3://")) {
            // The slashes of the scheme are not trailing slashes.
            let uri = if uri == "s3://" { uri } else { uri.trim_end_matches('/') }.to_owned();
            let dest = PathBuf::from(&uri);
            let dest = if is_table { dest.join("rows.parquet") } else { dest };
            return self.write(path, dest, How::Upload { uri }, out);
        }
        // One canonical path for files and checksums, whatever links lead there.
        let made = std::fs::create_dir_all(&self.to).and_then(|()| std::fs::canonicalize(&self.to));
        let to = made.map_err(|error| {
            Error::new(Kind::Denied, format!("cannot make `{}`: {error}", self.to.display()))
        })?;
        let dest = if is_table { to.join("rows.parquet") } else { to.clone() };
        self.write(path, dest, How::Export { sums: to }, out)
    }

    fn write(self, path: PathBuf, dest: PathBuf, how: How, out: &mut Output) -> Result<()> {
        let (jobs, json) = (self.jobs, self.json);
        Cp {
            paths: vec![path],
            dest,
            recursive: true,
            jobs,
            access: self.access,
            ahead: self.ahead,
            json,
            how,
        }
        .run(out)
    }

    /// Checks the filter, because an invalid one would be a different path or none.
    fn check(&self) -> Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        if filter.trim().is_empty() {
            return Err(super::usage("`--where` is empty; leave it out to export every row"));
        }
        let (catalog, cache_dir) = (self.access.catalog.clone(), self.access.cache_dir.clone());
        AskingArgs { catalog, cache_dir }.ask(&self.dataset)?.check(filter).map(drop)
    }

    /// The path of this layout in a mount.
    fn path(&self) -> Result<PathBuf> {
        let mut path = PathBuf::from(self.dataset.to_string());
        if let Some(filter) = &self.filter {
            path.push(filter.trim().replace('/', SLASH.encode_utf8(&mut [0; 4])));
        }
        let views = |name: &str| path.join("_views").join(name);
        let with = |layout: PathBuf| {
            self.options.as_ref().map_or(layout.clone(), |options| layout.join(options))
        };
        let path = match self.format {
            Format::Folder => path,
            Format::Webdataset => views("webdataset").join(self.options.as_deref().unwrap_or(NONE)),
            Format::Yolo => with(views("yolo")),
            Format::Coco => with(views("coco")),
            Format::Parquet => return self.without_options(path.join("_rows.parquet")),
        };
        // Its contents, not the directory of that name.
        let contents = path.join(".");
        if self.format == Format::Folder { self.without_options(contents) } else { Ok(contents) }
    }

    fn without_options(&self, path: PathBuf) -> Result<PathBuf> {
        match self.options {
            None => Ok(path),
            Some(_) => Err(super::usage("`--options` is for webdataset, yolo and coco")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        export: Export,
    }

    #[test]
    fn an_empty_filter_is_not_all_rows() {
        for filter in ["", " "] {
            let line = Line::parse_from(["dcfs", "pets", "--to", "out", "--where", filter]);
            let error = line.export.check().expect_err("nothing is asked").to_string();
            assert!(error.contains("--where"), "{error}");
        }
        let all = Line::parse_from(["dcfs", "pets", "--to", "out"]);
        all.export.check().expect("no filter");
    }
}
