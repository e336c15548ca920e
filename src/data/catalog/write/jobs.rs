//! Jobs: what DataChain records about a program that makes a version, so that its own commands find
//! it.
//!
//! A catalog of an older DataChain lacks some of these tables; their part is then left out.

use serde_json::Value;
use uuid::Uuid;

use super::naming::now;
use crate::catalog::ask::{Write, bound};
use crate::catalog::columns::Columns;
use crate::catalog::error::Error;

/// `status` of a job: running, done, failed, cancelled by a person.
const RUNNING: i64 = 4;
const COMPLETE: i64 = 5;
const FAILED: i64 = 6;
const CANCELED: i64 = 8;

/// `query_type`: a Python script, or a command.
const PYTHON: i64 = 1;
const SHELL: i64 = 2;

/// A job that starts.
#[derive(Clone, Copy, Debug)]
pub struct NewJob<'a> {
    /// A uuid.
    pub id: &'a str,
    /// Jobs of one name form a sequence.
    pub name: &'a str,
    /// The command, followed by the text of its program if it is a script.
    pub query: &'a str,
    /// The version of the Python that runs it, if one does.
    pub python: Option<&'a str>,
}

/// The outcome of a job.
#[derive(Clone, Copy, Debug)]
pub enum JobEnd<'a> {
    Complete,
    Failed { message: &'a str, stack: &'a str },
    Canceled,
}

/// The result of a job, recorded beside the version itself.
#[derive(Clone, Copy, Debug)]
pub struct JobDone<'a> {
    pub id: &'a str,
    /// Identifies the computation: 64 hex digits.
    pub hash: &'a str,
    /// The kind of computation: `UDF_MAP` or `UDF_GEN`.
    pub step: &'static str,
    /// The program.
    pub program: &'a str,
    pub counts: JobCounts,
    /// An object in dcfs's own format.
    pub details: &'a Value,
}

/// Row counts of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Rows to be computed.
    pub input: u64,
    /// Rows that this job computed.
    pub processed: u64,
    /// Rows in the result.
    pub output: u64,
    /// Rows reused from an earlier job.
    pub reused: u64,
}

/// Records that a job starts: it follows the last one of its name.
pub fn begin(write: &dyn Write, job: &NewJob<'_>) -> Result<(), Error> {
    if !Columns::of(write, "jobs")?.has("run_group_id") {
        return Ok(());
    }
    let sql = "SELECT id, run_group_id FROM jobs WHERE name = ?1 ORDER BY created_at DESC LIMIT 1";
    let last = write.first(sql, bound![job.name])?;
    let (last, group) = last.map_or((None, None), |mut row| (row.take(0), row.take(1)));
    let group = group.or_else(|| last.clone()).unwrap_or_else(|| job.id.to_owned());
    let kind = if job.python.is_some() { PYTHON } else { SHELL };
    write.run(
        "INSERT INTO jobs (id, name, status, created_at, query, query_type, workers, python_version, \
         error_message, error_stack, params, metrics, rerun_from_job_id, run_group_id, is_remote_execution) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, '', '', '{}', '{}', ?8, ?9, ?10)",
        bound![
            job.id,
            job.name,
            RUNNING,
            &now(),
            job.query,
            kind,
            job.python,
            last.as_deref(),
            &group,
            false
        ],
    )?;
    Ok(())
}

/// Records how a job ended; one that has already ended stays as it is.
pub fn end(write: &dyn Write, id: &str, how: JobEnd<'_>) -> Result<(), Error> {
    let (status, message, stack) = match how {
        JobEnd::Complete => (COMPLETE, "", ""),
        JobEnd::Failed { message, stack } => (FAILED, message, stack),
        JobEnd::Canceled => (CANCELED, "", ""),
    };
    if !Columns::of(write, "jobs")?.has("run_group_id") {
        return Ok(());
    }
    let sql = "UPDATE jobs SET status = ?2, finished_at = ?3, error_message = ?4, error_stack = ?5 \
               WHERE id = ?1 AND status = ?6";
    write.run(sql, bound![id, status, &now(), message, stack, RUNNING])?;
    Ok(())
}

/// Records the result of a job, in the transaction in which the version appears.
pub fn published(
    write: &dyn Write,
    version: i64,
    dataset: &str,
    job: &JobDone<'_>,
) -> Result<(), Error> {
    if Columns::of(write, "datasets_versions")?.has("job_id") {
        let sql = "UPDATE datasets_versions SET job_id = ?2 WHERE id = ?1";
        write.run(sql, bound![version, job.id])?;
    }
    noted(write, version, job.id, true)?;
    if Columns::of(write, "checkpoints")?.exist() {
        let sql = "INSERT INTO checkpoints (id, job_id, hash, partial, created_at, status) \
                   VALUES (?1, ?2, ?3, ?4, ?5, 0) ON CONFLICT DO NOTHING";
        write.run(sql, bound![&Uuid::new_v4().to_string(), job.id, job.hash, false, &now()])?;
    }
    if Columns::of(write, "checkpoint_events")?.exist() {
        let begun = if job.counts.reused > 0 { "UDF_CONTINUED" } else { "UDF_FROM_SCRATCH" };
        event(write, job, begun, job.step, dataset)?;
        event(write, job, "DATASET_SAVE_COMPLETED", "DATASET_SAVE", dataset)?;
    }
    end(write, job.id, JobEnd::Complete)
}

/// Records that a job used this version: made it, or found it made.
pub fn noted(write: &dyn Write, version: i64, job: &str, is_creator: bool) -> Result<(), Error> {
    if Columns::of(write, "dataset_version_jobs")?.exist() {
        let sql = "INSERT INTO dataset_version_jobs \
                   (dataset_version_id, job_id, is_creator, created_at) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO NOTHING";
        write.run(sql, bound![version, job, is_creator, &now()])?;
    }
    Ok(())
}

fn event(
    write: &dyn Write,
    job: &JobDone<'_>,
    kind: &str,
    step: &str,
    dataset: &str,
) -> Result<(), Error> {
    let JobCounts { input, processed, output, reused } = job.counts;
    let [input, processed, output, reused] =
        [input, processed, output, reused].map(u64::cast_signed);
    let of_job = "SELECT run_group_id, rerun_from_job_id FROM jobs WHERE id = ?1";
    let found = write.first(of_job, bound![job.id])?;
    let (group, before) = found.map_or((None, None), |mut row| (row.take(0), row.take(1)));
    write.run(
        "INSERT INTO checkpoint_events (id, job_id, run_group_id, timestamp, event_type, step_type, udf_name, \
         dataset_name, checkpoint_hash, hash_partial, hash_input, hash_output, rows_input, rows_processed, \
         rows_output, rows_input_reused, rows_output_reused, rerun_from_job_id, details) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, NULL, ?9, ?10, ?11, ?12, ?13, ?13, ?14, ?15)",
        bound![
            &Uuid::new_v4().to_string(),
            job.id,
            group.as_deref(),
            &now(),
            kind,
            step,
            job.program,
            dataset,
            job.hash,
            input,
            processed,
            output,
            reused,
            before.as_deref(),
            &job.details.to_string(),
        ],
    )?;
    Ok(())
}
