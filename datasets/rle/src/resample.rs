//! Resizing a mask with its picture.

use crate::rle::{pixels, Rle, Runs};
use crate::RleError;

impl Rle {
    /// Resizes to `height` x `width` by nearest neighbour: a pixel takes the value under its centre.
    /// Works on the runs, without a bitmap.
    ///
    /// # Errors
    /// [`RleError::TooLarge`] if `height * width` needs more than 32 bits.
    pub fn resize(&self, height: u32, width: u32) -> Result<Self, RleError> {
        let pixels = pixels(height, width)?;
        let (source_height, source_width) = self.size();
        // First target index whose centre is at or beyond the source index `edge`:
        // (2 i + 1) source >= 2 target edge, in exact integers.
        let first = |edge: u32, source: u32, target: u32| -> u32 {
            let (edge, source, target) = (u128::from(edge), u128::from(source), u128::from(target));
            let twice = (2 * target * edge).saturating_sub(source);
            twice.div_ceil(2 * source) as u32
        };

        let mut spans = Vec::new();
        let mut columns = self.column_spans().peekable();
        let mut rows: Vec<(u32, u32)> = Vec::new();
        while let Some(&(x, _)) = columns.peek() {
            rows.clear();
            while let Some((_, span)) = columns.next_if(|&(column, _)| column == x) {
                let top = first(span.start, source_height, height);
                let bottom = first(span.end, source_height, height);
                if top < bottom {
                    rows.push((top, bottom));
                }
            }
            let targets = first(x, source_width, width)..first(x + 1, source_width, width);
            for target in targets {
                spans.extend(
                    rows.iter()
                        .map(|&(top, bottom)| (target * height + top, target * height + bottom)),
                );
            }
        }
        Ok(Runs::from_spans(pixels, spans).into_mask(height, width))
    }
}
