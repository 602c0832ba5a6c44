//! The crate from outside: models built here, pictures drawn here, the program run as people run it.

mod detector;
mod drawing;
mod hostile_models;
mod hostile_pictures;
mod mutated_models;
mod program;
mod results;
#[cfg(feature = "serve")]
mod serve;
mod squares;
mod watch;
