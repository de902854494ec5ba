//! QEMU as a child process: its command line, its answers, its console, and its end, which comes at a time limit at the latest.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::GuestError;
use super::orders::Answer;
use super::programs::find;
use crate::record::Accelerator;
use crate::sys;

/// What the machine is.
#[derive(Debug, Clone)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) console: &'a Path,
    pub(super) memory_bytes: u64,
    pub(super) cpus: u32,
    pub(super) accelerator: Accelerator,
    pub(super) counted: bool,
    /// Parameters of the kernel besides those that every guest has.
    pub(super) parameters: String,
}

/// QEMU's program for this machine's own architecture.
pub(super) fn program() -> Result<PathBuf, GuestError> {
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    find(&name).ok_or_else(|| {
        GuestError::Refused(format!(
            "{name} is not on PATH: apt install qemu-system-x86, or its like for this architecture"
        ))
    })
}

/// What `--version` says.
pub(super) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The arguments.
fn arguments(machine: &Machine) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let mut words: Vec<String> = Vec::new();
    let mut add = |given: &[&str]| words.extend(given.iter().map(|word| (*word).to_owned()));
    // Nothing that is not asked for: no network, no screen, no files of anybody's configuration.
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    match (machine.accelerator, machine.counted) {
        (Accelerator::Kvm, _) => add(&["-accel", "kvm", "-cpu", "host"]),
        (Accelerator::Tcg, false) => add(&["-accel", "tcg", "-cpu", "max"]),
        (Accelerator::Tcg, true) => {
            add(&["-accel", "tcg,thread=single", "-cpu", "max", "-icount", "shift=0,sleep=off"]);
            // The same date each time, which goes on as the guest's own time does.
            add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        }
    }
    add(&["-smp", &machine.cpus.to_string(), "-m", &format!("{}M", machine.memory_bytes >> 20)]);
    // A comma would begin another of QEMU's options.
    let file = |path: &str| path.replace(',', ",,");
    add(&["-serial", &format!("file:{}", file(&path(machine.console))), "-serial", "stdio"]);
    add(&["-kernel", &path(machine.kernel), "-initrd", &path(machine.initramfs)]);
    // An oops is an end: what runs after it is worth nothing. The restart that ends a guest needs no ACPI this way.
    // Addresses that are drawn at random make other paths through the kernel's tables each time.
    let fixed = if machine.counted { "nokaslr norandmaps " } else { "" };
    let parameters = format!("console=ttyS0 panic=-1 oops=panic reboot=t {fixed}{}", machine.parameters);
    add(&["-append", parameters.trim_end()]);
    words
}

/// A running QEMU, killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.0.kill();
        // How it ended is of no interest any more; this is so that no zombie stays.
        let _ = self.0.wait();
    }
}

/// Boots a machine and hands its answers on until it says how it ended.
///
/// # Errors
/// What the guest says; a guest that ends without a word or that reaches the limit, with the line of its console that says why.
pub(super) fn run(
    program: &Path,
    machine: &Machine,
    limit: Duration,
    mut answer: impl FnMut(Answer) -> Result<(), GuestError>,
) -> Result<(), GuestError> {
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments(machine)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sys::process::die_with_parent(&mut command);
    let mut running = Running(command.spawn().map_err(GuestError::io("start", program))?);
    let Some((output, errors)) = running.0.stdout.take().zip(running.0.stderr.take()) else {
        return Err(GuestError::Refused("QEMU has no output".to_owned()));
    };
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let sent = Answer::parse(&String::from_utf8_lossy(&line)).is_none_or(|answer| send.send(answer).is_ok());
            line.clear();
            if !sent {
                break;
            }
        }
    });
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(errors).lines().map_while(Result::ok).take(20) {
            text.push_str(&line);
            text.push(' ');
        }
        text
    });
    let ended = loop {
        let Some(left) = limit.checked_sub(begun.elapsed()) else { break None };
        match receive.recv_timeout(left) {
            Ok(Answer::End(end)) => break Some(end.map_err(GuestError::Guest)),
            Ok(other) => answer(other)?,
            Err(RecvTimeoutError::Timeout) => break None,
            Err(RecvTimeoutError::Disconnected) => {
                // It ended without a word.
                let console = trouble(machine.console);
                let status = running.0.wait().map_err(GuestError::io("wait for", program))?;
                let said = complaints.join().unwrap_or_default();
                return Err(GuestError::Ended {
                    status: status.to_string(),
                    why: console.unwrap_or_else(|| said.trim().to_owned()),
                    console: machine.console.to_owned(),
                });
            }
        }
    };
    drop(running);
    // The reader sees the end of a pipe whose writer is gone. If it panicked, that has been told, and what it sent decides all the same.
    let _ = reader.join();
    ended.unwrap_or_else(|| {
        Err(GuestError::Limit {
            limit,
            why: trouble(machine.console).unwrap_or_else(|| "it was still running".to_owned()),
            console: machine.console.to_owned(),
        })
    })
}

/// The first line of a console that says what went wrong.
fn trouble(console: &Path) -> Option<String> {
    let bytes = fs::read(console).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    blamed(&text).map(str::to_owned)
}

/// The first line that says what went wrong: a bug before the panic that follows from it.
fn blamed(console: &str) -> Option<&str> {
    const SIGNS: [&str; 6] =
        ["BUG:", "kernel BUG at", "Oops", "general protection fault", "Kernel panic", "layerbench guest:"];
    let line = console.lines().find(|line| SIGNS.iter().any(|sign| line.contains(sign)))?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(accelerator: Accelerator, counted: bool) -> Machine<'static> {
        Machine {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            console: Path::new("/a,b/console.log"),
            memory_bytes: 1 << 30,
            cpus: 1,
            accelerator,
            counted,
            parameters: String::new(),
        }
    }

    #[test]
    fn counted_machines_count_and_others_do_not() {
        let line = |accelerator, counted| arguments(&machine(accelerator, counted)).join(" ");
        let counted = line(Accelerator::Tcg, true);
        assert!(counted.contains("tcg,thread=single") && counted.contains("-icount shift=0,sleep=off"), "{counted}");
        assert!(!line(Accelerator::Tcg, false).contains("icount"));
        assert!(line(Accelerator::Kvm, false).contains("-accel kvm -cpu host"));
        assert!(counted.contains("file:/a,,b/console.log") && counted.contains("-m 1024M"), "{counted}");
    }

    #[test]
    fn the_line_that_says_why_is_quoted() {
        let oops = "[ 1.0] all well\n[ 2.0] BUG: unable to handle page fault for address: 00\n[ 2.1] Kernel panic - not syncing\n";
        assert_eq!(blamed(oops), Some("[ 2.0] BUG: unable to handle page fault for address: 00"));
        assert_eq!(blamed("[ 2.1] Kernel panic - not syncing: VFS\n"), Some("[ 2.1] Kernel panic - not syncing: VFS"));
        assert_eq!(blamed("[ 0.0] Linux version 6.1\n"), None);
    }
}
