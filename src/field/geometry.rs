//! Where a view lies in its picture, and its picture in the field.

/// A rectangle in a unit square: top-left corner and size, y pointing down.
///
/// Held in f64 so that a crop of a crop of a crop still agrees with the one crop it amounts to.
/// A view that is padded reaches beyond its picture, so neither corner need lie in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width, positive.
    pub w: f64,
    /// Height, positive.
    pub h: f64,
}

impl Rect {
    /// The whole unit square.
    pub const UNIT: Rect = Rect {
        x: 0.0,
        y: 0.0,
        w: 1.0,
        h: 1.0,
    };

    /// The rectangle `inner`, given in this one's own unit square, in the square this one is given in.
    pub fn then(self, inner: Rect) -> Rect {
        Rect {
            x: self.x + inner.x * self.w,
            y: self.y + inner.y * self.h,
            w: self.w * inner.w,
            h: self.h * inner.h,
        }
    }

    /// Mirrored left to right in the unit square.
    fn mirrored(self) -> Rect {
        Rect {
            x: 1.0 - (self.x + self.w),
            ..self
        }
    }
}

/// Where the picture lies in the field: a square of side `scale`, its top-left corner at `(x, y)`.
///
/// This is the position and scale augmentation: the picture becomes a part of a larger virtual one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge in the field, in `[0, 1 - scale]`.
    pub x: f64,
    /// Top edge in the field, in `[0, 1 - scale]`.
    pub y: f64,
    /// Side of the window over side of the field, in `(0, 1]`.
    pub scale: f64,
}

impl Window {
    /// The picture fills the field.
    pub const WHOLE: Window = Window {
        x: 0.0,
        y: 0.0,
        scale: 1.0,
    };

    /// The window of side `scale` in the middle of the field, where downstream tasks read it.
    /// `scale` is clamped to `(0, 1]`.
    pub fn centred(scale: f64) -> Window {
        let scale = scale.clamp(f64::EPSILON, 1.0);
        let margin = (1.0 - scale) / 2.0;
        Window {
            x: margin,
            y: margin,
            scale,
        }
    }
}

/// The patch grid of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Rows of patches.
    pub height: usize,
    /// Patches in a row.
    pub width: usize,
}

impl Grid {
    /// A grid of `height` rows of `width` patches.
    pub const fn new(height: usize, width: usize) -> Grid {
        Grid { height, width }
    }

    /// Number of patches.
    pub const fn len(self) -> usize {
        self.height * self.width
    }

    /// Whether there is no patch at all.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The way from a view to the field: mirror, then place in the picture, then place in the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// What part of the picture the view shows.
    pub rect: Rect,
    /// Whether the view shows it mirrored left to right.
    pub flip: bool,
    /// Where the picture lies in the field.
    pub window: Window,
}

impl Geometry {
    /// The whole picture, upright, in `window`.
    pub const fn whole(window: Window) -> Geometry {
        Geometry {
            rect: Rect::UNIT,
            flip: false,
            window,
        }
    }

    /// The geometry of a crop of this view. `inner` is in the view's unit square as it is seen, that
    /// is after the flip.
    #[must_use]
    pub fn crop(self, inner: Rect) -> Geometry {
        let inner = if self.flip { inner.mirrored() } else { inner };
        Geometry {
            rect: self.rect.then(inner),
            ..self
        }
    }

    /// The geometry of this view mirrored left to right.
    #[must_use]
    pub fn flipped(self) -> Geometry {
        Geometry {
            flip: !self.flip,
            ..self
        }
    }

    /// A point `(x, y)` of the view's unit square, in the field's.
    pub fn to_field(self, x: f64, y: f64) -> (f64, f64) {
        let x = if self.flip { 1.0 - x } else { x };
        (
            self.window.x + (self.rect.x + x * self.rect.w) * self.window.scale,
            self.window.y + (self.rect.y + y * self.rect.h) * self.window.scale,
        )
    }

