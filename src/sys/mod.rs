//! Raw system calls that no library offers safely: the only home of `unsafe` in this crate.
//!
//! Every function here is safe to call, takes borrowed descriptors or paths, and returns `std::io::Result`, so that the errno is
//! kept. Nothing of layerbench's own logic lives here.
#![allow(unsafe_code)]

pub mod cache;
pub mod fuse;
pub mod fuse_ring;
pub mod loop_device;
pub mod mapping;
pub mod memory;
pub mod mount_copy;
pub mod namespace;
pub mod pagemap;
pub mod process;
