//! The pixels of a located region are out of reach of whoever would crop them and leave the geometry.
use intertwine::field::{Canvas, Located, PixelBox, Region};

fn crop(mut region: Located<Region>) -> Located<Region> {
    region.pixels.area = PixelBox { x: 0, y: 0, w: 8, h: 8 };
    region
}

fn recolour(canvas: &mut Located<Canvas>) {
    canvas.pixels.bytes.reverse();
}

fn main() {}
