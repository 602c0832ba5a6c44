//! Intertwine: from unlabelled pictures to an object detector on a small device.

pub mod augment;
pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod feed;
pub mod field;
pub mod files;
pub mod finetune;
pub mod ladder;
pub mod nn;
pub mod pretrain;
pub mod probe;
pub mod records;
pub mod report;
pub mod run;
pub mod schedule;
