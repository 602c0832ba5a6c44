//! The counters add up: no work is counted twice and none is missed.

mod support;

use std::{
    convert::Infallible,
    thread::sleep,
    time::{Duration, Instant},
};

use intertwine_flow::{input, source, stage, Source, Stats};
use support::{n, on};

const MS: Duration = Duration::from_millis(1);

#[test]
fn on_one_thread_the_parts_make_the_whole() {
    // The stage and the consumer both let other items run inside their own time; the sum would be more
    // than the whole if that were counted twice.
    let (stats, wall) = on(1, || {
        let start = Instant::now();
        let mut run = source("Sleep", Some(20), |position| {
            sleep(MS);
            Ok::<_, Infallible>(position)
        })
        .then(stage("Nest", |x: u64| {
            sleep(MS);
            rayon::yield_now();
            x
        }))
        .window(n(6))
        .run(..);
        let counters = run.counters();
        for item in run.by_ref() {
            item.unwrap();
            sleep(MS);
            rayon::yield_now();
        }
        drop(run);
        let wall = start.elapsed();
        (counters.snapshot(), wall)
    });
    let names: Vec<_> = stats
        .stages
        .iter()
        .map(|stage| (stage.name, stage.items))
        .collect();
    assert_eq!(names, [("Sleep", 20), ("Nest", 20)]);
    assert_eq!(
        (stats.consumed, stats.ready, stats.running, stats.window),
        (20, 0, 0, 6)
    );
    for busy in [
        stats.stages[0].busy,
        stats.stages[1].busy,
        stats.consumer_busy,
    ] {
        assert!(busy >= 20 * MS, "work is missing: {stats:?}");
    }
    let sum = stats.busy() + stats.consumer_busy + stats.waiting;
    assert_eq!(
        stats.wall(),
        sum,
        "one thread did everything, so all of the stages' time is the consumer's: {stats:?}"
    );
    assert!(sum <= wall, "{sum:?} counted in {wall:?}");
    assert!(sum >= wall / 2, "{sum:?} counted of {wall:?}");
}

#[test]
fn the_consumers_time_is_all_accounted_for() {
    for threads in [0, 1, 2, 3] {
        let (stats, inner, outer) = on(threads, move || {
            let outer = Instant::now();
            let mut run = source("Sleep", Some(60), |position| {
                sleep(MS / 4);
                Ok::<_, Infallible>(position)
            })
            .graph()
            .batch(n(5))
            .then(stage("Sum", |batch: intertwine_flow::Batch<u64>| {
                sleep(MS);
                batch.iter().sum::<u64>()
            }))
            .sink("Step")
            .run(..);
            let inner = Instant::now();
            let counters = run.counters();
            while run.next().is_some() {
                sleep(MS / 2);
                rayon::yield_now();
            }
            let inner = inner.elapsed();
            drop(run);
            let outer = outer.elapsed();
            (counters.snapshot(), inner, outer)
        });
        // The consumer's clock starts in `run` and stops in `drop`.
        let wall = stats.wall();
        assert!(
            inner <= wall && wall <= outer,
            "{inner:?} <= {wall:?} <= {outer:?} on {threads} threads: {stats:?}"
        );
        let on_its_thread = stats.lent + stats.helping;
        assert!(on_its_thread <= stats.busy(), "{stats:?}");
        assert!(
            stats.helping >= 12 * MS,
            "what follows the batch runs in `next`: {stats:?}"
        );
        let workers = threads.max(1) as u32;
        assert!(
            threads == 0 || stats.busy() <= outer * workers,
            "more work than {workers} threads can do in {outer:?}: {stats:?}"
        );
        assert_eq!((stats.sink, stats.consumed), ("Step", 12));
    }
}

#[test]
fn what_was_done_between_two_snapshots_is_their_difference() {
    let mut run = source("Numbers", None, Ok::<u64, Infallible>)
        .graph()
        .window(n(1))
        .run(..);
    let counters = run.counters();
    let mut snapshots = vec![counters.snapshot()];
    for _ in 0..3 {
        run.next();
        sleep(MS);
        snapshots.push(counters.snapshot());
    }
    let [a, b, c, d] = &snapshots[..] else {
        unreachable!()
    };
    let later = d.since(b);
    assert_eq!(later.consumed, 2);
    assert_eq!(later.wall(), d.wall() - b.wall());
    assert!(
        later.consumer_busy >= 2 * MS,
        "the sleeps before two calls: {later:?}"
    );
    assert_eq!(c.since(a).since(&b.since(a)), c.since(b));
}

/// A run with a slow source or a slow consumer, consumed outside the pool: its thread helps only with what
/// no worker has begun.
fn run(source_ms: u32, consumer_ms: u32) -> Stats {
    let mut run = source("Source", Some(12), move |position| {
        sleep(source_ms * MS);
        Ok::<_, Infallible>(position)
    })
    .graph()
    .window(n(2))
    .run(..);
    for item in run.by_ref() {
        item.unwrap();
        sleep(consumer_ms * MS);
    }
    run.counters().snapshot()
}

#[test]
fn waiting_is_charged_to_whoever_waits() {
    // How much of the wait goes into helping depends on how soon the pool wakes, so only their sum is known.
    let slow_data = run(20, 0);
    assert!(slow_data.wait() > slow_data.consumer_busy, "{slow_data:?}");
    assert!(slow_data.wait() > slow_data.full, "{slow_data:?}");
    let slow_consumer = run(0, 10);
    assert!(slow_consumer.consumer_busy >= 120 * MS, "{slow_consumer:?}");
    assert!(
        slow_consumer.consumer_busy > slow_consumer.wait(),
        "{slow_consumer:?}"
    );
    assert!(
        slow_consumer.full > slow_consumer.wait(),
        "{slow_consumer:?}"
    );
}

#[test]
fn counters_are_read_while_the_run_goes_on() {
    let mut run = source("Numbers", None, Ok::<u64, Infallible>)
        .then(stage("Double", |x: u64| 2 * x))
        .batch(n(4))
        .then(stage("Sum", |batch: intertwine_flow::Batch<u64>| {
            batch.iter().sum::<u64>()
        }))
        .window(n(4))
        .run(..);
    let counters = run.counters();
    run.next();
    run.next();
    let stats = counters.snapshot();
    assert_eq!(stats.consumed, 2);
    assert!((8..=12).contains(&stats.stages[1].items), "{stats:?}");
    assert_eq!((stats.stages[2].name, stats.stages[2].items), ("Sum", 2));
}

#[test]
fn the_inline_executor_counts_too() {
    let mut graph = input::<u32>("Frame")
        .then(stage("Wait", |x: u32| {
            sleep(MS);
            x
        }))
        .then(stage("Double", |x: u32| 2 * x))
        .inline();
    for x in 0..5 {
        assert_eq!(graph.push(x).unwrap(), 2 * x);
    }
    let stats = graph.counters().snapshot();
    assert_eq!(
        stats
            .stages
            .iter()
            .map(|stage| stage.items)
            .collect::<Vec<_>>(),
        [5, 5]
    );
    assert!(stats.stages[0].busy >= 5 * MS);
}
