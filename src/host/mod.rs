//! The machine: kernel, privileges, what the kernel offers, and what a store lies on. Facts are tried, not guessed.
//!
//! Parsing takes text; the functions that read files are thin. `driver`, `runner` and `cli` use it.

mod capabilities;
mod machine;
mod memory;
mod mountinfo;
mod passthrough;
mod store;

pub use machine::{cpu_model, fingerprint};
pub use memory::{GroupVersion, free_bytes, meminfo, memory_group, pieces_below};
pub use mountinfo::{MountEntry, mount_table, mounts_below, parse_mountinfo};
pub use store::{HostError, store_info, store_info_of};
