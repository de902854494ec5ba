//! The packages that a tree's container has installed: a database of dpkg, so that installing one more has as much to read as on a small
//! system. Its format is that of dpkg(1): paragraphs in `status`, and a list of files for each package in `info/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The database, relative to the root of a container.
pub const PACKAGES: &str = "data/dpkg";
/// Packages: as many as a minimal Debian with a few programs has.
const COUNT: u32 = 200;
/// Files and folders of each.
const FILES: u32 = 25;

/// Every file of the database.
pub(super) fn files() -> impl Iterator<Item = PathBuf> {
    let lists = (0..COUNT).map(|n| Path::new(PACKAGES).join("info").join(list_name(n)));
    ["status", "info/format"].into_iter().map(|name| Path::new(PACKAGES).join(name)).chain(lists)
}

fn list_name(n: u32) -> String {
    format!("{}.list", name(n))
}

fn name(n: u32) -> String {
    format!("package-{n:03}")
}

/// The content of a file of the database; `None` for all others.
pub(super) fn content(path: &Path) -> Option<Vec<u8>> {
    let inside = path.strip_prefix(PACKAGES).ok()?;
    if inside == Path::new("status") {
        return Some((0..COUNT).map(paragraph).collect::<String>().into_bytes());
    }
    if inside == Path::new("info/format") {
        return Some(b"1\n".to_vec());
    }
    let list = inside.strip_prefix("info").ok()?.to_str()?;
    (0..COUNT).find(|n| list_name(*n) == list).map(|n| paths(n).into_bytes())
}

/// What `status` says of a package.
fn paragraph(n: u32) -> String {
    format!(
        "Package: {}\nStatus: install ok installed\nPriority: optional\nSection: misc\nInstalled-Size: {}\n\
         Maintainer: nobody <nobody@localhost>\nArchitecture: all\nVersion: 1.{n}-1\nDescription: package {n} of a study\n\n",
        name(n),
        100 + n
    )
}

/// The files of a package. Nobody looks whether they are there.
fn paths(n: u32) -> String {
    let mut text = format!("/.\n/usr\n/usr/share\n/usr/share/{}\n", name(n));
    for file in 0..FILES {
        // Writing to a string cannot fail.
        writeln!(text, "/usr/share/{}/file-{file:02}", name(n)).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_database_has_a_content_and_nothing_else_has() {
        let files: Vec<PathBuf> = files().collect();
        assert_eq!(files.len(), COUNT as usize + 2);
        assert!(files.iter().all(|path| content(path).is_some_and(|bytes| bytes.ends_with(b"\n"))));
        let status = String::from_utf8(content(&Path::new(PACKAGES).join("status")).unwrap()).unwrap();
        assert_eq!(status.matches("Status: install ok installed\n").count(), COUNT as usize);
        for other in ["data/dpkg", "data/dpkg/info", "data/dpkg/info/package-999.list", "data/tree/status", "status"] {
            assert_eq!(content(Path::new(other)), None, "{other}");
        }
    }
}
