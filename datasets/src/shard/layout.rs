//! The fixed-size parts of a shard, as bytes and back. All numbers are little endian.

use crate::pixels::{Encoding, MAX_PIXELS, MAX_SIDE};

/// The first bytes of a shard. The second half catches a transfer that changed line ends, as PNG's does.
pub const MAGIC: [u8; 8] = *b"ITWS\r\n\x1a\n";
/// The version of the format that is written, and the only one read.
pub const VERSION: u16 = 1;
/// Records and the index start at multiples of this many bytes.
pub const ALIGNMENT: u64 = 64;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// Bytes of an index entry.
pub const ENTRY_LEN: usize = 64;
/// The label of a record without one.
const NO_LABEL: u32 = u32::MAX;

/// The head of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of records.
    pub records: u64,
    /// Where the index begins; it ends the file.
    pub index_offset: u64,
    /// CRC-32 of the index.
    pub index_crc: u32,
}

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(ENTRY_LEN as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.records.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index_offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.index_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file of `file_len` bytes.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Self, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(format!(
                "{} bytes are too few for the header of {HEADER_LEN}",
                bytes.len()
            ));
        };
        if bytes[..8] != MAGIC {
            let expected = MAGIC.escape_ascii();
            return Err(format!(
                "it begins with \"{}\", expected \"{expected}\"",
                bytes[..8].escape_ascii()
            ));
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(format!(
                "format version {version}, this program reads version {VERSION}"
            ));
        }
        let (found, stated) = (crc32fast::hash(&bytes[..60]), u32_at(bytes, 60));
        if found != stated {
            return Err(format!(
                "the header's CRC-32 is {found:08x}, expected {stated:08x}"
            ));
        }
        let header = Self {
            records: u64_at(bytes, 16),
            index_offset: u64_at(bytes, 24),
            index_crc: u32_at(bytes, 32),
        };
        let index_len = header.records.checked_mul(ENTRY_LEN as u64);
        let end = index_len.and_then(|len| header.index_offset.checked_add(len));
        if header.index_offset < HEADER_LEN as u64 || end != Some(file_len) {
            return Err(format!(
                "an index of {} records from byte {} does not end a file of {file_len} bytes",
                header.records, header.index_offset
            ));
        }
        Ok(header)
    }
}

/// What the index says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the pixels begin in the file.
    pub offset: u64,
    /// Bytes of the pixels.
    pub pixels_len: u32,
    /// Bytes of the description, which follows the pixels.
    pub meta_len: u32,
    /// CRC-32 of the pixels' bytes.
    pub pixels_crc: u32,
    /// CRC-32 of the description's bytes.
    pub meta_crc: u32,
    /// (width, height) in pixels.
    pub size: (u32, u32),
    /// How the pixels are stored.
    pub encoding: Encoding,
    /// Number of labelled objects.
    pub instances: u32,
    /// The picture's id.
    pub image_id: u64,
    /// Class of the whole picture.
    pub label: Option<u32>,
}

impl Entry {
    /// The entry's bytes.
    pub fn to_bytes(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.pixels_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.meta_len.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.pixels_crc.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.meta_crc.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.size.0.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.size.1.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.instances.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.label.unwrap_or(NO_LABEL).to_le_bytes());
        bytes[40..48].copy_from_slice(&self.image_id.to_le_bytes());
        bytes[48] = self.encoding as u8;
        bytes
    }

    /// Reads an entry of a shard whose records end at byte `records_end`.
    pub fn parse(bytes: &[u8; ENTRY_LEN], records_end: u64) -> Result<Self, String> {
        let label = u32_at(bytes, 36);
        let encoding = Encoding::from_byte(bytes[48]);
        let entry = Self {
            offset: u64_at(bytes, 0),
            pixels_len: u32_at(bytes, 8),
            meta_len: u32_at(bytes, 12),
            pixels_crc: u32_at(bytes, 16),
            meta_crc: u32_at(bytes, 20),
            size: (u32_at(bytes, 24), u32_at(bytes, 28)),
            instances: u32_at(bytes, 32),
            label: (label != NO_LABEL).then_some(label),
            image_id: u64_at(bytes, 40),
            encoding: encoding
                .ok_or_else(|| format!("pixel encoding {}, expected 0, 1 or 2", bytes[48]))?,
        };
        let (width, height) = entry.size;
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS || width > MAX_SIDE || height > MAX_SIDE {
            return Err(format!(
                "a picture of {width} x {height}, expected at most {MAX_PIXELS} pixels"
            ));
        }
        let len = u64::from(entry.pixels_len) + u64::from(entry.meta_len);
        let end = entry.offset.checked_add(len);
        if entry.offset < HEADER_LEN as u64 || end.is_none_or(|end| end > records_end) {
            return Err(format!(
                "{len} bytes at byte {} lie outside the records",
                entry.offset
            ));
        }
        Ok(entry)
    }
}

fn u16_at(bytes: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_accepted_can_be_read(bytes in proptest::array::uniform32(any::<[u8; 2]>()), end in 64u64..1 << 40, small: bool) {
            let mut bytes: [u8; ENTRY_LEN] = std::array::from_fn(|i| bytes[i / 2][i % 2]);
            if small {
                // Within the limits except for one byte or two: random bytes alone never are.
                let sound = Entry { offset: 64, pixels_len: 9, meta_len: 12, pixels_crc: 1, meta_crc: 2, size: (3, 1),
                    encoding: Encoding::Raw, instances: 0, image_id: 1, label: None };
                let (at, value) = (usize::from(bytes[0]) % ENTRY_LEN, bytes[1]);
                bytes = sound.to_bytes();
                bytes[at] ^= value;
            }
            if let Ok(entry) = Entry::parse(&bytes, end) {
                let stop = entry.offset + u64::from(entry.pixels_len) + u64::from(entry.meta_len);
                prop_assert!(entry.offset >= 64 && stop <= end);
                let pixels = u64::from(entry.size.0) * u64::from(entry.size.1);
                prop_assert!((1..=MAX_PIXELS).contains(&pixels));
            }
        }
    }

    #[test]
    fn header_and_entry_come_back() {
        let header = Header {
            records: 3,
            index_offset: 1 << 33,
            index_crc: 0xdead_beef,
        };
        assert_eq!(
            Header::parse(&header.to_bytes(), (1 << 33) + 3 * 64),
            Ok(header)
        );
        assert!(Header::parse(&header.to_bytes(), (1 << 33) + 3 * 64 + 1).is_err());
        let overflow = Header {
            records: u64::MAX / 64 + 2,
            ..header
        };
        assert!(Header::parse(&overflow.to_bytes(), 1 << 33).is_err());
        let entry = Entry {
            offset: u64::from(u32::MAX) * 3,
            pixels_len: 1,
            meta_len: 2,
            pixels_crc: 3,
            meta_crc: 4,
            size: (5, 6),
            encoding: Encoding::Jpeg,
            instances: 7,
            image_id: u64::MAX,
            label: Some(8),
        };
        assert_eq!(Entry::parse(&entry.to_bytes(), u64::MAX), Ok(entry));
        let wide = Entry {
            size: (65_536, 1),
            ..entry
        };
        let large = Entry {
            size: (40_000, 40_000),
            ..entry
        };
        let wrapping = Entry {
            offset: u64::MAX - 1,
            ..entry
        };
        for bad in [wide, large, wrapping] {
            assert!(Entry::parse(&bad.to_bytes(), u64::MAX).is_err(), "{bad:?}");
        }
    }
}
