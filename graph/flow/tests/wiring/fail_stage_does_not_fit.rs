mod parts;
use intertwine_flow::Source;
use parts::*;

fn main() {
    // The mask needs views, and nobody has made them.
    let _ = pictures().then(Mask);
}
