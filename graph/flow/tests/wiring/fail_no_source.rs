use intertwine_flow::input;

fn main() {
    // Positions given from outside are not a source: nobody knows how many there are.
    let _ = input::<u64>("Position").run(..);
}
