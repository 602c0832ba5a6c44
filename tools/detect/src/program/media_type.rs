//! Media types with parameters, as `Content-Type` and `Content-Disposition` hold them (RFC 9110, section 8.3.1).

/// The value of `key` in `kind; key=value; key="value"`, as it stands there, quotes included.
pub fn parameter<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(';').skip(1).find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        let found = name.trim().eq_ignore_ascii_case(key);
        found.then_some(value.trim())
    })
}
