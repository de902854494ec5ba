//! The witnesses of the page-cache probe, against each other: what they say decides a verdict, so they must be able to say both things.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use layerbench::sys::{cache, pagemap};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_written_file_is_resident_and_an_evicted_one_is_not_by_both_witnesses() {
    let folder = scratch();
    let path = folder.path().join("file");
    File::create_new(&path).unwrap().write_all(&[7; 3 * 65536 + 1]).unwrap();
    let file = File::open(&path).unwrap();
    let page = rustix::param::page_size() as u64;
    let whole = (3 * 65536 + 1u64).div_ceil(page) * page;
    assert_eq!(cache::resident_bytes(&file).unwrap(), whole);
    assert_eq!(cache::resident_bytes_mincore(&file).unwrap(), whole);
    cache::evict(&file).unwrap();
    assert_eq!(cache::resident_bytes(&file).unwrap(), 0);
    assert_eq!(cache::resident_bytes_mincore(&file).unwrap(), 0);
}

#[test]
fn an_empty_file_has_nothing_resident_and_no_frames() {
    let folder = scratch();
    let path = folder.path().join("empty");
    File::create_new(&path).unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(cache::resident_bytes(&file).unwrap(), 0);
    assert_eq!(cache::resident_bytes_mincore(&file).unwrap(), 0);
    assert!(pagemap::frame_numbers(&file).unwrap().is_empty());
}

#[test]
fn a_private_mapping_that_was_touched_is_the_page_cache_s_memory() {
    let folder = scratch();
    let path = folder.path().join("file");
    std::fs::write(&path, vec![1; 65536 + 1]).unwrap();
    let file = File::open(&path).unwrap();
    cache::evict(&file).unwrap();
    let mapping = pagemap::Mapping::private(&file).unwrap().unwrap();
    assert_eq!(mapping.length(), 65536 + 1);
    assert_eq!(cache::resident_bytes(&file).unwrap(), 0, "mapping alone reads nothing");
    mapping.touch();
    let page = rustix::param::page_size() as u64;
    assert_eq!(cache::resident_bytes(&file).unwrap(), 65537u64.div_ceil(page) * page);
    // As an ordinary user both are hidden, and that is the same, too.
    assert_eq!(mapping.frames().unwrap(), pagemap::frame_numbers(&file).unwrap());
    let empty = folder.path().join("empty");
    let empty = File::create_new(&empty).and_then(|_| File::open(&empty)).unwrap();
    assert!(pagemap::Mapping::private(&empty).unwrap().is_none());
}

#[test]
fn a_file_shares_its_frames_with_itself_and_not_with_a_copy() {
    let folder = scratch();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    std::fs::write(&a, vec![1; 65536]).unwrap();
    std::fs::write(&b, vec![1; 65536]).unwrap();
    let frames = |path: &Path| pagemap::frame_numbers(&File::open(path).unwrap()).unwrap();
    let (first, again, copy) = (frames(&a), frames(&a), frames(&b));
    assert_eq!(first.len(), 65536 / rustix::param::page_size());
    if first.iter().any(Option::is_none) {
        eprintln!("skipped: page frame numbers are hidden without root");
        return;
    }
    assert_eq!(first, again);
    assert!(first.iter().zip(&copy).all(|(x, y)| x != y));
    // Added up by frame, one file under two descriptors is there once.
    let open = [&a, &a, &b].map(|path| File::open(path).unwrap());
    assert_eq!(cache::resident_bytes_together(open.iter()).unwrap(), Some(2 * 65536));
    cache::evict(&open[2]).unwrap();
    assert_eq!(cache::resident_bytes_together(open.iter()).unwrap(), Some(65536));
}
