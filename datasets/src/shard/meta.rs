//! The description of a record: where the picture came from and what is in it.
//!
//! A small binary form of our own rather than JSON: a COCO picture's masks are thousands of run lengths,
//! one or two bytes each as variable-length numbers, and a reader can check every count against the bytes
//! that are left before it allocates anything.

use intertwine_rle::Rle;

use super::Entry;
use crate::sample::{Instance, RecordInfo};

/// Bytes of an instance without a mask.
const INSTANCE_LEN: usize = 8 + 4 + 4 * 4 + 4 + 1;
const CROWD: u8 = 1;
const MASK: u8 = 2;

/// The bytes of a description. Ids, label and count are in the index, not here.
pub fn encode(info: &RecordInfo, instances: &[Instance]) -> Vec<u8> {
    let mut out = Vec::with_capacity(12 + info.source.len() + instances.len() * INSTANCE_LEN);
    out.extend(info.original_size.0.to_le_bytes());
    out.extend(info.original_size.1.to_le_bytes());
    // A path has a few thousand bytes at most.
    out.extend((info.source.len() as u32).to_le_bytes());
    out.extend(info.source.as_bytes());
    for instance in instances {
        out.extend(instance.id.to_le_bytes());
        out.extend(instance.category.to_le_bytes());
        out.extend(instance.bbox.iter().flat_map(|v| v.to_le_bytes()));
        out.extend(instance.area.to_le_bytes());
        out.push((u8::from(instance.crowd) * CROWD) | (u8::from(instance.mask.is_some()) * MASK));
        if let Some(mask) = &instance.mask {
            push_varint(&mut out, mask.counts().len() as u32);
            mask.counts()
                .iter()
                .for_each(|&run| push_varint(&mut out, run));
        }
    }
    out
}

/// Reads a description; `categories` is the number of categories the set has.
pub fn decode(
    bytes: &[u8],
    entry: &Entry,
    categories: usize,
) -> Result<(RecordInfo, Vec<Instance>), String> {
    let mut cursor = Cursor(bytes);
    let info = info(&mut cursor, entry)?;
    let count = entry.instances as usize;
    if count > cursor.0.len() / INSTANCE_LEN {
        return Err(format!(
            "{count} instances do not fit into {} bytes",
            cursor.0.len()
        ));
    }
    let mut instances = Vec::with_capacity(count);
    for _ in 0..count {
        instances.push(instance(&mut cursor, entry.size, categories)?);
    }
    match cursor.0.len() {
        0 => Ok((info, instances)),
        rest => Err(format!("{rest} bytes follow the last instance")),
    }
}

/// Reads where the picture came from and skips the rest.
pub fn decode_info(bytes: &[u8], entry: &Entry) -> Result<RecordInfo, String> {
    info(&mut Cursor(bytes), entry)
}

fn info(cursor: &mut Cursor, entry: &Entry) -> Result<RecordInfo, String> {
    let original_size = (cursor.u32()?, cursor.u32()?);
    let len = cursor.u32()? as usize;
    let source =
        std::str::from_utf8(cursor.take(len)?).map_err(|e| format!("the source's name: {e}"))?;
    Ok(RecordInfo {
        image_id: entry.image_id,
        source: source.into(),
        original_size,
        label: entry.label,
    })
}

fn instance(
    cursor: &mut Cursor,
    (width, height): (u32, u32),
    categories: usize,
) -> Result<Instance, String> {
    let id = cursor.u64()?;
    let category = cursor.u32()?;
    if category as usize >= categories {
        return Err(format!(
            "instance {id}: category {category}, the set has {categories}"
        ));
    }
    let bbox = [cursor.f32()?, cursor.f32()?, cursor.f32()?, cursor.f32()?];
    let area = cursor.f32()?;
    if bbox.iter().chain([&area]).any(|v| !v.is_finite()) {
        return Err(format!(
            "instance {id}: box {bbox:?} and area {area} must be finite"
        ));
    }
    let flags = cursor.take(1)?[0];
    if flags & !(CROWD | MASK) != 0 {
        return Err(format!("instance {id}: unknown flags {flags:#04x}"));
    }
    let mask = match flags & MASK {
        0 => None,
        _ => Some(mask(cursor, width, height).map_err(|e| format!("instance {id}: {e}"))?),
    };
    Ok(Instance {
        id,
        category,
        bbox,
        area,
        crowd: flags & CROWD != 0,
        mask,
    })
}

fn mask(cursor: &mut Cursor, width: u32, height: u32) -> Result<Rle, String> {
    let runs = cursor.varint()? as usize;
    if runs > cursor.0.len() {
        return Err(format!(
            "{runs} runs do not fit into {} bytes",
            cursor.0.len()
        ));
    }
    let counts = (0..runs)
        .map(|_| cursor.varint())
        .collect::<Result<_, _>>()?;
    Rle::from_counts(height, width, counts).map_err(|e| format!("mask: {e}"))
}

/// What is left to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let Some((head, rest)) = self.0.split_at_checked(len) else {
            return Err(format!("{len} bytes wanted, {} left", self.0.len()));
        };
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, String> {
        self.array().map(f32::from_le_bytes)
    }

    /// LEB128, at most 32 bits.
    fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value)
                    .map_err(|_| format!("run length {value} exceeds 32 bits"));
            }
        }
        Err("a run length of more than five bytes".into())
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
