//! The body of an answer: as it comes, or in chunks (RFC 9112, section 7.1).

use std::io::{self, BufRead, Read};

/// The longest line that gives a chunk's size, bytes.
const MAX_LINE: u64 = 1024;

/// A body to be read.
pub struct Body<R> {
    reader: R,
    /// Bytes left of the chunk that is being read; none for a body without chunks.
    chunk: Option<u64>,
    /// Whether a chunk came before, whose line break is still to be read.
    within: bool,
    ended: bool,
}

impl<R: BufRead> Body<R> {
    /// One that goes on until the connection ends.
    pub fn plain(reader: R) -> Self {
        Self {
            reader,
            chunk: None,
            within: false,
            ended: false,
        }
    }

    /// One in chunks.
    pub fn chunked(reader: R) -> Self {
        Self {
            chunk: Some(0),
            ..Self::plain(reader)
        }
    }

    /// Reads the size of the next chunk.
    fn next_chunk(&mut self) -> io::Result<u64> {
        if self.within {
            let line = self.line()?;
            if !line.is_empty() {
                return Err(bad(format!("{line:?} where a chunk ends")));
            }
        }
        self.within = true;
        let line = self.line()?;
        // What follows a semicolon are extensions, of which there are none in use.
        let size = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(size, 16).map_err(|_| bad(format!("{line:?} is no chunk size")))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(match line.len() as u64 == MAX_LINE {
                true => bad("a chunk's size takes more than a kilobyte".into()),
                false => io::ErrorKind::UnexpectedEof.into(),
            });
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut left) = self.chunk else {
            return self.reader.read(buffer);
        };
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if left == 0 {
            left = self.next_chunk()?;
            if left == 0 {
                self.ended = true;
                return Ok(0);
            }
        }
        let count = self.reader.by_ref().take(left).read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.chunk = Some(left - count as u64);
        Ok(count)
    }
}

fn bad(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Body::chunked(bytes)
            .read_to_end(&mut content)
            .map(|_| content)
    }

    #[test]
    fn chunks_are_joined() {
        let body = b"4\r\nWiki\r\nA;x=y\r\npedia in \n\r\n0\r\n\r\n";
        assert_eq!(read(body).unwrap(), b"Wikipedia in \n");
        assert_eq!(read(b"0\r\n\r\n").unwrap(), b"");
    }

    #[test]
    fn chunks_that_lie_are_errors() {
        for body in [
            &b""[..],
            b"4\r\nWi",
            b"4\r\nWikipedia\r\n0\r\n\r\n",
            b"x\r\nWiki\r\n",
            b"-1\r\n",
            b"ffffffffffffffffff\r\n",
            b"4",
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        assert!(read(&[b'1'; 5000]).is_err());
    }
}
