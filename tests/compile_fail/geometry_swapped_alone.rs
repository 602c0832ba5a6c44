//! The geometry of a view cannot be replaced, and what `geometry` gives is a copy.
use intertwine::field::{Geometry, View, Window};

fn swap(view: &mut View) {
    view.geometry = Geometry::whole(Window::WHOLE);
}

fn swap_through_a_copy(view: &mut View) {
    *view.geometry_mut() = view.geometry().flipped();
}

fn main() {}
