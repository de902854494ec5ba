//! The FUSE union, through a real mount: what the merged tree shows, and what lies in the upper afterwards.
//!
//! Each test runs as root, or else in a user namespace of its own; where neither is possible it says so and is skipped.

#[path = "union/access_times.rs"]
mod access_times;
#[path = "union/data.rs"]
mod data;
#[path = "union/fixture.rs"]
mod fixture;
#[path = "union/hard_links.rs"]
mod hard_links;
#[path = "union/listing.rs"]
mod listing;
#[path = "union/locks.rs"]
mod locks;
#[path = "union/merge.rs"]
mod merge;
#[path = "union/metadata.rs"]
mod metadata;
#[path = "union/model.rs"]
mod model;
#[path = "union/numbers.rs"]
mod numbers;
#[path = "union/open.rs"]
mod open;
#[path = "union/owners.rs"]
mod owners;
#[path = "union/privileges.rs"]
mod privileges;
#[path = "union/reference.rs"]
mod reference;
#[path = "union/rename.rs"]
mod rename;
#[path = "union/shortage.rs"]
mod shortage;
#[path = "union/special.rs"]
mod special;
#[path = "union/unopened.rs"]
mod unopened;
#[path = "union/whiteout.rs"]
mod whiteout;
