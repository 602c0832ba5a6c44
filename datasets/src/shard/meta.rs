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
    if bbox[2] <= 0. || bbox[3] <= 0. {
        return Err(format!(
            "instance {id}: box {bbox:?} must have a width and height above 0"
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pixels::Encoding;

    fn entry(instances: u32, size: (u32, u32)) -> Entry {
        Entry {
            offset: 64,
            pixels_len: 1,
            meta_len: 0,
            pixels_crc: 0,
            meta_crc: 0,
            size,
            encoding: Encoding::Zpix,
            instances,
            image_id: 5,
            label: Some(3),
        }
    }

    fn instances() -> impl Strategy<Value = Vec<Instance>> {
        let mask = proptest::option::of(proptest::collection::vec(0u8..2, 7 * 300));
        let instance = (
            any::<u64>(),
            0u32..4,
            [0f32..9., 0f32..9., 0.1f32..9., 0.1f32..9.],
            0f32..81.,
            any::<bool>(),
            mask,
        );
        let instance = instance.prop_map(|(id, category, bbox, area, crowd, mask)| {
            let mask = mask.map(|bitmap| Rle::encode(&bitmap, 300, 7));
            Instance {
                id,
                category,
                bbox,
                area,
                crowd,
                mask,
            }
        });
        proptest::collection::vec(instance, 0..4)
    }

    proptest! {
        #[test]
        fn comes_back(instances in instances(), source in ".{0,30}", original_size: (u32, u32)) {
            let info = RecordInfo { image_id: 5, source, original_size, label: Some(3) };
            let entry = entry(instances.len() as u32, (7, 300));
            let bytes = encode(&info, &instances);
            prop_assert_eq!(decode_info(&bytes, &entry), Ok(info.clone()));
            prop_assert_eq!(decode(&bytes, &entry, 4), Ok((info, instances)));
        }

        /// A CRC keeps accidents away, not a writer who means harm.
        #[test]
        fn hostile_bytes_are_refused(
            instances in instances(),
            count in prop_oneof![0u32..5, any::<u32>()],
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut: prop::sample::Index,
        ) {
            let info = RecordInfo { image_id: 5, source: "a/b.jpg".into(), original_size: (1, 2), label: None };
            let mut bytes = encode(&info, &instances);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok((_, read)) = decode(&bytes, &entry(count, (7, 300)), 4) {
                prop_assert!(read.iter().all(|i| i.category < 4 && i.bbox.iter().all(|v| v.is_finite())));
                prop_assert!(read.iter().all(|i| i.bbox[2] > 0. && i.bbox[3] > 0.));
                prop_assert!(read.iter().filter_map(|i| i.mask.as_ref()).all(|mask| mask.size() == (300, 7)));
            }
        }
    }

    #[test]
    fn a_box_without_width_or_height_is_refused() {
        let info = RecordInfo {
            image_id: 5,
            source: "a.jpg".into(),
            original_size: (7, 300),
            label: None,
        };
        for bbox in [[1., 1., 0., 2.], [1., 1., 2., -1.]] {
            let instance = Instance {
                id: 1,
                category: 0,
                bbox,
                area: 4.,
                crowd: false,
                mask: None,
            };
            let error = decode(&encode(&info, &[instance]), &entry(1, (7, 300)), 4).unwrap_err();
            assert!(error.contains("width and height above 0"), "{error}");
        }
    }
}
