mod parts;
use intertwine_flow::{stage, Source};
use parts::*;

fn main() {
    let _ = pictures().then(stage("Mask", |_: Views| Masked));
}
