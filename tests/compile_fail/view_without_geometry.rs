//! A view cannot be made of pixels and whatever geometry is at hand.
use intertwine::field::{Geometry, Located, Region, View, Window};

fn forge<'a>(pixels: Region<'a>) -> Located<Region<'a>> {
    Located { pixels, geometry: Geometry::whole(Window::WHOLE) }
}

fn from_patches(patches: Vec<f32>) -> View {
    View::from(patches)
}

fn main() {}
