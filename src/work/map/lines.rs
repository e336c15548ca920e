//! Lines to and from a worker through its pipes: waiting for a line also writes pending input, so
//! neither side can block the other, and no other task is woken for a row.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};

use super::each::LONGEST;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// The most bytes of a line: an answer, and its envelope.
const MOST: usize = LONGEST + 1024;

/// Both ends.
#[derive(Debug)]
pub struct Lines {
    stdin: Option<ChildStdin>,
    /// The pending output, and the number of bytes of it written.
    unsaid: Vec<u8>,
    written: usize,
    stdout: Option<ChildStdout>,
    /// The bytes read; lines before `from` were returned, and there is no line end between it and
    /// `searched`.
    read: Vec<u8>,
    from: usize,
    searched: usize,
}

impl Lines {
    pub fn new(stdin: Option<ChildStdin>, stdout: Option<ChildStdout>) -> Self {
        let (unsaid, read) = (Vec::new(), Vec::new());
        Self { stdin, unsaid, written: 0, stdout, read, from: 0, searched: 0 }
    }

    /// Queues bytes to be written as soon as the program reads.
    pub fn say(&mut self, bytes: &[u8]) {
        self.unsaid.extend_from_slice(bytes);
    }

    /// Closes the program's input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// The next line, with its line break; `None` at the end of the program's output, and for an
    /// incomplete last line: the program died while writing it. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, String>> {
        loop {
            if let Some(line) = self.ready() {
                return Some(Ok(line));
            }
            if self.read.len() - self.from >= MOST {
                self.stdout = None;
                (self.read, self.from, self.searched) = (Vec::new(), 0, 0);
                let most = LONGEST >> 20;
                return Some(Err(format!("answered more than {most} MiB in one line")));
            }
            self.read.drain(..self.from);
            self.searched -= self.from;
            self.from = 0;
            self.read.reserve(PIECE);
            let Self { stdin, unsaid, written, stdout, read, .. } = self;
            let stdout = stdout.as_mut()?;
            tokio::select! {
                biased;
                said = write(stdin, &unsaid[*written..]), if *written < unsaid.len() => match said {
                    Some(bytes) => {
                        *written += bytes;
                        if *written == unsaid.len() {
                            unsaid.clear();
                            *written = 0;
                        }
                    }
                    // If it reads no more, it will be noticed by missing answers.
                    None => {
                        *stdin = None;
                        unsaid.clear();
                        *written = 0;
                    }
                },
                read = stdout.read_buf(read) => {
                    if !read.is_ok_and(|bytes| bytes > 0) {
                        return None;
                    }
                }
            }
        }
    }

    /// The next line, if it was completely read already.
    pub fn ready(&mut self) -> Option<Vec<u8>> {
        let Some(at) = memchr::memchr(b'\n', &self.read[self.searched..]) else {
            self.searched = self.read.len();
            return None;
        };
        let end = self.searched + at + 1;
        let line = self.read[self.from..end].to_vec();
        (self.from, self.searched) = (end, end);
        Some(line)
    }

    /// Reads and discards until the end.
    pub async fn drain(&mut self) {
        let Some(stdout) = &mut self.stdout else { return };
        tokio::io::copy(stdout, &mut tokio::io::sink()).await.ok();
    }
}

/// Writes some bytes and returns their number; `None` if the input is closed or broken.
async fn write(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> Option<usize> {
    stdin.as_mut()?.write(bytes).await.ok().filter(|written| *written > 0)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    async fn told(script: &str, said: &[u8]) -> (Vec<String>, Option<String>) {
        let mut child = tokio::process::Command::new("sh");
        child.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().expect("a shell");
        let mut lines = Lines::new(child.stdin.take(), child.stdout.take());
        lines.say(said);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            match line {
                Ok(line) => {
                    all.push(String::from_utf8_lossy(&line).into_owned());
                    if all.len() == 3 {
                        lines.close();
                    }
                }
                Err(why) => return (all, Some(why)),
            }
        }
        (all, None)
    }

    #[test]
    fn lines_go_both_ways_whatever_their_length() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            // More than both pipes hold, so that each side has to read for the other to continue.
            let long = "x".repeat(300_000);
            let said = format!("{long}\na\n{long}\n");
            let (all, why) = told("cat; printf rest", said.as_bytes()).await;
            assert_eq!((all.concat(), why), (said, None));
            assert_eq!(told("exit 0", b"nobody reads this").await, (Vec::new(), None));
            let flood = format!("echo a; head -c {} /dev/zero", MOST + 1);
            let (all, why) = told(&flood, b"").await;
            assert_eq!(all, ["a\n"]);
            assert!(why.is_some_and(|why| why.contains("more than 16 MiB")));
        });
    }
}
