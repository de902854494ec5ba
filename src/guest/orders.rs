//! What the host asks of a guest, and how the guest answers: a file in the guest's first root file system, and lines on its second serial port.
//!
//! The second serial port is there on every PC kernel that has a console, without a module; its kernel driver adds a carriage return to each
//! line, which is taken off again.

use serde::{Deserialize, Serialize};

/// Where the orders lie in the guest. What runs as process 1 and finds them is a guest's init.
pub(super) const ORDERS: &str = "/layerbench-guest.json";
/// The serial port of the answers in the guest.
pub(super) const PORT: &str = "/dev/ttyS1";

/// What to do, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) job: Job,
    /// Modules to load, in order: files in the guest, with their parameters.
    pub(super) modules: Vec<(String, String)>,
    /// File systems to make, each on a disk of its own.
    pub(super) disks: Vec<Disk>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Job {
    /// Say that the kernel got this far.
    Greet,
    /// Run this program with these arguments, and send what it prints.
    Print(Vec<String>),
    /// Measure.
    Run {
        /// Files of workloads in the guest.
        workloads: Vec<String>,
        smoke: bool,
        seed: u64,
        drivers: Vec<String>,
        /// The command line on the host, for the record.
        command: Vec<String>,
    },
}

/// A disk of the guest, in its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its file system: `ext4`, `xfs`, `btrfs`, or `tmpfs`, which has no disk under it.
    pub file_system: String,
}

/// A line from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The manifest of the run, as JSON.
    Manifest(String),
    /// A case, as JSON.
    Case(String),
    /// Something for whoever waits.
    Text(String),
    /// It is done, or could not be done, and why.
    End(Result<(), String>),
}

impl Answer {
    /// As sent: a letter, a space, text without line feeds.
    pub(super) fn line(&self) -> String {
        let (letter, text) = match self {
            Answer::Manifest(json) => ('M', json.as_str()),
            Answer::Case(json) => ('C', json.as_str()),
            Answer::Text(text) => ('T', text.as_str()),
            Answer::End(Ok(())) => ('E', ""),
            Answer::End(Err(why)) => ('X', why.as_str()),
        };
        format!("{letter} {}\n", text.replace(['\n', '\r'], " "))
    }

    /// From a line; `None` where it is none of these, as what a kernel or firmware may write on any port.
    pub(super) fn parse(line: &str) -> Option<Answer> {
        let (letter, text) = line.trim_end_matches(['\n', '\r']).split_once(' ')?;
        let text = text.to_owned();
        match letter {
            "M" => Some(Answer::Manifest(text)),
            "C" => Some(Answer::Case(text)),
            "T" => Some(Answer::Text(text)),
            "E" => Some(Answer::End(Ok(()))),
            "X" => Some(Answer::End(Err(text))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_arrive_as_they_were_sent() {
        for answer in [
            Answer::Manifest("{\"a\": 1}".into()),
            Answer::Case("{}".into()),
            Answer::Text("two words".into()),
            Answer::End(Ok(())),
            Answer::End(Err("no disk".into())),
        ] {
            let line = answer.line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Answer::parse(&line), Some(answer.clone()));
            assert_eq!(Answer::parse(&line.replace('\n', "\r\n")), Some(answer));
        }
        assert_eq!(Answer::Text("two\nlines".into()).line(), "T two lines\n");
        for noise in ["", "\n", "[    0.1] tty", "Q x", "E"] {
            assert_eq!(Answer::parse(noise), None, "{noise:?}");
        }
    }
}
