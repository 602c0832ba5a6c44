//! What the graph itself costs: stages that do nothing, one item after the other.
//!
//! `cargo run -p intertwine-flow --example overhead`

use std::{convert::Infallible, hint::black_box, num::NonZeroUsize, time::Instant};

use intertwine_flow::{chain::Parallel, input, source, stage, Graph, Source};

const ITEMS: u64 = 1_000_000;

fn graph(rounds: u64) -> Graph<u64, impl Parallel<Out = u64>> {
    source("Positions", Some(ITEMS), Ok::<u64, Infallible>)
        .then(stage("First", move |x: u64| {
            (0..rounds).fold(x, |x, _| black_box(x))
        }))
        .then(stage("Second", |x: u64| x + 1))
        .then(stage("Third", |x: u64| x + 1))
}

fn report(name: &str, items: u64, start: Instant) {
    println!(
        "{name}: {:.0} ns an item",
        start.elapsed().as_nanos() as f64 / items as f64
    );
}

fn main() {
    let mut inline = input::<u64>("Input")
        .then(stage("First", |x: u64| black_box(x)))
        .then(stage("Second", |x: u64| x + 1))
        .then(stage("Third", |x: u64| x + 1))
        .inline();
    let start = Instant::now();
    for x in 0..ITEMS {
        black_box(inline.push(x)).ok();
    }
    report("inline, 3 stages, counted", ITEMS, start);

    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            let start = Instant::now();
            for batch in graph(0)
                .batch(NonZeroUsize::new(64).expect("not 0"))
                .run(..)
            {
                black_box(&batch.expect("nothing fails"));
            }
            report(
                &format!("parallel, 4 stages, {threads} threads"),
                ITEMS,
                start,
            );

            let items = ITEMS / 200;
            let start = Instant::now();
            for batch in graph(1_000_000)
                .batch(NonZeroUsize::new(64).expect("not 0"))
                .run(..items)
            {
                black_box(&batch.expect("nothing fails"));
            }
            report(
                &format!("the same with work, {threads} threads"),
                items,
                start,
            );
        });
    }
}
