//! The first pass over the archives: their samples, and what has to be known of all of them together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::{glob, walk};
use super::json::{self, Annotations};
use super::sample::{group, Members, Span};
use super::tar_index;
use crate::error::{DatasetError, Result};
use crate::export::DatasetInfo;
use crate::quarantine::{Quarantined, Reason};

/// A class's name is no longer than this many bytes.
const LONGEST_CLASS: u64 = 4096;
/// Annotations of a picture have no more than this many bytes.
pub(super) const MOST_JSON: u64 = 256 << 20;

/// What the first pass finds in one archive.
#[derive(Default)]
pub(super) struct Surveyed {
    pub samples: Vec<Survey>,
    pub info: Option<DatasetInfo>,
    pub refused: Vec<Quarantined>,
    pub ignored: BTreeMap<String, usize>,
}

pub(super) struct Survey {
    pub members: Members,
    pub class: Option<String>,
    pub text: Option<String>,
    pub annotations: Annotations,
}

/// The archives a source stands for.
pub(super) fn archives(path: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |what: String| DatasetError::source(path, what);
    let archives = if path.is_dir() {
        walk::with_extension(path, "tar")
    } else if path.is_file() || !glob::is_pattern(path) {
        vec![path.to_owned()]
    } else {
        glob::expand(&path.to_string_lossy()).map_err(wrong)?
    };
    if let Some(packed) = archives
        .iter()
        .find(|path| !walk::has_extension(path, "tar") && is_packed(path))
    {
        let what =
            "compressed; unpack it to a .tar first, so that each picture can be read by itself";
        return Err(DatasetError::source(packed, what));
    }
    match archives.is_empty() {
        true => Err(wrong("no .tar file; looked for *.tar".into())),
        false => Ok(archives),
    }
}

fn is_packed(path: &Path) -> bool {
    ["gz", "tgz", "zst", "bz2", "xz"]
        .iter()
        .any(|extension| walk::has_extension(path, extension))
}

/// Lists the samples of an archive and reads their small members.
pub(super) fn survey(path: &Path) -> Result<Surveyed> {
    let io = |error| DatasetError::io("read", path)(error);
    let mut file = File::open(path).map_err(DatasetError::io("open", path))?;
    let len = file.metadata().map_err(io)?.len();
    let index = tar_index::index(&file, len).map_err(|what| DatasetError::source(path, what))?;
    let archive = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut found = Surveyed::default();
    if !index.ended {
        let detail = "the zeros that end an archive are missing: it may have been cut off after its last sample";
        let entry = Quarantined::picture(archive.clone(), Reason::Damaged, detail);
        found.refused.push(Quarantined {
            kept: true,
            ..entry
        });
    }
    let links = index.refused.into_iter();
    found.refused.extend(links.map(|(name, what)| {
        Quarantined::picture(format!("{archive}/{name}"), Reason::Unreadable, what)
    }));
    for members in group(index.members, &mut found.ignored) {
        if members.key == DatasetInfo::KEY {
            found.info = Some(info(path, &mut file, &members)?);
            continue;
        }
        let name = members
            .picture
            .as_ref()
            .map_or(&members.key, |(name, _)| name);
        let source = format!("{archive}/{name}");
        let mut list = |reason, kept, detail: String| {
            let entry = Quarantined::picture(source.clone(), reason, detail);
            found.refused.push(Quarantined { kept, ..entry });
        };
        if members.picture.is_none() {
            list(
                Reason::MissingPicture,
                false,
                "a sample without a picture".into(),
            );
            continue;
        }
        if let Some(twice) = &members.twice {
            let detail = format!("`{twice}` is there twice; the first one counts");
            list(Reason::DuplicateId, true, detail);
        }
        let mut text = |span: Option<Span>| match span {
            Some(span) => class_text(&mut file, span),
            None => Ok(None),
        };
        let (class, text) = (
            text(members.class).map_err(io)?,
            text(members.text).map_err(io)?,
        );
        if members.class.is_some() && class.is_none() {
            let detail =
                format!("its cls is no text of 1 to {LONGEST_CLASS} bytes; packed without a class");
            list(Reason::Malformed, true, detail);
        }
        let annotations = match members.json {
            None => Ok(Annotations::default()),
            Some(span) => read_span(&mut file, span, MOST_JSON)
                .map_err(|error| error.to_string())
                .and_then(|text| json::survey(&text)),
        };
        match annotations {
            Ok(annotations) => found.samples.push(Survey {
                members,
                class,
                text,
                annotations,
            }),
            // Without its annotations it would pass for a picture with nothing in it.
            Err(detail) => list(Reason::Malformed, false, format!("its json: {detail}")),
        }
    }
    Ok(found)
}

/// What the archive says of the whole set.
fn info(path: &Path, file: &mut File, members: &Members) -> Result<DatasetInfo> {
    let text = match members.json {
        Some(span) => read_span(file, span, MOST_JSON).map_err(DatasetError::io("read", path))?,
        None => Vec::new(),
    };
    DatasetInfo::parse(&text)
        .map_err(|what| DatasetError::source(path, format!("`{}.json`: {what}", DatasetInfo::KEY)))
}

pub(super) fn read_span(file: &mut File, span: Span, most: u64) -> io::Result<Vec<u8>> {
    if span.len > most {
        let message = format!("{} bytes, the limit is {most}", span.len);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    // Found to lie within the archive when the headers were read.
    let mut bytes = vec![0; span.len as usize];
    file.seek(SeekFrom::Start(span.offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A class as text; none if it is no text, or too long for a name.
fn class_text(file: &mut File, span: Span) -> io::Result<Option<String>> {
    if span.len > LONGEST_CLASS {
        return Ok(None);
    }
    let text = String::from_utf8(read_span(file, span, LONGEST_CLASS)?).ok();
    Ok(text
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty()))
}
