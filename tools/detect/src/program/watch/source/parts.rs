//! The parts of a `multipart/x-mixed-replace` body (RFC 2046, section 5.1), in which cameras send JPEG pictures.

use std::io::{self, BufRead, Read};

use thiserror::Error;

use crate::program::media_type;

/// The most bytes of a part's headers, and of what lies between parts.
const MAX_HEAD: usize = 64 << 10;

/// Why the next part cannot be read.
#[derive(Debug, Error)]
pub enum PartError {
    /// The connection failed, or nothing came for too long.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The body ended in the middle of a part.
    #[error("the stream ends within a picture")]
    Cut,
    /// A part longer than what we are willing to hold.
    #[error("a picture has more than {0} bytes, the limit of --max-part")]
    TooLong(usize),
    /// What is between the parts is not what the format says.
    #[error("no boundary `--{boundary}` in {limit} bytes")]
    NoBoundary {
        /// The boundary that the answer announced.
        boundary: String,
        /// Bytes that were looked through.
        limit: usize,
    },
    /// A part's headers are too long, or one of them is no header.
    #[error("a picture's headers are damaged: {0}")]
    Head(String),
}

/// Reads parts one after another.
#[derive(Debug)]
pub struct Parts<R> {
    reader: R,
    /// Without the dashes before it.
    boundary: Vec<u8>,
    /// The most bytes of a part.
    limit: usize,
    line: Vec<u8>,
    /// Where the reader stands.
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Somewhere before a boundary.
    Between,
    /// Behind the boundary line of a part.
    Head,
    /// Behind the last boundary.
    End,
}

/// The boundary that a content type announces, if it is one of parts. Some cameras count the two dashes before each
/// boundary as part of it, so dashes at its beginning are not told apart.
pub fn boundary(content_type: &str) -> Option<&str> {
    let kind = content_type.trim_start().to_ascii_lowercase();
    if !kind.starts_with("multipart/") {
        return None;
    }
    let value = media_type::parameter(content_type, "boundary")?;
    let value = value.trim_matches('"').trim_start_matches('-');
    (!value.is_empty()).then_some(value)
}

impl<R: BufRead> Parts<R> {
    /// The parts of a body; none may have more than `limit` bytes.
    pub fn new(reader: R, boundary: &str, limit: usize) -> Self {
        Self {
            reader,
            boundary: boundary.into(),
            limit,
            line: Vec::new(),
            place: Place::Between,
        }
    }

    /// Reads the next part into `content`. False after the last one.
    pub fn next(&mut self, content: &mut Vec<u8>) -> Result<bool, PartError> {
        content.clear();
        if self.place == Place::Between {
            self.find_boundary()?;
        }
        if self.place == Place::End {
            return Ok(false);
        }
        match self.head()? {
            Some(length) => self.counted(length, content)?,
            None => self.uncounted(content)?,
        }
        Ok(true)
    }

    /// Skips lines to the next boundary, or to the end.
    fn find_boundary(&mut self) -> Result<(), PartError> {
        let mut skipped = 0;
        while skipped < MAX_HEAD {
            self.read_line(MAX_HEAD - skipped)?;
            if self.line.is_empty() {
                self.place = Place::End;
                return Ok(());
            }
            skipped += self.line.len();
            if let Some(place) = self.behind(&self.line) {
                self.place = place;
                return Ok(());
            }
        }
        Err(PartError::NoBoundary {
            boundary: String::from_utf8_lossy(&self.boundary).into_owned(),
            limit: MAX_HEAD,
        })
    }

    /// Reads a part's headers. The length that they give, if they do.
    fn head(&mut self) -> Result<Option<usize>, PartError> {
        let (mut read, mut length) = (0, None);
        loop {
            self.read_line(MAX_HEAD - read)?;
            read += self.line.len();
            if self.line.last() != Some(&b'\n') {
                return Err(match read < MAX_HEAD {
                    true => PartError::Cut,
                    false => PartError::Head(format!("more than {MAX_HEAD} bytes")),
                });
            }
            let line = self.line.trim_ascii();
            if line.is_empty() {
                return Ok(length);
            }
            let colon = line.iter().position(|&byte| byte == b':');
            let Some((name, value)) = colon.map(|at| line.split_at(at)) else {
                return Err(PartError::Head(format!(
                    "{:?}",
                    String::from_utf8_lossy(line)
                )));
            };
            if name.eq_ignore_ascii_case(b"content-length") {
                let value = String::from_utf8_lossy(value[1..].trim_ascii());
                let number = value.parse();
                length =
                    Some(number.map_err(|_| PartError::Head(format!("the length is `{value}`")))?);
            }
        }
    }

    /// Reads a part whose length is known.
    fn counted(&mut self, length: usize, content: &mut Vec<u8>) -> Result<(), PartError> {
        if length > self.limit {
            return Err(PartError::TooLong(self.limit));
        }
        self.place = Place::Between;
        // Memory grows with what comes, not with what was announced.
        self.reader
            .by_ref()
            .take(length as u64)
            .read_to_end(content)?;
        match content.len() == length {
            true => Ok(()),
            false => Err(PartError::Cut),
        }
    }

