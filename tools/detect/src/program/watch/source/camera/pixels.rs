//! Pixels as cameras send them, to red, green and blue.

use image::RgbImage;
use intertwine_detect::picture::MAX_PIXELS;
use yuv::{
    bgr_to_rgb, uyvy422_to_rgb, yuv420_to_rgb, yuv_nv12_to_rgb, yuyv422_to_rgb, YuvBiPlanarImage,
    YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange, YuvStandardMatrix,
};

/// How pixels lie in a frame, by V4L2's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// `YUYV`: two pixels in four bytes.
    Yuyv,
    /// `UYVY`: the same, colour first.
    Uyvy,
    /// `NV12`: brightness, then the two colours of each 2 x 2 pixels side by side.
    Nv12,
    /// `YU12`: brightness, then one colour after the other.
    Yu12,
    /// `RGB3`.
    Rgb,
    /// `BGR3`.
    Bgr,
    /// `GREY`.
    Grey,
}

impl PixelFormat {
    /// All of them; what is less work stands first.
    pub const ALL: [(&'static [u8; 4], Self); 7] = [
        (b"RGB3", Self::Rgb),
        (b"BGR3", Self::Bgr),
        (b"YUYV", Self::Yuyv),
        (b"UYVY", Self::Uyvy),
        (b"NV12", Self::Nv12),
        (b"YU12", Self::Yu12),
        (b"GREY", Self::Grey),
    ];

    /// That of a four-character code.
    pub fn of(code: &[u8; 4]) -> Option<Self> {
        let (_, format) = Self::ALL.iter().find(|(known, _)| *known == code)?;
        Some(*format)
    }
}

/// How frames of a size lie in their buffers.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub format: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row to the next, of the first plane.
    pub stride: u32,
    /// Which values are black and white.
    pub range: YuvRange,
    /// How colours weigh in brightness.
    pub matrix: YuvStandardMatrix,
}

impl Layout {
    /// Whether there are pixels, and a row has room for them.
    pub fn is_possible(&self) -> bool {
        let pixel = match self.format {
            PixelFormat::Rgb | PixelFormat::Bgr => 3,
            PixelFormat::Yuyv | PixelFormat::Uyvy => 2,
            PixelFormat::Nv12 | PixelFormat::Yu12 | PixelFormat::Grey => 1,
        };
        let pixels = u64::from(self.width) * u64::from(self.height);
        let row = pixel * u64::from(self.width);
        (1..=MAX_PIXELS).contains(&pixels) && u64::from(self.stride) >= row
    }

    /// Bytes that a frame has at least.
    pub fn bytes(&self) -> usize {
        let plane = self.stride as usize * self.height as usize;
        let half = (self.height as usize).div_ceil(2);
        match self.format {
            PixelFormat::Nv12 => plane + self.stride as usize * half,
            PixelFormat::Yu12 => plane + 2 * (self.stride as usize / 2) * half,
            _ => plane,
        }
    }

    /// Converts a frame of at least [`bytes`](Self::bytes) bytes.
    ///
    /// # Errors
    /// What the conversion finds amiss, which is nothing where the layout [is possible](Self::is_possible).
    pub fn convert(&self, frame: &[u8], picture: &mut RgbImage) -> Result<(), YuvError> {
        let &Self {
            width,
            height,
            stride,
            range,
            matrix,
            ..
        } = self;
        if picture.dimensions() != (width, height) {
            *picture = RgbImage::new(width, height);
        }
        let out_stride = 3 * width;
        let out: &mut [u8] = picture;
        let (first, rest) = frame.split_at(stride as usize * height as usize);
        let packed = || YuvPackedImage {
            yuy: first,
            yuy_stride: stride,
            width,
            height,
        };
        match self.format {
            PixelFormat::Yuyv => yuyv422_to_rgb(&packed(), out, out_stride, range, matrix),
            PixelFormat::Uyvy => uyvy422_to_rgb(&packed(), out, out_stride, range, matrix),
            PixelFormat::Nv12 => {
                let planes = YuvBiPlanarImage {
                    y_plane: first,
                    y_stride: stride,
                    uv_plane: rest,
                    uv_stride: stride,
                    width,
                    height,
                };
                let mode = YuvConversionMode::Balanced;
                yuv_nv12_to_rgb(&planes, out, out_stride, range, matrix, mode)
            }
            PixelFormat::Yu12 => {
                let colour = stride / 2;
                let (u, v) = rest.split_at((colour * height.div_ceil(2)) as usize);
                let planes = YuvPlanarImage {
                    y_plane: first,
                    y_stride: stride,
                    u_plane: u,
                    u_stride: colour,
                    v_plane: v,
                    v_stride: colour,
                    width,
                    height,
                };
                yuv420_to_rgb(&planes, out, out_stride, range, matrix)
            }
            PixelFormat::Bgr => bgr_to_rgb(first, stride, out, out_stride, width, height),
            PixelFormat::Rgb => {
                self.rows(first, out, 3, |row, out| out.copy_from_slice(row));
                Ok(())
            }
            PixelFormat::Grey => {
                self.rows(first, out, 1, |row, out| {
                    for (pixel, &grey) in out.chunks_exact_mut(3).zip(row) {
                        pixel.fill(grey);
                    }
                });
                Ok(())
            }
        }
    }

