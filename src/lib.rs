//! layerbench: a benchmark and performance-study harness for the layered file systems under containers.
//!
//! Data flows one way: `workload` -> `stack` -> `driver` -> `probe` -> `record` | files | `analysis` -> `chart` -> `report`.
//! Only files under `results/` cross the bar. Which module may use which is written down, and tested, in
//! `tests/architecture.rs`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod analysis;
pub mod chart;
pub mod cli;
pub mod driver;
pub mod guest;
pub mod host;
pub mod medium;
pub mod probe;
pub mod record;
pub mod report;
pub mod runner;
pub mod stack;
pub mod sys;
pub mod union;
pub mod workload;
