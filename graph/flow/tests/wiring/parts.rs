//! Stages that the cases wire up.
#![allow(dead_code)]

use std::convert::Infallible;

use intertwine_flow::{source, Batch, FnSource, Stage};

pub struct Picture;
pub struct Views;
pub struct Masked;

pub fn pictures() -> FnSource<fn(u64) -> Result<Picture, Infallible>> {
    source("Pictures", Some(4), |_| Ok(Picture))
}

macro_rules! stage {
    ($name:ident: $in:ty => $out:expr, $Out:ty) => {
        #[derive(Clone)]
        pub struct $name;

        impl Stage<$in> for $name {
            type Out = $Out;
            type Scratch = ();
            type Error = Infallible;

            fn name(&self) -> &'static str {
                stringify!($name)
            }

            fn scratch(&self) {}

            fn run(&self, _: $in, (): &mut ()) -> Result<$Out, Infallible> {
                Ok($out)
            }
        }
    };
}
stage!(Augment: Picture => Views, Views);
stage!(Mask: Views => Masked, Masked);
stage!(Step: Batch<Masked> => (), ());
