//! Reads TensorBoard's files, with nothing of what writes them: frames, checksums and protocol buffers by hand.

use std::collections::BTreeMap;
use std::path::Path;

/// What a file holds of a step.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// Figures by tag.
    pub scalars: BTreeMap<String, f32>,
    /// Pictures by tag: height, width and file.
    pub pictures: BTreeMap<String, (u64, u64, Vec<u8>)>,
}

/// The steps of the only event file in a run folder, in their order.
pub fn read(run: &Path) -> Vec<(u64, Step)> {
    let files: Vec<_> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("tfevents"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = std::fs::read(&files[0]).unwrap();
    let mut rest = &bytes[..];
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]), "checksum of a length");
        let message = &rest[12..12 + length];
        let end = 12 + length + 4;
        assert_eq!(rest[end - 4..end], masked(message), "checksum of a message");
        rest = &rest[end..];
        let event = fields(message);
        if let Some(version) = event.iter().find(|f| f.0 == 3) {
            assert!(steps.is_empty() && version.2 == b"brain.Event:2");
            continue;
        }
        let step = event.iter().find(|f| f.0 == 2).map_or(0, |f| f.1);
        let mut found = Step::default();
        for summary in event.iter().filter(|f| f.0 == 5) {
            for value in fields(&summary.2) {
                let value = fields(&value.2);
                let of = |number| value.iter().find(|f| f.0 == number);
                let tag = String::from_utf8(of(1).unwrap().2.clone()).unwrap();
                if let Some(scalar) = of(2) {
                    let scalar = f32::from_le_bytes(scalar.2[..].try_into().unwrap());
                    assert!(found.scalars.insert(tag, scalar).is_none());
                } else {
                    let image = fields(&of(4).unwrap().2);
                    let [height, width, colours, file] = &image[..] else {
                        panic!("{image:?}")
                    };
                    assert_eq!(colours.1, 3);
                    let picture = (height.1, width.1, file.2.clone());
                    assert!(found.pictures.insert(tag, picture).is_none());
                }
            }
        }
        steps.push((step, found));
    }
    steps
}

/// The fields of a message: number, value if it is a varint, bytes if it is not.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let (value, length) = match key & 7 {
            0 => (varint(&mut message), 0),
            1 => (0, 8),
            2 => (0, varint(&mut message) as usize),
            5 => (0, 4),
            kind => panic!("wire type {kind}"),
        };
        let (bytes, rest) = message.split_at(length);
        message = rest;
        all.push((key >> 3, value, bytes.to_vec()));
    }
    all
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return value;
        }
        shift += 7;
    }
}

/// CRC-32C bit by bit, masked as TFRecord masks it.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
