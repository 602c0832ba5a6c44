//! Makes a shard's checksums right, for fuzzing.

use super::layout::{Entry, Header, ENTRY_LEN, HEADER_LEN, MAGIC};

/// Writes the checksums that the bytes should have, as far as they are a shard, so that fuzzing reaches what lies
/// behind them.
pub fn repair(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    bytes[..8].copy_from_slice(&MAGIC);
    let most = (bytes.len() - HEADER_LEN) / ENTRY_LEN;
    let records = usize::from(bytes[16]).clamp(1, most.clamp(1, 8));
    let Some(index) = bytes
        .len()
        .checked_sub(records * ENTRY_LEN)
        .filter(|&at| at >= HEADER_LEN)
    else {
        return;
    };
    let (body, entries) = bytes.split_at_mut(index);
    for entry in entries.as_chunks_mut::<ENTRY_LEN>().0 {
        let Ok(parsed) = Entry::parse(entry, index as u64) else {
            continue;
        };
        let pixels = parsed.offset as usize;
        let meta = pixels + parsed.pixels_len as usize;
        let crc = |range: std::ops::Range<usize>| crc32fast::hash(&body[range]).to_le_bytes();
        entry[16..20].copy_from_slice(&crc(pixels..meta));
        entry[20..24].copy_from_slice(&crc(meta..meta + parsed.meta_len as usize));
    }
    let header = Header {
        records: records as u64,
        index_offset: index as u64,
        index_crc: crc32fast::hash(entries),
    };
    bytes[..HEADER_LEN].copy_from_slice(&header.to_bytes());
}
