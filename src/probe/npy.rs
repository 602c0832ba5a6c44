//! NumPy's file format, version 1.0 (numpy.lib.format): a magic, a header in Python's notation, the values.

use super::features::Rows;

/// The bytes of a two-dimensional array of `f32`.
pub fn encode(rows: &Rows) -> Vec<u8> {
    let shape = format!("({}, {})", rows.len(), rows.width());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Values begin at a multiple of 64 bytes, after magic, version, length and header.
    let unpadded = 10 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.values().iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numpy_writes_it() {
        let bytes = encode(&Rows::new(2, vec![1.0, 2.0, 3.0, -4.0]));
        // What np.save writes of np.array([[1, 2], [3, -4]], '<f4').
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
        let padded = format!("{header}{}\n", " ".repeat(118 - header.len() - 1));
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(std::str::from_utf8(&bytes[10..128]).unwrap(), padded);
        assert_eq!(bytes[128..132], 1.0f32.to_le_bytes());
        assert_eq!(bytes.len(), 128 + 16);
    }
}
