//! Figures and pictures as TensorBoard reads them: a file of protocol buffers, each framed by its length and checksums.
//!
//! Sources: TensorFlow's `core/util/event.proto`, `core/framework/summary.proto`, and `core/lib/io/record_writer.h` for
//! the frames. Written out here: `tensorboard-rs` drags old versions of half of what it stands on.

use std::io::{self, Cursor};

use crc::{Crc, CRC_32_ISCSI};
use image::ImageReader;
use prost::Message;
use serde_json::Value as Json;

/// The file of a run. TensorBoard looks for `tfevents` in a name.
pub(super) const FILE: &str = "events.out.tfevents.intertwine";

/// Fields that are not there are not written; at most one of the last two is.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 3 for RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// What a file begins with.
pub(super) fn header() -> Vec<u8> {
    frame(Event {
        file_version: Some("brain.Event:2".into()),
        ..Event::default()
    })
}

/// The numbers in a line of `metrics.jsonl` and the picture of its step, a PNG file. A number in an object in the line
/// has a tag such as `probe/knn`.
///
/// # Errors
/// If the picture is none.
pub(super) fn event(
    step: u64,
    wall_time: f64,
    line: &Json,
    picture: Option<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    scalars("", line, &mut value);
    value.retain(|value| value.tag != "step");
    if let Some(png) = picture {
        let reader = ImageReader::new(Cursor::new(&png)).with_guessed_format()?;
        let (width, height) = reader.into_dimensions().map_err(io::Error::other)?;
        value.push(Value {
            tag: "pictures".into(),
            image: Some(Image {
                height: height as i32,
                width: width as i32,
                colorspace: 3,
                encoded_image_string: png,
            }),
            ..Value::default()
        });
    }
    Ok(frame(Event {
        wall_time,
        step: step as i64,
        summary: Some(Summary { value }),
        ..Event::default()
    }))
}

fn scalars(tag: &str, json: &Json, out: &mut Vec<Value>) {
    match json {
        Json::Number(number) => out.push(Value {
            tag: tag.to_owned(),
            simple_value: number.as_f64().map(|v| v as f32),
            ..Value::default()
        }),
        Json::Object(fields) => {
            for (name, json) in fields {
                let inner = match tag {
                    "" => name.clone(),
                    _ => format!("{tag}/{name}"),
                };
                scalars(&inner, json, out);
            }
        }
        _ => {}
    }
}

/// Length, its checksum, the message, its checksum.
fn frame(event: Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc(&length));
    bytes.extend(&message);
    bytes.extend(masked_crc(&message));
    bytes
}

/// CRC-32C, turned and shifted, so that a checksum of data that hold checksums is none of their own.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    let crc = CRC.checksum(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What TensorBoard's own writer makes of the same; `tests/peers/tensorboard_events.py` prints it.
    #[test]
    fn bytes_are_those_of_tensorboards_writer() {
        let mut bytes = header();
        let line = json!({"step": 7, "loss": 0.5, "probe": {"knn": 0.0, "none": null}});
        bytes.extend(event(7, 12.25, &line, None).unwrap());
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, EXPECTED);
    }

    const EXPECTED: &str = "0f000000000000006d532b091a0d627261696e2e4576656e743a32fc9851292c00000000000000f4aecc4509000000000080284010072a1f0a0b0a046c6f7373150000003f0a100a0970726f62652f6b6e6e150000000026d3d158";
}
