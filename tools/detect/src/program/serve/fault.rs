//! Why a request got no result: a status and a sentence that says how to mend it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, ALLOW, RETRY_AFTER};
use hyper::{Response, StatusCode};
use image::ImageError;
use intertwine_detect::PictureError;
use serde::Serialize;
use thiserror::Error;

use super::answer;
use super::multipart::FormError;

/// What went wrong with a request.
#[derive(Debug, Error)]
pub enum Fault {
    /// A parameter behind the `?`.
    #[error("{0}")]
    Query(String),
    /// A body that ended early or broke the rules of HTTP.
    #[error("the body did not arrive whole ({0}); send it again")]
    Body(hyper::Error),
    /// A form without a picture.
    #[error("{0}; send the picture as a file in the field `picture`, with curl: -F picture=@picture.jpg")]
    Form(#[from] FormError),
    /// Bytes that are no picture.
    #[error("{0}; send a whole JPEG, PNG, WebP, BMP or GIF picture")]
    Picture(PictureError),
    /// A picture of more pixels than are accepted.
    #[error("{0}; the server's --max-pixels sets the limit")]
    Pixels(PictureError),
    /// No such path.
    #[error(
        "there is nothing at {0}; there are POST /detect, GET /, GET /health and GET /metrics"
    )]
    Path(String),
    /// A path that does not know the method.
    #[error("{path} takes {allowed}, not {found}")]
    Method {
        /// The path.
        path: &'static str,
        /// Methods that it knows.
        allowed: &'static str,
        /// The request's.
        found: String,
    },
    /// A body that was too slow.
    #[error("the body had not arrived after {} s; send a smaller picture, or start the server with a longer --timeout", .0.as_secs_f64())]
    Slow(Duration),
    /// A body of more bytes than are accepted.
    #[error("the body has more than {0} bytes; send a smaller picture, or start the server with a larger --max-bytes")]
    Size(usize),
    /// A body that claims to be something else than a picture.
    #[error("Content-Type is {0}, expected image/* (the body is the picture) or multipart/form-data (a file in the field `picture`); with curl: -H 'Content-Type: image/jpeg' --data-binary @picture.jpg")]
    Type(String),
    /// Detection failed; a defect of the model or of ours.
    #[error("the picture could not be looked at: {0}")]
    Detect(String),
    /// A drawn picture that the form asked for cannot hold.
    #[error("{0}: send the header Accept: image/png, or ask for detections without draw=1")]
    Draw(String),
    /// No room in the queue.
    #[error("busy: the queue is full ({0} waiting); try again in a second")]
    Queue(usize),
    /// No room for another body.
    #[error("busy: pictures that others are sending take all the memory there is for them; try again in a second")]
    Memory,
}

impl Fault {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::Body(_) | Self::Form(_) | Self::Picture(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Size(_) | Self::Pixels(_) | Self::Draw(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Detect(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Queue(_) | Self::Memory => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `{"error": "a sentence"}`.
    pub fn response(&self) -> Response<Full<Bytes>> {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        let mut response = answer::json(&Body {
            error: self.to_string(),
        });
        *response.status_mut() = self.status();
        match self {
            Self::Queue(_) | Self::Memory => {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Method { allowed, .. } => {
                let headers = response.headers_mut();
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

impl From<PictureError> for Fault {
    fn from(error: PictureError) -> Self {
        match error {
            PictureError::TooLarge { .. } | PictureError::Decode(ImageError::Limits(_)) => {
                Self::Pixels(error)
            }
            _ => Self::Picture(error),
        }
    }
}
