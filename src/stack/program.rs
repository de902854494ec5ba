//! The smallest program: a static ELF executable that ends with status 0, so that a container can be started from a study's stack.
//!
//! A file of a definition that its owner may execute begins with it, and goes on with the content of any other file. One segment, mapped from
//! the whole file; the layout is that of elf(5).

/// Length of the file header.
const EHDR: usize = 64;
/// Length of the one program header.
const PHDR: usize = 56;
/// Where the segment is mapped.
const BASE: u64 = 0x40_0000;
/// Largest page of any architecture below.
const ALIGN: u64 = 0x1_0000;

/// e_machine, and `exit(0)` in its instructions. `None` for an architecture whose program nobody wrote yet.
fn machine() -> Option<(u16, &'static [u8])> {
    match std::env::consts::ARCH {
        // xor edi, edi; mov eax, 60; syscall
        "x86_64" => Some((62, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05])),
        // mov x0, #0; mov x8, #93; svc #0
        "aarch64" => Some((183, &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4])),
        _ => None,
    }
}

/// The beginning of a program whose file is `size` bytes long; `None` where the file is too short or the architecture unknown.
pub(super) fn beginning(size: u64) -> Option<Vec<u8>> {
    let (machine, code) = machine()?;
    let entry = EHDR + PHDR;
    if size < (entry + code.len()) as u64 {
        return None;
    }
    let mut bytes = Vec::with_capacity(entry + code.len());
    // Magic, 64 bit, little endian, version 1, System V ABI, padding.
    bytes.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // e_type: ET_EXEC.
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    // e_version.
    bytes.extend(1u32.to_le_bytes());
    // e_entry, e_phoff, e_shoff.
    for value in [BASE + entry as u64, EHDR as u64, 0] {
        bytes.extend(value.to_le_bytes());
    }
    // e_flags.
    bytes.extend(0u32.to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
    for value in [EHDR as u16, PHDR as u16, 1, 0, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    // p_type: PT_LOAD. p_flags: PF_R | PF_X.
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(5u32.to_le_bytes());
    // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
    for value in [0, BASE, BASE, size, size, ALIGN] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(code);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_ends_with_status_0() {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(mut bytes) = beginning(4096) else {
            eprintln!("skipped: nobody wrote the program for {} yet", std::env::consts::ARCH);
            return;
        };
        assert_eq!(bytes.len(), EHDR + PHDR + machine().unwrap().1.len());
        bytes.resize(4096, 0xaa);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).unwrap();
        file.write_all(&bytes).unwrap();
        drop(file);
        let status = loop {
            match std::process::Command::new(&path).status() {
                // Another thread of these tests may have forked while the file was open for writing.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                status => break status.unwrap(),
            }
        };
        assert!(status.success());
    }

    #[test]
    fn a_file_too_short_for_it_is_no_program() {
        assert!(beginning(100).is_none());
    }
}
