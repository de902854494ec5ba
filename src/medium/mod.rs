//! What a store lies on: the class of its device, measured; and a spinning disk that is modelled, for machines that have none.
//!
//! The kernel's rotational flag is a claim, and virtual disks often make a wrong one. What tells a spinning disk from another is what a
//! seek costs: a read of a random place takes milliseconds, one of the place behind the last read does not.
//!
//! `runner` and `cli` use it. It knows stores, and neither layers nor drivers.

mod disk;
mod probe;
mod serve;

pub use disk::{DISKS, DataSheet, SpinningDisk};
pub use probe::medium_of;
pub use serve::{Attached, DiskError, attach, detach, release, serve};
