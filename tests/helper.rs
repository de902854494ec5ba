//! `fuse-union`, the program: as mount(8), Podman and people call it; how it ends; what it counts.
//!
//! Each test runs as root, or else in a user namespace of its own; where neither is possible it says so and is skipped.

#[path = "helper/bed.rs"]
mod bed;
#[path = "helper/counters.rs"]
mod counters;
#[path = "helper/end.rs"]
mod end;
#[allow(dead_code)]
#[path = "union/fixture.rs"]
mod fixture;
#[path = "helper/install.rs"]
mod install;
#[path = "helper/io_uring.rs"]
mod io_uring;
#[path = "helper/options.rs"]
mod options;
#[path = "helper/unprivileged.rs"]
mod unprivileged;
