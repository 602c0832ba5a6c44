//! The parallel executor: order, resuming, failures, stopping, bounds.

mod support;

use std::{
    convert::Infallible,
    ops::Range,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        Arc, Barrier,
    },
};

use intertwine_flow::{
    chain::Parallel, source, stage, stage_with, try_stage, FlowError, Graph, Panicked, Source,
    Stage,
};
use proptest::prelude::*;
use support::{dawdle, hush, n, on, THREADS};

/// What the graph below gives at a position, worked out without it.
fn expected(position: u64) -> u64 {
    (position ^ 5) * 3 + 1
}

fn numbers(len: Option<u64>) -> Graph<u64, impl Parallel<Out = u64>> {
    source("Numbers", len, |position| {
        dawdle(position);
        Ok::<_, Infallible>(position)
    })
    .graph()
    .reorder("Order", |position| position ^ 5)
    .then(stage_with(
        "Triple",
        || 0u64,
        |x: u64, buffer: &mut u64| {
            *buffer = 3 * x;
            dawdle(x + 7);
            Ok::<_, Infallible>(*buffer)
        },
    ))
    .then(stage("Increment", |x: u64| x + 1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn items_come_in_order_whatever_the_threads(
        threads in 0usize..4, len in 0u64..200, start in 0u64..220, window in 1usize..40,
    ) {
        let items: Vec<u64> = on(threads, move || {
            numbers(Some(len)).window(n(window)).run(start..).map(Result::unwrap).collect()
        });
        prop_assert_eq!(items, (start..len.max(start)).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn batches_are_the_run_cut_in_pieces(
        threads in 0usize..4, len in 0u64..200, start in 0u64..50, size in 1usize..20,
        window in 1usize..40, exact in any::<bool>(),
    ) {
        let batches: Vec<(Range<u64>, Vec<u64>)> = on(threads, move || {
            let graph = numbers(Some(len)).window(n(window));
            let graph = if exact { graph.batch_exact(n(size)) } else { graph.batch(n(size)) };
            graph.run(start..).map(Result::unwrap).map(|batch| (batch.positions(), batch.to_vec())).collect()
        });
        let all: Vec<u64> = (start..len.max(start)).collect();
        let mut pieces: Vec<&[u64]> = all.chunks(size).collect();
        if exact && pieces.last().is_some_and(|last| last.len() < size) {
            pieces.pop();
        }
        prop_assert_eq!(batches.len(), pieces.len());
        for ((positions, items), piece) in batches.into_iter().zip(pieces) {
            prop_assert_eq!(positions.collect::<Vec<_>>(), piece);
            prop_assert_eq!(items, piece.iter().map(|&p| expected(p)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn after_a_failure_a_run_is_where_its_last_batch_ended() {
    for threads in THREADS {
        on(threads, || {
            let mut run = Files
                .then(try_stage("Odd", |x: u64| match x {
                    5 => Err("five"),
                    x => Ok(x),
                }))
                .batch(n(4))
                .run(..);
            assert_eq!(run.next().unwrap().unwrap().to_vec(), [0, 1, 2, 3]);
            assert!(run.next().unwrap().is_err());
            // Item 4 was worked on and is not lost for who goes on from here.
            assert_eq!(run.position(), 4);
        });
    }
}

#[test]
fn a_run_resumes_at_its_position_without_end() {
    for threads in THREADS {
        on(threads, || {
            let mut run = numbers(None).batch(n(7)).run(..);
            let whole: Vec<u64> = run
                .by_ref()
                .take(6)
                .flat_map(|batch| batch.unwrap().to_vec())
                .collect();
            assert_eq!(run.position(), 42);
            let mut first = numbers(None).batch(n(7)).run(..);
            assert_eq!(first.by_ref().take(2).count(), 2);
            let position = first.position();
            drop(first);
            let tail: Vec<u64> = numbers(None)
                .run(position..)
                .take(28)
                .map(Result::unwrap)
                .collect();
            assert_eq!(tail, whole[position as usize..]);
        });
    }
}

#[test]
fn positions_reach_to_the_last_integer() {
    on(2, || {
        let graph = || {
            source("Numbers", None, Ok::<u64, Infallible>)
                .graph()
                .window(n(64))
        };
        let items: Vec<u64> = graph().run(u64::MAX - 3..).map(Result::unwrap).collect();
        assert_eq!(items, [u64::MAX - 3, u64::MAX - 2, u64::MAX - 1]);
        assert_eq!(graph().run(u64::MAX..).count(), 0);
        assert_eq!(graph().run(4..=5).count(), 2);
    });
}

/// A source with file names, one of whose stages fails at chosen positions.
struct Files;

impl Stage<u64> for Files {
    type Out = u64;
    type Scratch = ();
    type Error = String;

    fn name(&self) -> &'static str {
        "Files"
    }

    fn scratch(&self) {}

    fn run(&self, position: u64, (): &mut ()) -> Result<u64, String> {
        Ok(position)
    }
}

impl Source for Files {
    fn len(&self) -> Option<u64> {
        Some(100)
    }

    fn label(&self, position: u64) -> Option<String> {
        assert!(position != 23, "deliberate: a label may fail too");
        Some(format!("photo {position}.jpg"))
    }
}

/// Fails at `at` and soon behind it; earlier failures take longer, so that later ones happen first.
fn fail(stage: usize, here: usize, x: u64, at: u64, panics: bool) -> Result<u64, String> {
    if stage == here && (at..at + 3).contains(&x) {
        std::thread::sleep(std::time::Duration::from_millis(2 * (at + 3 - x)));
        assert!(!panics, "deliberate {x}");
        return Err(format!("bad {x}"));
    }
    Ok(x)
}

#[test]
fn the_lowest_failure_surfaces_with_its_stage_and_item() {
    hush();
    for (threads, at, here, panics) in THREADS.into_iter().flat_map(|threads| {
        [0, 9, 23, 97].into_iter().flat_map(move |at| {
            (0..3).flat_map(move |here| [false, true].map(|panics| (threads, at, here, panics)))
        })
    }) {
        let (items, over, after) = on(threads, move || {
            let mut run = Files
                .graph()
                .reorder("Order", move |p| {
                    fail(0, here, p, at, panics).map_or(p, |p| p)
                })
                .then(try_stage("First", move |x: u64| {
                    fail(1, here, x, at, panics)
                }))
                .then(try_stage("Second", move |x: u64| {
                    fail(2, here, x, at, panics)
                }))
                .window(n(8))
                .run(..);
            let items: Vec<u64> = run.by_ref().map_while(Result::ok).collect();
            (items, run.next().is_none(), run.position())
        });
        // An order cannot fail, only panic.
        let failed = here > 0 || panics;
        let last = if failed { at } else { 100 };
        assert_eq!(items, (0..last).collect::<Vec<_>>());
        assert!(over, "a run that ended goes on");
        assert_eq!(after, if failed { at + 1 } else { 100 });
    }
}

fn failure(threads: usize, at: u64, here: usize, panics: bool) -> FlowError {
    on(threads, move || {
        let mut run = Files
            .then(try_stage("First", move |x: u64| {
                fail(1, here, x, at, panics)
            }))
            .batch(n(4))
            .then(try_stage(
                "Sum",
                move |batch: intertwine_flow::Batch<u64>| {
                    batch.iter().try_fold(0, |sum, &x| {
                        Ok::<_, String>(sum + fail(2, here, x, at, panics)?)
                    })
                },
            ))
            .run(..);
        let error = run.by_ref().find_map(Result::err).expect("it fails");
        assert!(run.next().is_none());
        error
    })
}

#[test]
fn an_error_says_which_stage_which_item_and_why() {
    hush();
    for threads in THREADS {
        let error = failure(threads, 10, 1, false);
        assert_eq!(
            error.to_string(),
            "stage First failed at item 10 (photo 10.jpg)"
        );
        assert_eq!(error.source.to_string(), "bad 10");

        let error = failure(threads, 10, 1, true);
        assert_eq!((error.stage, error.position), ("First", 10));
        assert_eq!(
            error.source.downcast_ref(),
            Some(&Panicked("deliberate 10".into()))
        );

        // The label itself panics: the error stands.
        assert_eq!(
            failure(threads, 23, 1, false).to_string(),
            "stage First failed at item 23"
        );

        // A stage behind the batch: the position is that of the batch.
        for panics in [false, true] {
            assert_eq!(
                failure(threads, 10, 2, panics).to_string(),
                "stage Sum failed at item 8"
            );
        }
    }
}

#[test]
fn a_worker_makes_one_scratch() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    on(1, move || {
        let make = move || {
            count.fetch_add(1, SeqCst);
            Vec::<u64>::new()
        };
        let run = Files
            .then(stage_with(
                "Buffer",
                make,
                |x: u64, buffer: &mut Vec<u64>| {
                    buffer.clear();
                    buffer.push(x);
                    Ok::<_, Infallible>(buffer[0])
                },
            ))
            .run(..);
        assert_eq!(run.map(Result::unwrap).count(), 100);
    });
    assert_eq!(made.load(SeqCst), 1);
}

#[test]
fn a_scratch_that_cannot_be_made_is_an_error_of_its_stage() {
    hush();
    let make = || -> u8 { panic!("deliberate") };
    let graph = Files.then(stage("First", |x: u64| x)).then(stage_with(
        "Engine",
        make,
        |x: u64, _: &mut u8| Ok::<_, Infallible>(x),
    ));
    let error = on(2, || graph.run(..).next().unwrap().unwrap_err());
    assert_eq!((error.stage, error.position), ("Engine", 0));
}

#[test]
fn a_dropped_run_has_stopped() {
    for threads in THREADS {
        for taken in [0, 1, 5] {
            on(threads, move || {
                let inside = Arc::new(AtomicUsize::new(0));
                let calls = Arc::new(AtomicUsize::new(0));
                let (i, c) = (Arc::clone(&inside), Arc::clone(&calls));
                let mut run = source("Slow", None, move |position| {
                    i.fetch_add(1, SeqCst);
                    c.fetch_add(1, SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    i.fetch_sub(1, SeqCst);
                    Ok::<_, Infallible>(position)
                })
                .graph()
                .window(n(16))
                .run(..);
                assert_eq!(run.by_ref().take(taken).count(), taken);
                drop(run);
                assert_eq!(inside.load(SeqCst), 0);
                let calls_then = calls.load(SeqCst);
                // Everything left in the queues of the pool runs now, and is nothing.
                while rayon::yield_now() == Some(rayon::Yield::Executed) {}
                rayon::broadcast(|_| ());
                assert_eq!(calls.load(SeqCst), calls_then);
                // The graph goes too, as soon as the workers have let go of it.
                while Arc::strong_count(&calls) > 1 {
                    std::thread::yield_now();
                }
            });
        }
    }
}

#[test]
fn a_consumer_that_panics_stops_the_run() {
    hush();
    for threads in THREADS {
        let outcome = on(threads, || {
            std::panic::catch_unwind(|| {
                for item in numbers(None).run(..) {
                    assert!(item.unwrap() < 20, "deliberate");
                }
            })
        });
        assert!(outcome.is_err());
    }
}

/// Counts how many of itself are alive.
struct Live {
    count: Arc<AtomicUsize>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.count.fetch_sub(1, SeqCst);
    }
}

#[test]
fn items_in_flight_are_bounded() {
    for threads in THREADS {
        for window in [1, 2, 9] {
            on(threads, move || {
                let count = Arc::new(AtomicUsize::new(0));
                let most = Arc::new(AtomicUsize::new(0));
                let (c, m) = (Arc::clone(&count), Arc::clone(&most));
                let run = source("Live", Some(100), move |position| {
                    m.fetch_max(c.fetch_add(1, SeqCst) + 1, SeqCst);
                    dawdle(position);
                    Ok::<_, Infallible>(Live {
                        count: Arc::clone(&c),
                    })
                })
                .graph()
                .window(n(window))
                .run(..);
                for item in run {
                    dawdle(3);
                    // Lets the workers run ahead as far as they may.
                    while rayon::yield_now() == Some(rayon::Yield::Executed) {}
                    drop(item);
                }
                assert_eq!(count.load(SeqCst), 0, "items leak");
                // The window, and the item in the consumer's hands.
                assert!(
                    most.load(SeqCst) <= window + 1,
                    "{} with window {window}",
                    most.load(SeqCst)
                );
                if threads == 1 {
                    // Here the consumer's `yield_now` fills the window for certain.
                    assert_eq!(most.load(SeqCst), (window + 1).min(100));
                }
            });
        }
    }
}

#[test]
fn stages_and_consumer_may_use_the_same_pool() {
    for threads in THREADS {
        on(threads, || {
            let run = numbers(Some(60))
                .then(stage("Fork", |x: u64| {
                    let (a, b) = rayon::join(
                        || rayon::join(|| x, || x),
                        || rayon::join(|| dawdle(x), || x),
                    );
                    a.0 + a.1 + b.1
                }))
                .batch(n(8))
                .run(..);
            let mut sum = 0;
            for batch in run {
                let batch = batch.unwrap();
                let (left, right) = batch.split_at(batch.len() / 2);
                let (a, b) = rayon::join(|| left.iter().sum::<u64>(), || right.iter().sum::<u64>());
                sum += a + b;
            }
            assert_eq!(sum, (0..60).map(|p| 3 * expected(p)).sum::<u64>());
        });
    }
}

#[test]
fn a_graph_runs_inside_a_stage_of_a_graph() {
    for threads in THREADS {
        let sums: Vec<u64> = on(threads, || {
            let inner = stage("Inner", |x: u64| {
                numbers(Some(x)).run(..).map(Result::unwrap).sum::<u64>()
            });
            source("Outer", Some(20), Ok::<u64, Infallible>)
                .then(inner)
                .run(..)
                .map(Result::unwrap)
                .collect()
        });
        let expected: Vec<u64> = (0..20).map(|x| (0..x).map(expected).sum()).collect();
        assert_eq!(sums, expected);
    }
}

#[test]
fn a_consumer_outside_goes_on_when_the_pool_is_blocked() {
    // All threads of the global pool wait for this test: only the consumer can work.
    let threads = rayon::current_num_threads();
    let gate = Arc::new(Barrier::new(threads + 1));
    let open = Arc::new(AtomicBool::new(false));
    let (g, o) = (Arc::clone(&gate), Arc::clone(&open));
    rayon::spawn_broadcast(move |_| {
        g.wait();
        while !o.load(SeqCst) {
            std::thread::yield_now();
        }
    });
    gate.wait();
    let items: Vec<u64> = numbers(Some(30)).run(..).map(Result::unwrap).collect();
    open.store(true, SeqCst);
    assert_eq!(items, (0..30).map(expected).collect::<Vec<_>>());
}