    /// Row by row, without what lies between them.
    fn rows(
        &self,
        frame: &[u8],
        out: &mut [u8],
        bytes_a_pixel: usize,
        row: impl Fn(&[u8], &mut [u8]),
    ) {
        let width = self.width as usize;
        let rows = frame.chunks_exact(self.stride as usize);
        for (from, to) in rows.zip(out.chunks_exact_mut(3 * width)) {
            row(&from[..bytes_a_pixel * width], to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout of 4 x 2 pixels whose rows are `stride` bytes apart.
    fn layout(format: PixelFormat, stride: u32) -> Layout {
        Layout {
            format,
            width: 4,
            height: 2,
            stride,
            range: YuvRange::Limited,
            matrix: YuvStandardMatrix::Bt601,
        }
    }

    fn converted(layout: Layout, frame: &[u8]) -> Vec<[u8; 3]> {
        assert!(layout.is_possible());
        assert_eq!(frame.len(), layout.bytes(), "{layout:?}");
        let mut picture = RgbImage::default();
        layout.convert(frame, &mut picture).unwrap();
        picture.pixels().map(|pixel| pixel.0).collect()
    }

    /// Every way of writing the same eight pixels gives them back: black, white, and pure red, whose values in BT.601
    /// are Y 81, U 90, V 240 (ITU-R BT.601, 8 bits).
    #[test]
    fn all_formats_of_a_picture_are_that_picture() {
        const X: u8 = 7; // between rows
        let red = |px: [u8; 3]| px[0] >= 253 && px[1] <= 2 && px[2] <= 2;
        let yuyv: [&[u8]; 4] = [
            &[16, 128, 16, 128, 81, 90, 81, 240],
            &[X, X],
            &[235, 128, 235, 128, 81, 90, 81, 240],
            &[X, X],
        ];
        let yuyv = yuyv.concat();
        let uyvy: [&[u8]; 4] = [
            &[128, 16, 128, 16, 90, 81, 240, 81],
            &[X, X],
            &[128, 235, 128, 235, 90, 81, 240, 81],
            &[X, X],
        ];
        let uyvy = uyvy.concat();
        let bright = [16, 16, 81, 81, X, X, 235, 235, 81, 81, X, X];
        let nv12 = [&bright[..], &[128, 128, 90, 240, X, X]].concat();
        let yu12 = [&bright[..], &[128, 90, X], &[128, 240, X]].concat();
        for (format, stride, frame) in [
            (PixelFormat::Yuyv, 10, yuyv),
            (PixelFormat::Uyvy, 10, uyvy),
            (PixelFormat::Nv12, 6, nv12),
            (PixelFormat::Yu12, 6, yu12),
        ] {
            let pixels = converted(layout(format, stride), &frame);
            assert_eq!(pixels[..2], [[0; 3]; 2], "{format:?}");
            assert_eq!(pixels[4..6], [[255; 3]; 2], "{format:?}");
            for place in [2, 3, 6, 7] {
                assert!(red(pixels[place]), "{format:?}: {:?}", pixels[place]);
            }
        }
    }

    #[test]
    fn plain_formats_are_taken_row_by_row() {
        let frame: Vec<u8> = (0..26).collect();
        let row =
            |first: u8| (0..4).map(move |i| [first + 3 * i, first + 3 * i + 1, first + 3 * i + 2]);
        let rgb: Vec<_> = row(0).chain(row(13)).collect();
        assert_eq!(converted(layout(PixelFormat::Rgb, 13), &frame), rgb);
        let bgr: Vec<_> = rgb.iter().map(|&[r, g, b]| [b, g, r]).collect();
        assert_eq!(converted(layout(PixelFormat::Bgr, 13), &frame), bgr);
        let grey: Vec<_> = [0, 1, 2, 3, 5, 6, 7, 8].map(|v| [v; 3]).into();
        assert_eq!(converted(layout(PixelFormat::Grey, 5), &frame[..10]), grey);
    }

    #[test]
    fn full_range_and_another_matrix_are_heeded() {
        let full = Layout {
            range: YuvRange::Full,
            ..layout(PixelFormat::Yuyv, 8)
        };
        let frame = [16, 128, 235, 128].repeat(4);
        assert_eq!(converted(full, &frame)[..2], [[16; 3], [235; 3]]);
        // The same colour difference is another green: BT.709 has it weigh less.
        let frame = [126, 128, 126, 180].repeat(4);
        let hd = Layout {
            matrix: YuvStandardMatrix::Bt709,
            ..layout(PixelFormat::Yuyv, 8)
        };
        let (sd, hd) = (
            converted(layout(PixelFormat::Yuyv, 8), &frame)[0],
            converted(hd, &frame)[0],
        );
        // 1.164 (126 - 16) = 128; less 0.813 x 52 = 42, and less 0.533 x 52 = 28.
        assert!(
            sd[1].abs_diff(128 - 42) <= 1 && hd[1].abs_diff(128 - 28) <= 1,
            "{sd:?} {hd:?}"
        );
    }

    #[test]
    fn a_row_too_short_for_its_pixels_is_none() {
        for (_, format) in PixelFormat::ALL {
            assert!(!layout(format, 3).is_possible(), "{format:?}");
            assert!(layout(format, 12).is_possible(), "{format:?}");
        }
        let (mut none, mut huge) = (
            layout(PixelFormat::Grey, 4),
            layout(PixelFormat::Grey, u32::MAX),
        );
        none.height = 0;
        (huge.width, huge.height) = (u32::MAX, u32::MAX);
        assert!(!none.is_possible() && !huge.is_possible());
    }
}
