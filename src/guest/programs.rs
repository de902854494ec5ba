//! Which files a program needs besides itself: its interpreter and its shared objects, so that the host's programs run in a guest that has
//! nothing else. The dynamic loader is asked (ld.so(8), `--list`); it knows where it looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::GuestError;

/// A program on PATH, or where administrators' programs are, which an ordinary user's PATH may lack.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The files that a program needs, itself not among them; none where it is linked statically. Paths are where the program looks for them.
pub(super) fn needed(program: &Path) -> Result<Vec<PathBuf>, GuestError> {
    let bytes = fs::read(program).map_err(GuestError::io("read", program))?;
    let Some(interpreter) = interpreter(&bytes) else { return Ok(Vec::new()) };
    let output = Command::new(&interpreter)
        .arg("--list")
        .arg(program)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(GuestError::io("start", &interpreter))?;
    if !output.status.success() {
        return Err(GuestError::Refused(format!(
            "{} --list {} ended with {}: what the program needs is not known",
            interpreter.display(),
            program.display(),
            output.status
        )));
    }
    let mut found = listed(&String::from_utf8_lossy(&output.stdout));
    if !found.contains(&interpreter) {
        found.push(interpreter);
    }
    Ok(found)
}

/// The paths in what `ld.so --list` prints: `name => path (address)` and `path (address)`; the kernel's vdso has none.
fn listed(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let place = line.split_once("=> ").map_or(line, |(_, place)| place);
            let path = place.split_once(" (").map_or(place, |(path, _)| path).trim();
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

/// The interpreter that an ELF file of 64 bits asks for (PT_INTERP, elf(5)); `None` for a static program and for what is no program.
fn interpreter(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)))
    };
    let word = |at: usize, length: usize| usize::try_from(number(at, length)?).ok();
    // Magic, 64 bits, little endian.
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
    for index in 0..count {
        let header = table.checked_add(size.checked_mul(index)?)?;
        if number(header, 4)? == PT_INTERP {
            let (offset, length) = (word(header.checked_add(8)?, 8)?, word(header.checked_add(32)?, 8)?);
            let name = elf.get(offset..offset.checked_add(length)?)?;
            let name = name.split(|byte| *byte == 0).next()?;
            return Some(PathBuf::from(String::from_utf8_lossy(name).into_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_what_the_loader_lists() {
        let text =
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(listed(text), [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
    }

    #[test]
    fn this_program_needs_its_interpreter_and_files_that_are_there() {
        let own = std::env::current_exe().unwrap();
        let needed = needed(&own).unwrap();
        if interpreter(&fs::read(&own).unwrap()).is_none() {
            assert!(needed.is_empty(), "a static program needs nothing");
            return;
        }
        assert!(needed.len() >= 2 && needed.iter().all(|path| path.is_file()), "{needed:?}");
    }

    #[test]
    fn what_is_no_program_has_no_interpreter() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01", &[0xff; 200], b"\x7fELF\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(interpreter(bytes), None);
        }
    }
}
