//! Where the files of a tar archive lie, from one pass over its headers, so that each can be read by itself.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use tar::{Archive, EntryType};

/// What may be read between two members: headers, long names, and the zeros where archives were joined. The
/// memory for a long name is limited with it, whatever a header claims.
const MOST_BETWEEN: usize = 1 << 20;

/// A file in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: String,
    /// Of its first byte, from the start of the archive.
    pub offset: u64,
    pub len: u64,
}

/// The files of an archive in their order, and what was passed over, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub members: Vec<Member>,
    /// Name and reason.
    pub refused: Vec<(String, &'static str)>,
    /// Whether the zeros are there that end an archive; where they are missing it may have been cut off between
    /// two members.
    pub ended: bool,
}

/// Reads the headers of an archive of `len` bytes: ustar, GNU and PAX, archives joined end to end included.
///
/// # Errors
/// If a header is damaged, or a member goes beyond the end of the archive, names where.
pub(crate) fn index(archive: impl Read + Seek, len: u64) -> Result<Index, String> {
    let left = Rc::new(Cell::new(MOST_BETWEEN));
    let metered = Metered {
        inner: archive,
        left: left.clone(),
    };
    let mut archive = Archive::new(metered);
    archive.set_ignore_zeros(true);
    let mut index = Index::default();
    let (mut last, mut end) = (String::new(), 0);
    let place = |last: &str| match last {
        "" => "at its beginning".to_owned(),
        name => format!("after `{name}`"),
    };
    let entries = archive
        .entries_with_seek()
        .map_err(|error| error.to_string())?;
    for entry in entries {
        let entry = entry
            .map_err(|error| format!("not a tar archive, or damaged, {}: {error}", place(&last)))?;
        left.set(MOST_BETWEEN);
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > len) {
            return Err(format!(
                "cut off: `{name}` has {size} bytes from byte {offset} on, the archive ends at byte {len}"
            ));
        }
        last.clone_from(&name);
        end = (offset + size).next_multiple_of(512);
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => index.members.push(Member {
                name,
                offset,
                len: size,
            }),
            EntryType::GNUSparse => index
                .refused
                .push((name, "a sparse file, which is not read")),
            EntryType::Link | EntryType::Symlink => {
                index.refused.push((name, "a link, which is not followed"));
            }
            _ => {}
        }
    }
    let mut file = archive.into_inner().inner;
    let mut block = [1; 512];
    index.ended = file.seek(SeekFrom::Start(end)).is_ok()
        && file.read_exact(&mut block).is_ok()
        && block == [0; 512];
    Ok(index)
}

/// A reader that gives up after so many bytes.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(self.left.get());
        if most == 0 && !out.is_empty() {
            let message = format!("more than {MOST_BETWEEN} bytes of headers");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let read = self.inner.read(&mut out[..most])?;
        self.left.set(self.left.get() - read);
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
