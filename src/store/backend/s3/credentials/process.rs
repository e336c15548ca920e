//! `credential_process`: a command of the user that prints keys as JSON.
//!
//! Run without a shell, its words split as the AWS command line does, with an empty stdin. Its stdout is never
//! repeated; the first line of its stderr is, as AWS documents.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::error::CredentialError;
use super::keys::Keys;
use super::words::words;

/// Longer than a user needs to touch a security key.
const LIMIT: Duration = Duration::from_secs(60);

/// Limit for each stream, in bytes.
const LONGEST: u64 = 256 << 10;

/// Runs `command` of the profile `from`.
///
/// # Errors
/// It cannot be started, fails, runs longer than [`LIMIT`], or prints something else.
pub async fn keys(from: &str, command: &str) -> Result<Keys, CredentialError> {
    let from = format!("`credential_process` of {from}");
    let failed = |cause: &str| CredentialError::failed(&from, cause);
    let words = words(command).ok_or_else(|| failed("it has a quote that is not closed"))?;
    let Some((program, arguments)) = words.split_first() else { return Err(failed("it is empty")) };
    let json = tokio::time::timeout(LIMIT, run(&from, program, arguments)).await;
    let json = json.map_err(|_| failed("it took longer than 60 s"))??;
    Keys::from_json(&from, &json, true)
}

/// Returns its stdout. The process is killed if the caller stops waiting.
async fn run(from: &str, program: &str, arguments: &[String]) -> Result<Vec<u8>, CredentialError> {
    let failed = |cause: String| CredentialError::failed(from, cause);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("`{program}` cannot be started: {error}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = futures_util::future::join(all(stdout), all(stderr)).await;
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let told = String::from_utf8_lossy(&stderr);
        let line = told.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(failed(format!("it ended with {status}: {}", line.trim())));
    }
    Ok(stdout)
}

/// Reads a stream to its end and returns up to [`LONGEST`] bytes; the rest is discarded, so that the child does
/// not block.
async fn all(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream).take(LONGEST).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str) -> Result<Keys, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(keys("profile `p`", command)).map_err(|error| error.to_string())
    }

    const PRINT: &str =
        r#"printf '{"Version":1,"AccessKeyId":"a b","SecretAccessKey":"s"}' | tr -d ' '"#;

    #[test]
    fn runs_without_a_shell() {
        let keys = run(&format!("sh -c \"{}\"", PRINT.replace('"', "\\\""))).unwrap();
        assert_eq!(keys.credential().key_id, "ab");
        let error = run("false || echo").unwrap_err();
        assert!(error.contains("it ended with exit status: 1"), "words, not operators: {error}");
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let cases = [
            ("", "it is empty"),
            ("get 'keys", "it has a quote that is not closed"),
            ("/nonexistent/get", "`/nonexistent/get` cannot be started: "),
            ("sh -c 'echo hush; echo; echo why >&2; exit 3'", "it ended with exit status: 3: why"),
            ("echo hush", "its answer is not JSON"),
            ("sh -c 'head -c 9999999 /dev/zero'", "its answer is not JSON"),
        ];
        for (command, cause) in cases {
            let error = run(command).unwrap_err();
            let start = "`credential_process` of profile `p` gave no credentials: ";
            assert!(error.starts_with(&format!("{start}{cause}")), "{command}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
