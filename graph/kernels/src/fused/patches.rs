//! Patches of a picture to tokens: a convolution whose stride is its size, and positions added.

use super::Linear;
use crate::{check_len, size};

use crate::parallel::{for_each_task, Scattered};
use std::cell::Cell;

/// A linear map of square patches, and what is added to each.
#[derive(Debug)]
pub struct Patches {
    linear: Linear,
    patch: usize,
    positions: Vec<f32>,
}

impl Patches {
    /// Of a map whose inputs are (channel, dy, dx) of a patch of `patch` pixels, and positions [patches, out].
    ///
    /// # Panics
    /// If the inputs are not whole patches.
    pub fn new(linear: Linear, patch: usize, positions: &[f32]) -> Self {
        assert!(
            patch > 0 && linear.inp().is_multiple_of(patch * patch),
            "fused patches: {} inputs for patches of {patch}",
            linear.inp()
        );
        Self {
            linear,
            patch,
            positions: positions.to_vec(),
        }
    }

    /// Planes [channels, height, width] to `y` [patches, out], patches row by row.
    ///
    /// # Panics
    /// If a slice's length does not fit.
    pub fn forward(&self, planes: &[f32], height: usize, width: usize, y: &mut [f32]) {
        let (p, out) = (self.patch, self.linear.out());
        let channels = self.linear.inp() / (p * p);
        let (rows, columns) = (height / p, width / p);
        check_len(
            "fused patches",
            "planes",
            planes,
            size([channels, height, width]),
        );
        check_len("fused patches", "y", y, size([rows, columns, out]));
        check_len("fused patches", "positions", &self.positions, y.len());
        let y = Scattered::new(y);
        for_each_task(rows, true, |row| {
            let mut buffer = PATCHES.take();
            buffer.resize(columns * self.linear.inp(), 0.0);
            for (column, patch) in buffer.chunks_exact_mut(self.linear.inp()).enumerate() {
                for (line, to) in patch.chunks_exact_mut(p).enumerate() {
                    let (channel, dy) = (line / p, line % p);
                    let from = (channel * height + row * p + dy) * width + column * p;
                    to.copy_from_slice(&planes[from..from + p]);
                }
            }
            let (start, len) = (row * columns * out, columns * out);
            // SAFETY: each task has its own rows of y.
            let y = unsafe { y.piece(start, len) };
            let positions = &self.positions[start..start + len];
            self.linear.forward(&buffer, Some(positions), y);
            PATCHES.set(buffer);
        });
    }
}

// Taken while in use, so that what a waiting thread picks up finds an empty one.
thread_local! {
    static PATCHES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}