    /// The centres `(x, y)` of the patches in the field, in raster order.
    pub fn positions(self, grid: Grid) -> impl ExactSizeIterator<Item = [f32; 2]> {
        (0..grid.len()).map(move |i| {
            let centre = |cell: usize, cells: usize| (cell as f64 + 0.5) / cells as f64;
            let (x, y) = self.to_field(
                centre(i % grid.width, grid.width),
                centre(i / grid.width, grid.height),
            );
            [x as f32, y as f32]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    fn rect() -> impl Strategy<Value = Rect> {
        (0.0..0.9, 0.0..0.9, 0.01..1.0, 0.01..1.0).prop_map(|(x, y, w, h): (f64, f64, f64, f64)| {
            Rect {
                x,
                y,
                w: w * (1.0 - x),
                h: h * (1.0 - y),
            }
        })
    }

    proptest! {
        /// A point of the innermost of a chain of crops and flips is found in the field by going
        /// out one view at a time, or at once through the composed geometry.
        #[test]
        fn chain_of_crops_is_one_crop(
            steps in prop::collection::vec((rect(), any::<bool>()), 1..6),
            (x, y) in (0.0..1.0, 0.0..1.0),
            scale in 0.1..1.0,
        ) {
            let window = Window { x: 0.3 * (1.0 - scale), y: 0.8 * (1.0 - scale), scale };
            let mut composed = Geometry::whole(window);
            for &(inner, flip) in &steps {
                composed = composed.crop(inner);
                if flip {
                    composed = composed.flipped();
                }
            }
            let (mut px, mut py): (f64, f64) = (x, y);
            for &(inner, flip) in steps.iter().rev() {
                if flip {
                    px = 1.0 - px;
                }
                px = inner.x + px * inner.w;
                py = inner.y + py * inner.h;
            }
            let (fx, fy) = composed.to_field(x, y);
            prop_assert!(close(fx, window.x + px * scale), "{fx}");
            prop_assert!(close(fy, window.y + py * scale), "{fy}");
        }

        /// Patches that cover the same pixels in an outer and an inner view read the same place.
        #[test]
        fn aligned_patches_agree(row in 0usize..3, column in 0usize..3, flip: bool) {
            let mut outer = Geometry::whole(Window::centred(0.35));
            if flip {
                outer = outer.flipped();
            }
            let inner = outer.crop(Rect { x: column as f64 / 4.0, y: row as f64 / 4.0, w: 0.5, h: 0.5 });
            let (whole, part): (Vec<_>, Vec<_>) =
                (outer.positions(Grid::new(8, 8)).collect(), inner.positions(Grid::new(4, 4)).collect());
            for r in 0..4 {
                for c in 0..4 {
                    let (a, b) = (part[r * 4 + c], whole[(2 * row + r) * 8 + 2 * column + c]);
                    prop_assert!((a[0] - b[0]).abs() < 1e-6 && (a[1] - b[1]).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn positions_by_hand() {
        // The right half of the picture, mirrored, in the window [0.2, 0.7]^2, as 1 x 2 patches:
        // picture x of the centres is .5 + .75 * .5 and .5 + .25 * .5, y is .5.
        let geometry = Geometry {
            rect: Rect {
                x: 0.5,
                y: 0.0,
                w: 0.5,
                h: 1.0,
            },
            flip: true,
            window: Window {
                x: 0.2,
                y: 0.2,
                scale: 0.5,
            },
        };
        let positions: Vec<_> = geometry.positions(Grid::new(1, 2)).collect();
        for (p, expected) in positions.iter().zip([[0.6375, 0.45], [0.5125, 0.45]]) {
            assert!(
                (p[0] - expected[0]).abs() < 1e-6 && (p[1] - expected[1]).abs() < 1e-6,
                "{p:?}"
            );
        }
    }

    #[test]
    fn centred_window_leaves_equal_margins() {
        let w = Window::centred(0.35);
        assert!(close(w.x, 0.325) && close(w.y + w.scale + w.y, 1.0));
    }
}
