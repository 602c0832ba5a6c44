//! Closures as stages and sources.

use core::convert::Infallible;

use crate::{BoxError, Source, Stage};

/// A stage made from a closure that cannot fail; see [`stage`].
#[derive(Clone, Debug)]
pub struct Map<F> {
    name: &'static str,
    f: F,
}

/// Makes a stage from a closure that cannot fail.
///
/// ```
/// use intertwine_flow::{input, stage};
/// let mut graph = input::<u8>("Pixel").then(stage("Normalise", |v: u8| f32::from(v) / 255.0)).inline();
/// assert_eq!(graph.push(51).unwrap(), 0.2);
/// ```
pub fn stage<In, Out, F: Fn(In) -> Out>(name: &'static str, f: F) -> Map<F> {
    Map { name, f }
}

impl<In, Out, F: Fn(In) -> Out> Stage<In> for Map<F> {
    type Out = Out;
    type Scratch = ();
    type Error = Infallible;

    fn name(&self) -> &'static str {
        self.name
    }

    fn scratch(&self) {}

    fn run(&self, input: In, (): &mut ()) -> Result<Out, Infallible> {
        Ok((self.f)(input))
    }
}

/// A stage made from a closure that can fail; see [`try_stage`].
#[derive(Clone, Debug)]
pub struct TryMap<F> {
    name: &'static str,
    f: F,
}

/// Makes a stage from a closure that gives a `Result`.
///
/// ```
/// use intertwine_flow::{input, try_stage};
/// let mut graph = input::<&str>("Line").then(try_stage("Parse", |s: &str| s.parse::<u32>())).inline();
/// assert_eq!(graph.push("7").unwrap(), 7);
/// assert_eq!(graph.push("x").unwrap_err().to_string(), "stage Parse failed at item 1");
/// ```
pub fn try_stage<In, Out, E: Into<BoxError>, F>(name: &'static str, f: F) -> TryMap<F>
where
    F: Fn(In) -> Result<Out, E>,
{
    TryMap { name, f }
}

impl<In, Out, E: Into<BoxError>, F: Fn(In) -> Result<Out, E>> Stage<In> for TryMap<F> {
    type Out = Out;
    type Scratch = ();
    type Error = E;

    fn name(&self) -> &'static str {
        self.name
    }

    fn scratch(&self) {}

    fn run(&self, input: In, (): &mut ()) -> Result<Out, E> {
        (self.f)(input)
    }
}

/// A stage made from two closures; see [`stage_with`].
#[derive(Clone, Debug)]
pub struct MapWith<M, F> {
    name: &'static str,
    make: M,
    f: F,
}

/// Makes a stage from a closure with per-worker state: `make` builds the state of one worker, `f` works on
/// one item with it.
pub fn stage_with<In, Out, Scratch, E: Into<BoxError>, M, F>(
    name: &'static str,
    make: M,
    f: F,
) -> MapWith<M, F>
where
    M: Fn() -> Scratch,
    F: Fn(In, &mut Scratch) -> Result<Out, E>,
{
    MapWith { name, make, f }
}

impl<In, Out, Scratch, E, M, F> Stage<In> for MapWith<M, F>
where
    E: Into<BoxError>,
    M: Fn() -> Scratch,
    F: Fn(In, &mut Scratch) -> Result<Out, E>,
{
    type Out = Out;
    type Scratch = Scratch;
    type Error = E;

    fn name(&self) -> &'static str {
        self.name
    }

    fn scratch(&self) -> Scratch {
        (self.make)()
    }

    fn run(&self, input: In, scratch: &mut Scratch) -> Result<Out, E> {
        (self.f)(input, scratch)
    }
}

/// A source made from a closure; see [`source`].
#[derive(Clone, Debug)]
pub struct FnSource<F> {
    stage: TryMap<F>,
    len: Option<u64>,
}

/// Makes a source from a closure that gives the item at a position below `len` (`None`: endless).
pub fn source<Item, E: Into<BoxError>, F>(name: &'static str, len: Option<u64>, f: F) -> FnSource<F>
where
    F: Fn(u64) -> Result<Item, E>,
{
    FnSource {
        stage: try_stage(name, f),
        len,
    }
}

impl<Item, E: Into<BoxError>, F: Fn(u64) -> Result<Item, E>> Stage<u64> for FnSource<F> {
    type Out = Item;
    type Scratch = ();
    type Error = E;

    fn name(&self) -> &'static str {
        self.stage.name
    }

    fn scratch(&self) {}

    fn run(&self, position: u64, scratch: &mut ()) -> Result<Item, E> {
        self.stage.run(position, scratch)
    }
}

impl<Item, E: Into<BoxError>, F: Fn(u64) -> Result<Item, E>> Source for FnSource<F> {
    fn len(&self) -> Option<u64> {
        self.len
    }
}
