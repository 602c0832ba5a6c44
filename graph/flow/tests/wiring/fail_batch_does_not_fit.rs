mod parts;
use intertwine_flow::Source;
use parts::*;
use std::num::NonZeroUsize;

fn main() {
    // The step takes masked views.
    let _ = pictures().then(Augment).batch(NonZeroUsize::MIN).then(Step);
}
