//! A view cannot be made of pixels and whatever geometry is at hand.
use intertwine::field::{Geometry, Located, Patches, View, Window};

fn forge(pixels: Patches) -> View {
    Located { pixels, geometry: Geometry::whole(Window::WHOLE) }
}

fn main() {}
