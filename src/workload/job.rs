//! The jobs that people wait for.

use serde::{Deserialize, Serialize};

/// A program that works on a whole tree of files, from its start to its end. What each does exactly is in docs/METHODOLOGY.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// tar of the tree into a pipe that is read to its end: reads everything and writes nothing.
    Tar,
    /// chown -R of the tree to another owner: changes no data.
    Chown,
    /// cp -a of the tree to another folder of the mount.
    Copy,
    /// rm -r of the tree.
    Remove,
    /// tar -x of an archive of the tree into another folder of the mount: writes and reads nothing of the layers.
    Unpack,
    /// git status of a repository whose files the tree is, none of them changed: looks every name up, lists every folder, reads no data.
    Git,
    /// dpkg -i of a package whose files replace files of the tree.
    Install,
    /// Compiling and linking the C sources of the tree.
    Compile,
    /// Transactions on an SQLite database that lies in a layer, each durable before the next.
    Sqlite,
}

impl Job {
    /// All of them.
    pub const ALL: [Job; 9] =
        [Job::Tar, Job::Git, Job::Chown, Job::Copy, Job::Remove, Job::Unpack, Job::Install, Job::Compile, Job::Sqlite];
    /// Whether it works on whatever files there are, and so on those of an imported image; the others need what a built tree alone has: C sources
    /// that compile without anything else, a database, a package.
    pub fn works_on_images(self) -> bool {
        match self {
            Job::Tar | Job::Git | Job::Chown | Job::Copy | Job::Remove | Job::Unpack => true,
            Job::Install | Job::Compile | Job::Sqlite => false,
        }
    }
    /// As written in a workload.
    pub fn as_str(self) -> &'static str {
        match self {
            Job::Tar => "tar",
            Job::Git => "git",
            Job::Chown => "chown",
            Job::Copy => "copy",
            Job::Remove => "remove",
            Job::Unpack => "unpack",
            Job::Install => "install",
            Job::Compile => "compile",
            Job::Sqlite => "sqlite",
        }
    }
    /// As people call it.
    pub fn words(self) -> &'static str {
        match self {
            Job::Tar => "read the tree with tar",
            Job::Git => "git status of the tree",
            Job::Chown => "chown -R of the tree",
            Job::Copy => "copy the tree with cp -a",
            Job::Remove => "remove the tree with rm -r",
            Job::Unpack => "unpack an archive with tar -x",
            Job::Install => "install a package with dpkg",
            Job::Compile => "compile the tree’s C sources",
            Job::Sqlite => "SQLite transactions",
        }
    }
}
