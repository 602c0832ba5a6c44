//! A form's field in a body of `multipart/form-data` that has arrived whole.
//!
//! The formats: RFC 2046, section 5.1 (parts and boundaries), RFC 7578 (forms).

use bytes::Bytes;
use memchr::memmem;
use thiserror::Error;

use crate::program::media_type;

/// Most header lines of a part; browsers write two.
const MAX_HEADERS: usize = 16;

/// Why a form holds no picture.
#[derive(Debug, Error, PartialEq)]
pub enum FormError {
    /// The type of the body names no boundary.
    #[error("Content-Type names no `boundary`")]
    NoBoundary,
    /// The parts do not follow the format.
    #[error("{0}")]
    Malformed(&'static str),
    /// The parts are there, but not that one.
    #[error("the form has no field `{wanted}`; it has: {found}")]
    NoField {
        /// The name looked for.
        wanted: &'static str,
        /// The names there are.
        found: String,
    },
}

/// The content of the first field of that name.
///
/// # Errors
/// A type without a boundary, parts that do not follow the format, no such field.
pub fn field(content_type: &str, body: &Bytes, wanted: &'static str) -> Result<Bytes, FormError> {
    let boundary = parameter(content_type, "boundary").ok_or(FormError::NoBoundary)?;
    // Every boundary begins a line, the first one perhaps without the line end before it.
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut at = match body.starts_with(&delimiter.as_bytes()[2..]) {
        true => delimiter.len() - 2,
        false => {
            finder.find(body).ok_or(FormError::Malformed(
                "the body does not contain the boundary that Content-Type names",
            ))? + delimiter.len()
        }
    };
    let mut found = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            break;
        }
        let headers = rest.strip_prefix(b"\r\n").ok_or(FormError::Malformed(
            "a boundary is not followed by a line end",
        ))?;
        let (name, length) = head(headers)?;
        let start = at + 2 + length;
        // A part without content ends with the line end that ends its head.
        let from = start - 2;
        let end = from
            + finder
                .find(&body[from..])
                .ok_or(FormError::Malformed("the last part has no end"))?;
        if name == wanted {
            return Ok(body.slice(start.min(end)..end));
        }
        found.push(format!("`{name}`"));
        at = end + delimiter.len();
    }
    Err(FormError::NoField {
        wanted,
        found: match found.is_empty() {
            true => "none".into(),
            false => found.join(", "),
        },
    })
}

/// The name of a part, and the length of its head with the empty line after it.
fn head(bytes: &[u8]) -> Result<(String, usize), FormError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let malformed = FormError::Malformed("a part has a damaged head");
    let Ok(httparse::Status::Complete((length, headers))) =
        httparse::parse_headers(bytes, &mut headers)
    else {
        return Err(malformed);
    };
    let disposition = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-disposition"))
        .and_then(|header| std::str::from_utf8(header.value).ok());
    match disposition.and_then(|value| parameter(value, "name")) {
        Some(name) => Ok((name.to_owned(), length)),
        None => Err(FormError::Malformed("a part has no name")),
    }
}

/// `key` of `kind; key=value; key="value"`, without quotes.
fn parameter<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = media_type::parameter(text, key)?;
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"x-y\"";
    const FORM: &[u8] = b"--x-y\r\nContent-Disposition: form-data; name=\"score\"\r\n\r\n0.5\r\n\
        --x-y\r\ncontent-disposition: form-data; name=\"picture\"; filename=\"a;b.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\
        \xff\xd8\r\n--x-\r\nend\r\n--x-y--\r\n";

    fn picture(kind: &str, body: &[u8]) -> Result<Bytes, FormError> {
        field(kind, &Bytes::copy_from_slice(body), "picture")
    }

    #[test]
    fn a_field_is_found_among_others_byte_for_byte() {
        assert_eq!(
            picture(TYPE, FORM).unwrap(),
            &b"\xff\xd8\r\n--x-\r\nend"[..]
        );
        let form = Bytes::from_static(FORM);
        assert_eq!(field(TYPE, &form, "score").unwrap(), &b"0.5"[..]);
        let preamble = [b"A preamble.\r\n", FORM].concat();
        assert_eq!(
            picture("multipart/form-data;boundary=x-y", &preamble).unwrap()[..2],
            [0xff, 0xd8]
        );
        let empty =
            b"--x-y\r\nContent-Disposition: form-data; name=picture\r\n\r\n\r\n--x-y--".as_slice();
        assert_eq!(picture(TYPE, empty).unwrap(), &b""[..]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            picture("multipart/form-data", FORM),
            Err(FormError::NoBoundary)
        );
        let error = field(TYPE, &Bytes::from_static(FORM), "image").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the form has no field `image`; it has: `score`, `picture`"
        );
        assert!(matches!(
            picture("multipart/form-data; boundary=z", FORM),
            Err(FormError::Malformed(_))
        ));
    }

    #[test]
    fn damage_is_an_error_or_a_field_but_never_a_panic() {
        for length in 0..FORM.len() {
            let whole = picture(TYPE, &FORM[..length]);
            // The field is whole once the boundary after it is.
            assert_eq!(whole.is_ok(), length >= FORM.len() - 4, "{length}");
        }
        for (at, flip) in (0..FORM.len()).flat_map(|at| [1, 0x20, 0xff].map(|flip| (at, flip))) {
            let mut body = FORM.to_vec();
            body[at] ^= flip;
            let _ = picture(TYPE, &body);
        }
    }
}
