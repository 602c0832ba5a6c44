mod parts;
use intertwine_flow::Source;
use parts::*;
use std::num::NonZeroUsize;

pub fn main() {
    let run = pictures()
        .then(Augment)
        .then(Mask)
        .batch(NonZeroUsize::MIN)
        .then(Step)
        .run(..);
    assert_eq!(run.map(Result::unwrap).count(), 4);
}
