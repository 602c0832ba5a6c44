//! AMX: blocks of 32 x 32 as four tile registers of sums, each instruction multiplying 16 x 32 by 32 x 16 `bf16`.
//!
//! Tiles are written in assembly because the compiler's intrinsics for them are not stable. What is left at the edges
//! of a product is AVX-512's.

use super::avx512::{transpose16_units, PAIRS};
use super::{Kernel, Tile};
use std::arch::asm;

/// Rows, columns and units of a tile register.
const SIDE: usize = 16;

/// Rows and columns of a block.
const BLOCK: usize = 2 * SIDE;

pub(super) static TILES: Kernel = Kernel {
    mr: BLOCK,
    nr: BLOCK,
    tile: block,
    turn16: Some(transpose16_units),
    whole_tiles: true,
    wide: None,
    // SAFETY: this kernel is chosen only where the CPU has AMX and the system lets this process use it.
    enter: || unsafe { configure() },
    // SAFETY: as above.
    leave: || unsafe { release() },
    ..PAIRS
};

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight registers as 16 rows of 64 bytes.
static WHOLE: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        row_bytes[i] = 64;
        rows[i] = 16;
        i += 1;
    }
    Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

/// Gives the tile registers of this thread their shape.
///
/// # Safety
/// The CPU has AMX and this process may use it.
pub(crate) unsafe fn configure() {
    // SAFETY: the operand is 64 bytes of a valid configuration; the tile registers are used in this crate alone.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &WHOLE, options(nostack, readonly, preserves_flags)) }
}

/// Gives them back, so that the system need not save them.
///
/// # Safety
/// As [`configure`].
pub(crate) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// # Safety
/// See [`Kernel::tile`]; `enter` has been called on this thread.
unsafe fn block(t: &Tile) {
    let whole = t.units / SIDE * SIDE;
    let in_tiles = if (t.rows, t.cols, t.a_unit) == (BLOCK, BLOCK, 1) {
        whole
    } else {
        0
    };
    if in_tiles > 0 {
        // SAFETY: the block is whole and so are the steps of units.
        unsafe { whole_block(t, in_tiles / SIDE) };
    }
    if in_tiles < t.units {
        for first in (0..t.rows).step_by(PAIRS.mr) {
            // SAFETY: the rest of what the caller promised; at the end of the last row `a` is only pointed past.
            unsafe {
                (PAIRS.tile)(&Tile {
                    units: t.units - in_tiles,
                    a: t.a.add(first * t.a_row + in_tiles * t.a_unit),
                    b: t.b.add(in_tiles * t.b_unit),
                    c: t.c.add(first * t.c_row),
                    rows: PAIRS.mr.min(t.rows - first),
                    accumulate: t.accumulate || in_tiles > 0,
                    ..*t
                });
            }
        }
    }
}

/// `steps` times 16 units of a 32 x 32 block.
///
/// # Safety
/// As [`block`]; the block is whole, has `16 * steps` units and those of a row of `a` lie side by side.
unsafe fn whole_block(t: &Tile, steps: usize) {
    debug_assert!(steps > 0);
    // SAFETY: the addresses are those that the caller promised, strides in bytes; only clobbered registers and `c` are
    // written.
    unsafe {
        asm!(
            "test {accumulate:l}, {accumulate:l}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c0} + {c_row}]",
            "tileloadd tmm1, [{c0} + {c_row} + 64]",
            "tileloadd tmm2, [{c1} + {c_row}]",
            "tileloadd tmm3, [{c1} + {c_row} + 64]",
            "3:",
            "tileloadd tmm6, [{b} + {b_unit}]",
            "tileloadd tmm7, [{b} + {b_unit} + 64]",
            "tileloadd tmm4, [{a0} + {a_row}]",
            "tileloadd tmm5, [{a1} + {a_row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {b}, {b_step}",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c0} + {c_row}], tmm0",
            "tilestored [{c0} + {c_row} + 64], tmm1",
            "tilestored [{c1} + {c_row}], tmm2",
            "tilestored [{c1} + {c_row} + 64], tmm3",
            accumulate = in(reg) usize::from(t.accumulate),
            c0 = in(reg) t.c,
            c1 = in(reg) t.c.add(SIDE * t.c_row),
            c_row = in(reg) 4 * t.c_row,
            a0 = inout(reg) t.a => _,
            a1 = inout(reg) t.a.add(SIDE * t.a_row) => _,
            a_row = in(reg) 4 * t.a_row,
            b = inout(reg) t.b => _,
            b_unit = in(reg) 4 * t.b_unit,
            b_step = in(reg) 4 * SIDE * t.b_unit,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
