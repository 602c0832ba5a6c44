//! The way that compiles: a crop takes the field along.
use intertwine::field::{Filter, Located, Normalisation, PixelBox, Resampler, View, Window};

fn main() {
    let picture = image::RgbImage::new(64, 64);
    let crop = PixelBox { x: 8, y: 8, w: 32, h: 32 };
    let region = Located::whole(&picture, Window::centred(0.35)).crop(crop).unwrap().flip();
    let canvas = region.resize(16, 16, Filter::Bicubic, &mut Resampler::default(), Default::default());
    let mut view = View::default();
    canvas.cut(8, Normalisation::IMAGENET, &mut view);
    assert!(view.geometry().flip && view.geometry().rect.w == 0.5);
}
