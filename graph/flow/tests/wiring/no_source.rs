mod parts;
use intertwine_flow::input;
use parts::*;

fn main() {
    let _ = input::<u64>("Position").run(..);
    let _ = input::<Picture>("Frame").then(Augment).run(..);
}
