//! Results as JSON, one line a frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use intertwine_detect::coco::Segmentation;
use serde::Serialize;

/// What is said of a frame.
#[derive(Serialize)]
pub struct Line<'a> {
    /// Its place in the source, from 1.
    pub frame: u64,
    pub source: &'a str,
    /// Its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// When it arrived, seconds since 1970.
    pub time: f64,
    /// From its arrival to this line, milliseconds.
    pub age_ms: f64,
    /// Frames of this run that a newer one replaced, so far.
    pub dropped: u64,
    #[serde(flatten)]
    pub outcome: Outcome<'a>,
}

/// What became of a frame.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Outcome<'a> {
    Done {
        /// Pixels.
        width: u32,
        height: u32,
        /// The drawn picture's file.
        #[serde(skip_serializing_if = "Option::is_none")]
        drawn: Option<&'a str>,
        /// Strongest first.
        detections: &'a [Found<'a>],
    },
    Failed {
        error: &'a str,
    },
}

/// A thing in a frame, in the words of COCO's result files.
#[derive(Serialize)]
pub struct Found<'a> {
    pub category_id: u32,
    pub name: &'a str,
    /// `[x, y, width, height]`, pixels.
    pub bbox: [f32; 4],
    pub score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Segmentation>,
}

impl Line<'_> {
    /// Replaces the content of `text` by the line, with its end.
    ///
    /// # Errors
    /// Whatever `serde_json` reports.
    pub fn render(&self, text: &mut Vec<u8>) -> Result<()> {
        text.clear();
        serde_json::to_writer(&mut *text, self).context("cannot make JSON of a result")?;
        text.push(b'\n');
        Ok(())
    }
}

/// Where lines go.
pub struct Lines {
    out: Box<dyn Write>,
    place: String,
}

impl Lines {
    /// To the standard output.
    pub fn stdout() -> Self {
        Self {
            out: Box::new(io::stdout()),
            place: "the standard output".into(),
        }
    }

    /// To the end of a file, so that nothing is lost that an earlier run wrote.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn append(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(context)?;
        }
        let file = open(path).with_context(context)?;
        Ok(Self {
            out: Box::new(file),
            place: path.display().to_string(),
        })
    }

    /// Writes a line in one piece.
    ///
    /// # Errors
    /// Whatever the system reports.
    pub fn write(&mut self, line: &[u8]) -> Result<()> {
        let written = self.out.write_all(line).and_then(|()| self.out.flush());
        written.with_context(|| format!("cannot write {}", self.place))
    }
}

/// Opens a file of lines at its end. A last line that a crash cut short stays a line of its own.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// `--json FILE`, or `-` for the standard output.
#[derive(Clone, Debug)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        match text {
            "-" => Self::Stdout,
            path => Self::File(path.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_gone_on_with_even_after_half_a_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/lines.jsonl");
        let mut line = Vec::new();
        Line {
            frame: 1,
            source: "-",
            name: None,
            time: 2.5,
            age_ms: 1.25,
            dropped: 0,
            outcome: Outcome::Failed { error: "no" },
        }
        .render(&mut line)
        .unwrap();
        let text = r#"{"frame":1,"source":"-","time":2.5,"age_ms":1.25,"dropped":0,"error":"no"}"#;
        Lines::append(&path).unwrap().write(&line).unwrap();
        Lines::append(&path).unwrap().write(&line).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{text}\n{text}\n")
        );
        std::fs::write(&path, "{\"frame\":").unwrap();
        Lines::append(&path).unwrap().write(&line).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("{{\"frame\":\n{text}\n")
        );
    }
}
