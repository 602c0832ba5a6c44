//! As much of HTTP/1.1 as it takes to ask for one thing (RFC 9112): a request, and the head of the answer.
//!
//! A full client crate brings TLS, connection pools and dozens of dependencies; a camera in one's own network speaks
//! plain HTTP, over one connection that stays. What needs more (https, RTSP) goes through ffmpeg and a pipe.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use base64::prelude::{Engine, BASE64_STANDARD};

use super::body::Body;

/// The most bytes of an answer's head.
const MAX_HEAD: u64 = 64 << 10;

/// An `http://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or address; an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// With the query.
    path: String,
    /// The value of the header `Authorization`, if the address holds a user.
    authorization: Option<String>,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or("expected http://..")?;
        if let Some(bad) = rest.chars().find(|c| c.is_control() || *c == ' ') {
            return Err(format!(
                "the address holds the character {bad:?}; write it as %{:02X}",
                bad as u32
            ));
        }
        let (user, rest) = split_user(rest);
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = match place
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err("the address names no host".into());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port"))?,
            None => 80,
        };
        Ok(Self {
            host: host.into(),
            port,
            path: match path.starts_with('/') {
                true => path.into(),
                false => format!("/{path}"),
            },
            authorization: user
                .map(|user| format!("Basic {}", BASE64_STANDARD.encode(decode(user)))),
        })
    }
}

/// The user and password of what stands behind an address's `://`, and what stands behind them.
fn split_user(rest: &str) -> (Option<&str>, &str) {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    }
}

/// An address of any kind without user and password, so that it can be shown. What is no address stays as it is.
pub fn without_user(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", split_user(rest).1),
        None => address.into(),
    }
}

/// Replaces `%XX` by the byte; anything else stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind
            .get(..2)
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte =
            digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    bytes
}

/// Without the user and password, so that it can be shown.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl Url {
    /// Host and port as the address has them.
    fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port {
            80 => host,
            port => format!("{host}:{port}"),
        }
    }

    /// Connects to the first of the host's addresses that answers. No read or write on the connection takes longer
    /// than `timeout`.
    fn connect(&self, timeout: Duration) -> Result<TcpStream> {
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find the host {}", self.host))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(connection) => {
                    connection.set_read_timeout(Some(timeout))?;
                    connection.set_write_timeout(Some(timeout))?;
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error).context("cannot connect"),
            None => bail!("the host {} has no address", self.host),
        }
    }

    /// Asks for what is at the address. The answer's body has not been read.
    ///
    /// # Errors
    /// No connection; an answer that is not HTTP; a status other than 200.
    pub fn get(&self, timeout: Duration) -> Result<Answer> {
        let answer = self.request("GET", "Accept: */*\r\n", b"", timeout)?;
        ensure!(
            answer.code == 200,
            "the answer is `{}`, not 200",
            answer.status
        );
        Ok(answer)
    }

    /// Sends JSON to the address.
    ///
    /// # Errors
    /// No connection; an answer that is not HTTP; a status that is not one of success.
    pub fn post(&self, json: &[u8], timeout: Duration) -> Result<()> {
        let headers = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            json.len()
        );
        let answer = self.request("POST", &headers, json, timeout)?;
        ensure!(
            (200..300).contains(&answer.code),
            "the answer is `{}`",
            answer.status
        );
        Ok(())
    }

    /// Sends a request on a connection of its own.
    fn request(
        &self,
        method: &str,
        headers: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer> {
        let mut connection = self.connect(timeout)?;
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: intertwine-detect/{}\r\nConnection: close\r\n{headers}",
            self.path,
            self.authority(),
            env!("CARGO_PKG_VERSION")
        );
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        connection
            .write_all(&request)
            .context("cannot send the request")?;
        Answer::read(BufReader::new(Patient {
            connection,
            timeout,
        }))
    }
}

/// A connection whose read errors say how long was waited, instead of that a resource is unavailable.
pub struct Patient {
    connection: TcpStream,
    timeout: Duration,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{TimedOut, WouldBlock};
        self.connection
            .read(buffer)
            .map_err(|error| match error.kind() {
                WouldBlock | TimedOut => io::Error::new(
                    TimedOut,
                    format!("nothing came for {} s", self.timeout.as_secs_f32()),
                ),
                _ => error,
            })
    }
}

/// The head of an answer, and the body to be read.
pub struct Answer {
    code: u16,
    /// The whole status line.
    status: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: AnswerBody,
}

/// What is left of the connection.
pub type AnswerBody = BufReader<Body<BufReader<Patient>>>;

impl Answer {
    fn read(mut connection: BufReader<Patient>) -> Result<Self> {
        let mut head = connection.by_ref().take(MAX_HEAD);
        let status = line(&mut head)?;
        let code = status
            .split(' ')
            .nth(1)
            .filter(|_| status.starts_with("HTTP/1."));
        let code = code.and_then(|code| code.parse().ok());
        let code = code.with_context(|| format!("the answer is not HTTP/1: {status:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut head)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let chunked = header(&headers, "transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let body = match chunked {
            true => Body::chunked(connection),
            false => Body::plain(connection),
        };
        Ok(Self {
            code,
            status,
            headers,
            body: BufReader::new(body),
        })
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// A line without its end.
fn line(head: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    head.read_until(b'\n', &mut line).context("no answer")?;
    match line.pop() {
        Some(b'\n') => {}
        Some(_) | None => {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).with_context(|| {
                format!("the answer's head ends early, or is longer than {MAX_HEAD} bytes")
            })
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, host, port, path, shown) in [
            ("http://cam", "cam", 80, "/", "http://cam/"),
            (
                "http://cam:8080/a?b=c#d",
                "cam",
                8080,
                "/a?b=c",
                "http://cam:8080/a?b=c",
            ),
            ("http://cam?x", "cam", 80, "/?x", "http://cam/?x"),
            ("http://[::1]:81/v", "::1", 81, "/v", "http://[::1]:81/v"),
            ("http://u:p@ss@cam/v", "cam", 80, "/v", "http://cam/v"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.path.as_str()),
                (host, port, path)
            );
            assert_eq!(url.to_string(), shown);
        }
        // RFC 7617, section 2.
        let url: Url = "http://Aladdin:open%20sesame@h/".parse().unwrap();
        assert_eq!(
            url.authorization.as_deref(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert_eq!(decode("100%"), b"100%");
        for (address, shown) in [
            ("rtsp://u:p@ss@cam:554/a@b", "rtsp://cam:554/a@b"),
            ("https://u@cam?x@y", "https://cam?x@y"),
            ("rtsp://cam/u:p@x", "rtsp://cam/u:p@x"),
            ("clip@home.mp4", "clip@home.mp4"),
        ] {
            assert_eq!(without_user(address), shown);
        }
        for text in [
            "https://cam",
            "cam",
            "http://",
            "http:///x",
            "http://cam:x/",
            "http://a/b c",
            "http://a/\r\nX: y",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
