//! `GET /`: a page that sends pictures, or the camera's, and draws what was found. It is one file, without
//! anything from elsewhere.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use hyper::Response;

use super::answer;
use super::fault::Fault;

const PAGE: &str = include_str!("page.html");
/// Stands in the page where a nonce belongs.
const PLACE: &str = "{nonce}";

/// The page. Its style and script carry a number that is new each time and that the header names, so the
/// browser runs no others, however they may have got into it.
///
/// # Errors
/// The system has no random numbers.
pub fn response() -> Result<Response<Full<Bytes>>, Fault> {
    let random = || {
        getrandom::u64()
            .map_err(|error| Fault::Detect(format!("the system has no random numbers: {error}")))
    };
    let nonce = format!("{:016x}{:016x}", random()?, random()?);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = answer::typed("text/html; charset=utf-8", PAGE.replace(PLACE, &nonce));
    let headers = response.headers_mut();
    let policy = HeaderValue::from_str(&policy).expect("letters and digits");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
