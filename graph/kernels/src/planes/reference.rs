//! The definition, pixel by pixel.

/// The three planes of interleaved RGB.
pub(crate) fn split(rgb: &[u8], width: usize) -> Vec<u8> {
    let pixel = |x: isize, y: isize| -> [i32; 3] {
        if x < 0 || y < 0 {
            return [0; 3];
        }
        let at = 3 * (y as usize * width + x as usize);
        let [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]].map(i32::from);
        [g, r - g, b - g]
    };
    let height = rgb.len() / 3 / width;
    let mut planes = Vec::new();
    for c in 0..3 {
        for y in 0..height as isize {
            for x in 0..width as isize {
                let at = |dx, dy| pixel(x - dx, y - dy)[c];
                let difference = at(0, 0) - at(1, 0) - at(0, 1) + at(1, 1);
                planes.push(difference.rem_euclid(256) as u8);
            }
        }
    }
    planes
}
