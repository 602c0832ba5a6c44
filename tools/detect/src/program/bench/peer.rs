//! onnxruntime as a child process, timed on the same model in turn with us.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{bail, Context, Result};
use serde::Deserialize;

/// A Python process with the model loaded.
pub struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it answers.
#[derive(Deserialize)]
pub struct Answer {
    /// Of onnxruntime.
    pub version: String,
    /// Of each run, milliseconds.
    pub times_ms: Vec<f64>,
    /// Most memory that the process, Python included, ever held.
    pub peak_rss_mb: Option<f64>,
}

impl Peer {
    /// Starts `python` on a model whose input has this side.
    pub fn start(python: &Path, model: &Path, threads: NonZeroUsize, side: u32) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-c", include_str!("onnxruntime.py")])
            .arg(model)
            .args([threads.to_string(), side.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let ask = child.stdin.take().context("the peer has no input")?;
        let answers = child.stdout.take().context("the peer has no output")?;
        Ok(Self {
            child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    /// Times so many runs.
    pub fn time(&mut self, runs: usize) -> Result<Answer> {
        let mut line = String::new();
        let asked = writeln!(self.ask, "{runs}").and_then(|()| self.ask.flush());
        let answered = asked.and_then(|()| self.answers.read_line(&mut line));
        if !answered.is_ok_and(|length| length > 0) {
            bail!("onnxruntime did not answer; what it said is above");
        }
        serde_json::from_str(&line).with_context(|| format!("onnxruntime answered {line:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input, or it hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
