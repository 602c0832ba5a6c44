//! What a request wants: parameters behind the `?`, and the type it accepts.

use hyper::header::ACCEPT;
use hyper::http::request::Parts;

use super::fault::Fault;
use crate::program::probability;

/// In which form the result is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// Detections as text.
    Json,
    /// The picture, drawn on, as JPEG.
    Jpeg,
    /// The picture, drawn on, as PNG.
    Png,
}

/// What a request wants to have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Lowest score of a result; none for the server's.
    pub score: Option<f32>,
    /// The form of the result.
    pub form: Form,
}

impl Wish {
    /// Reads it from the head of a request.
    ///
    /// # Errors
    /// A parameter that is not known, or has a value that is not.
    pub fn of(head: &Parts) -> Result<Self, Fault> {
        let accept = head
            .headers
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok());
        let accepted = accepted(accept.unwrap_or_default());
        let mut wish = Self {
            score: None,
            form: accepted.unwrap_or(Form::Json),
        };
        let query = head.uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong =
                |expected: &str| Fault::Query(format!("`{key}` is `{value}`, expected {expected}"));
            match (key, value) {
                ("score", _) => {
                    let score = probability(value);
                    wish.score = Some(score.map_err(|_| wrong("a number from 0 to 1"))?);
                }
                ("draw", "1") => wish.form = accepted.unwrap_or(Form::Jpeg),
                ("draw", "0") => wish.form = Form::Json,
                ("draw", _) => return Err(wrong("1, for the drawn picture, or 0, for JSON")),
                _ => {
                    return Err(Fault::Query(format!(
                        "there is no parameter `{key}`; there are `score` (lowest score, 0 to 1) and `draw` (1 for the \
                         drawn picture)"
                    )))
                }
            }
        }
        Ok(wish)
    }
}

/// The first type of picture that an `Accept` header names and we write. Weights are not looked at.
fn accepted(header: &str) -> Option<Form> {
    header.split(',').find_map(
        |kind| match kind.split(';').next().unwrap_or_default().trim() {
            "image/jpeg" => Some(Form::Jpeg),
            "image/png" => Some(Form::Png),
            _ => None,
        },
    )
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn wish(uri: &str, accept: &str) -> Result<Wish, String> {
        let request = Request::builder().uri(uri).header(ACCEPT, accept);
        let (head, ()) = request.body(()).unwrap().into_parts();
        Wish::of(&head).map_err(|fault| fault.to_string())
    }

    #[test]
    fn parameters_and_the_accepted_type_decide() {
        for (uri, accept, score, form) in [
            ("/detect", "*/*", None, Form::Json),
            ("/detect?score=0.5&", "*/*", Some(0.5), Form::Json),
            ("/detect?draw=1&score=0", "*/*", Some(0.0), Form::Jpeg),
            (
                "/detect?draw=1",
                "image/avif,image/png;q=0.8",
                None,
                Form::Png,
            ),
            ("/detect", "image/png", None, Form::Png),
            ("/detect", "text/html, image/jpeg", None, Form::Jpeg),
            ("/detect?draw=0", "image/jpeg", None, Form::Json),
        ] {
            let expected = Wish { score, form };
            assert_eq!(wish(uri, accept), Ok(expected), "{uri} {accept}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (query, parts) in [
            ("score=1.5", ["`score` is `1.5`", "0 to 1"]),
            ("score", ["`score` is ``", "0 to 1"]),
            ("score=nan", ["`nan`", "0 to 1"]),
            ("draw=yes", ["`draw` is `yes`", "expected 1"]),
            ("scor=1", ["no parameter `scor`", "`score`"]),
        ] {
            let error = wish(&format!("/detect?{query}"), "*/*").unwrap_err();
            assert!(
                parts.iter().all(|part| error.contains(part)),
                "{query}: {error}"
            );
        }
    }
}