    /// Reads a part up to the boundary behind it; so it is there only once the next one begins.
    fn uncounted(&mut self, content: &mut Vec<u8>) -> Result<(), PartError> {
        loop {
            // The boundary may be longer than what is left of the limit.
            self.read_line(self.limit + MAX_HEAD - content.len())?;
            if self.line.is_empty() {
                return Err(PartError::Cut);
            }
            let starts_line = content.last().is_none_or(|&byte| byte == b'\n');
            if let Some(place) = self.behind(&self.line).filter(|_| starts_line) {
                self.place = place;
                // The line break before a boundary belongs to it.
                for end in [b'\n', b'\r'] {
                    if content.last() == Some(&end) {
                        content.pop();
                    }
                }
                return Ok(());
            }
            content.extend_from_slice(&self.line);
            if content.len() > self.limit {
                return Err(PartError::TooLong(self.limit));
            }
        }
    }

    /// Reads a line with its end into `line`, at most so many bytes of it; nothing at the end of the body.
    fn read_line(&mut self, most: usize) -> io::Result<()> {
        self.line.clear();
        let mut reader = self.reader.by_ref().take(most as u64);
        reader.read_until(b'\n', &mut self.line).map(drop)
    }

    /// Where the reader is behind this line, if it is a boundary.
    fn behind(&self, line: &[u8]) -> Option<Place> {
        let dashes = line.iter().take_while(|&&byte| byte == b'-').count();
        let rest = line[dashes..].strip_prefix(self.boundary.as_slice())?;
        match (dashes >= 2, rest.trim_ascii()) {
            (true, b"") => Some(Place::Head),
            (true, b"--") => Some(Place::End),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], limit: usize) -> (Vec<Vec<u8>>, Option<PartError>) {
        let mut parts = Parts::new(body, "cut", limit);
        let (mut found, mut content) = (Vec::new(), Vec::new());
        loop {
            match parts.next(&mut content) {
                Ok(true) => found.push(content.clone()),
                Ok(false) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    #[test]
    fn parts_with_and_without_a_length_are_told_apart() {
        let body = b"preamble\r\n--cut\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\na\r\n--cut\n\r\n\
            --cut\r\nContent-Type: image/jpeg\r\n\r\nb\r\nc--cut\n\r\n--cut\r\n\r\n\r\n--cut--\r\nepilogue";
        let (found, error) = read(body, 100);
        assert_eq!(found, [&b"a\r\n--cut\n"[..], b"b\r\nc--cut\n", b""]);
        assert!(error.is_none(), "{error:?}");
    }

    #[test]
    fn boundaries_are_found_however_cameras_write_them() {
        for (text, expected) in [
            ("multipart/x-mixed-replace; boundary=cut", Some("cut")),
            ("multipart/x-mixed-replace;boundary=\"cut\"", Some("cut")),
            (
                "Multipart/X-Mixed-Replace; charset=x; BOUNDARY=--cut",
                Some("cut"),
            ),
            ("multipart/x-mixed-replace; boundary=", None),
            ("multipart/x-mixed-replace", None),
            ("image/jpeg", None),
            ("text/html; boundary=cut", None),
        ] {
            assert_eq!(boundary(text), expected, "{text}");
        }
        let (found, _) = read(b"----cut\n\nx\n--cut\n\ny\n--cut--", 100);
        assert_eq!(found, [b"x", b"y"]);
    }

    #[test]
    fn no_part_is_longer_than_the_limit() {
        let announced = b"--cut\r\nContent-Length: 18446744073709551615\r\n\r\nx";
        assert!(matches!(
            read(announced, 100),
            (_, Some(PartError::TooLong(100)))
        ));
        for filling in [b'x', b'\n'] {
            let mut endless = b"--cut\r\n\r\n".to_vec();
            endless.extend([filling; 200_000]);
            assert!(matches!(
                read(&endless, 100),
                (_, Some(PartError::TooLong(100)))
            ));
        }
        let longest = [b"--cut\r\n\r\n", &[b'x'; 100][..], b"\r\n--cut--"].concat();
        assert_eq!(read(&longest, 102).0, [[b'x'; 100]]);
    }

    #[test]
    fn damage_is_an_error_that_says_what_it_is() {
        let say = |body: &[u8]| {
            read(body, 100)
                .1
                .map_or("nothing".into(), |error| error.to_string())
        };
        assert!(say(b"--cut\r\nContent-Length: 5\r\n\r\nabc").contains("within a picture"));
        assert!(say(b"--cut\r\n\r\nabc").contains("within a picture"));
        assert!(say(b"--cut\r\nContent-Le").contains("within a picture"));
        assert!(say(b"--cut\r\nContent-Length: many\r\n\r\nabc").contains("`many`"));
        assert!(say(b"--cut\r\nno header\r\n\r\nabc").contains("no header"));
        assert!(say(&[b'x'; 100_000]).contains("--cut"));
        assert_eq!(say(b""), "nothing");
    }
}
