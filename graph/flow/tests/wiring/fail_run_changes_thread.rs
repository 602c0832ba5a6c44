mod parts;
use intertwine_flow::Source;
use parts::*;

fn main() {
    // A run stays on the thread that made it: otherwise it could wait for an item suspended below itself.
    let run = pictures().then(Augment).run(..);
    std::thread::spawn(move || run.count());
}
