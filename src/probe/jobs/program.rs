//! Programs of the machine: found, made resident, started with a clean environment.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::probe::{PATH, ProbeError, READ_BUFFER_BYTES, at, complaint};

/// A program that a job runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Its name.
    pub name: &'static str,
    /// The packages of Debian that have it.
    pub package: &'static str,
}

impl Program {
    /// A command in a folder, with nothing of the caller's environment but where programs are. What it says goes into a file, so that
    /// nobody has to read a pipe meanwhile.
    pub fn command(&self, folder: &Path, said: &Path) -> Result<Command, ProbeError> {
        let mut command = Command::new(self.name);
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        command.env_clear().envs([("LC_ALL", "C"), ("HOME", "/nonexistent"), ("TZ", "UTC")]).env("PATH", path);
        let file = || File::create(said).map_err(at("create", said));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file()?);
        Ok(command)
    }

    /// Whether it did its work: where not, what it said.
    pub fn check(&self, ended: io::Result<ExitStatus>, said: &Path) -> Result<(), ProbeError> {
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(complaint(self.name, status, said)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(self.unavailable()),
            Err(e) => Err(at("start", Path::new(self.name))(e)),
        }
    }

    fn unavailable(&self) -> ProbeError {
        ProbeError::Unavailable {
            reason: format!("there is no program {:?} here", self.name),
            remedy: format!("apt install {}", self.package),
        }
    }

    /// Runs it on a file that nobody needs.
    pub fn warm_on_a_file(&self, args: &[&str], scratch: &Path) -> Result<(), ProbeError> {
        let (said, file) = (scratch.join("said"), scratch.join("warm"));
        fs::write(&file, "").map_err(at("write", &file))?;
        self.check(self.command(scratch, &said)?.args(args).arg(&file).status(), &said)
    }

    /// Runs it once for nothing, so that its file is resident; returns its version, for the record.
    pub fn warm(&self, scratch: &Path) -> Result<String, ProbeError> {
        let said = scratch.join("said");
        let mut command = self.command(scratch, &said)?;
        let output = match command.arg("--version").stdout(Stdio::piped()).output() {
            Ok(output) => output,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.unavailable()),
            Err(e) => return Err(at("start", Path::new(self.name))(e)),
        };
        self.check(Ok(output.status), &said)?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(format!("{}: {}", self.name, text.lines().next().unwrap_or("of an unknown version").trim()))
    }
}

/// Compiles and links a program that does nothing: a compiler is several programs and many files.
pub(super) fn warm_compiler(cc: &Program, scratch: &Path) -> Result<(), ProbeError> {
    let (said, source) = (scratch.join("said"), scratch.join("warm.c"));
    fs::write(&source, "int main(void) { return 0; }\n").map_err(at("write", &source))?;
    let mut command = cc.command(scratch, &said)?;
    cc.check(command.args(["-O1", "-pipe", "-o", "warm", "warm.c"]).status(), &said)
}

/// Runs a command and reads what it writes to its end: how many bytes that were, and how it ended.
pub(super) fn read_to_end(command: &mut Command) -> io::Result<(u64, ExitStatus)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut total = 0;
    if let Some(mut pipe) = child.stdout.take() {
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => total += n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Without a reader it ends by itself.
                    drop(pipe);
                    child.wait()?;
                    return Err(e);
                }
            }
        }
    }
    Ok((total, child.wait()?))
}

/// Runs a command with a text on its standard input.
pub(super) fn feed(command: &mut Command, text: &str) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let fed = match child.stdin.take() {
        Some(mut pipe) => pipe.write_all(text.as_bytes()),
        None => Ok(()),
    };
    let status = child.wait()?;
    match fed {
        // One that ends early has said why.
        Err(e) if status.success() => Err(e),
        _ => Ok(status),
    }
}
