//! Sixteen rows of sixteen bytes, turned into columns.

use crate::lanes::LANES;

/// A square of bytes.
pub(super) type Square = [[u8; LANES]; LANES];

/// The transpose: four perfect shuffles of the rows, each of which moves a bit of a byte's row number to its column
/// number.
#[inline(always)]
pub(super) fn transpose(square: &Square) -> Square {
    shuffle(&shuffle(&shuffle(&shuffle(square))))
}

/// Interleaves each of the upper eight rows with the one eight below; compilers make it two instructions a pair.
#[inline(always)]
fn shuffle(square: &Square) -> Square {
    let mut out = [[0; LANES]; LANES];
    for i in 0..8 {
        for j in 0..8 {
            out[2 * i][2 * j] = square[i][j];
            out[2 * i][2 * j + 1] = square[i + 8][j];
            out[2 * i + 1][2 * j] = square[i][j + 8];
            out[2 * i + 1][2 * j + 1] = square[i + 8][j + 8];
        }
    }
    out
}
