//! What the executors allocate once they are warm: inline nothing, in parallel no item's memory.
//!
//! One test in a binary of its own, because the counters are those of the whole process.

mod support;

use std::{alloc::System, convert::Infallible};

use intertwine_flow::{input, source, stage_with, Pool, Pooled, Source};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};
use support::{n, on};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A sample of 64 KiB.
const SAMPLE: usize = 64 * 1024 / 4;

#[test]
fn memory_is_recycled() {
    let mut graph = input::<&[f32]>("Frame")
        .then(stage_with(
            "Resize",
            || vec![0.0f32; SAMPLE],
            |frame: &[f32], buffer: &mut Vec<f32>| {
                buffer.copy_from_slice(frame);
                Ok::<_, Infallible>(buffer.iter().sum::<f32>())
            },
        ))
        .then(stage_with(
            "Model",
            || 0.0f32,
            |sum: f32, state: &mut f32| {
                *state = sum;
                Ok::<_, Infallible>(*state)
            },
        ))
        .inline();
    let frame = vec![1.0f32; SAMPLE];
    graph.push(&frame).unwrap();
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        assert_eq!(graph.push(&frame).unwrap(), SAMPLE as f32);
    }
    let change = region.change();
    assert_eq!(
        (change.allocations, change.reallocations),
        (0, 0),
        "inline: {change:?}"
    );

    for threads in [1, 2, 3] {
        let change = on(threads, || {
            let pool = Pool::new(|| vec![0.0f32; SAMPLE]);
            let mut run = source("Samples", None, Ok::<u64, Infallible>)
                .then(stage_with(
                    "Fill",
                    || vec![0.0f32; SAMPLE],
                    move |x: u64, scratch: &mut Vec<f32>| {
                        let mut out: Pooled<Vec<f32>> = pool.take();
                        scratch.fill(x as f32);
                        out.copy_from_slice(scratch);
                        Ok::<_, Infallible>(out)
                    },
                ))
                .batch(n(8))
                .run(..);
            let mut check = |batches: u64| {
                for _ in 0..batches {
                    let batch = run.next().unwrap().unwrap();
                    for (position, item) in batch.positions().zip(&batch) {
                        assert_eq!(item[SAMPLE - 1], position as f32);
                    }
                }
            };
            check(50);
            let region = Region::new(ALLOCATOR);
            check(100);
            region.change()
        });
        // Per item rayon allocates its job. An item's own memory may still appear when more items are in
        // flight than ever before, which the window bounds; 800 new samples would be 52 MB.
        assert!(
            change.bytes_allocated < 2_000_000,
            "{threads} threads: {change:?}"
        );
        if threads == 1 {
            assert!(change.bytes_allocated < 64 * 1024, "{change:?}");
        }
    }
}
