//! Process 1 of a guest: mounts what every Linux has, loads modules, makes disks, does what it was ordered to do, and ends the machine.
//!
//! The machine ends by a restart, which needs no ACPI and which QEMU was told to take for its end.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount};

use super::orders::{Answer, Disk, Job, ORDERS, Orders, PORT};
use crate::driver::Registry;
use crate::record::{CaseRecord, Feature};
use crate::runner::{self, Plan, PlannedCase, Progress, RunRequest, Standing};
use crate::workload::{self, Scale};

/// Whether this process is the init of a guest of ours.
pub fn is_init() -> bool {
    std::process::id() == 1 && Path::new(ORDERS).is_file()
}

/// Does what was ordered, says how it ended, and ends the machine.
pub fn main() -> ! {
    let end = set_up().and_then(|port| {
        let port = Port(RefCell::new(port));
        let end = obey(&port).map_err(|e| format!("{e:#}"));
        port.say(&Answer::End(end));
        // What the port still holds goes out.
        rustix::termios::tcdrain(&*port.0.borrow()).map_err(anyhow::Error::from)
    });
    if let Err(e) = end {
        // Without a port the console is all there is.
        eprintln!("layerbench guest: {e:#}");
    }
    rustix::fs::sync();
    if let Err(e) = rustix::system::reboot(rustix::system::RebootCommand::Restart) {
        eprintln!("layerbench guest: restart: {e}");
    }
    // Only QEMU's time limit is left.
    loop {
        std::thread::park();
    }
}

/// The port of the answers.
struct Port(RefCell<File>);

impl Port {
    /// Sends an answer. A port that cannot be written leaves nobody to tell.
    fn say(&self, answer: &Answer) {
        if let Err(e) = self.0.borrow_mut().write_all(answer.line().as_bytes()) {
            eprintln!("layerbench guest: write {PORT}: {e}");
        }
    }
}

/// Mounts what programs expect, and opens the port.
fn set_up() -> anyhow::Result<File> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/dev/shm"),
    ] {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::empty(), None)
            .map_err(|e| anyhow::anyhow!("mount {kind} on {place}: {e}"))?;
    }
    // Where memory is charged to control groups; a kernel without them is measured without.
    let charged = mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None)
        .map_err(std::io::Error::from)
        .and_then(|()| fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory"));
    if let Err(e) = charged {
        eprintln!("layerbench guest: mount cgroup2, and turn its memory controller on: {e}");
    }
    let port = OpenOptions::new().write(true).open(PORT).map_err(|e| anyhow::anyhow!("open {PORT}: {e}"))?;
    Ok(port)
}

fn obey(port: &Port) -> anyhow::Result<()> {
    let orders: Orders = serde_json::from_slice(&fs::read(ORDERS)?)?;
    if orders.job == Job::Greet {
        return Ok(());
    }
    for (path, parameters) in &orders.modules {
        let file = File::open(path)?;
        let parameters = std::ffi::CString::new(parameters.as_str())?;
        match nix::kmod::finit_module(&file, &parameters, nix::kmod::ModuleInitFlags::empty()) {
            // It is built in, or another module brought it.
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(e) => port.say(&Answer::Text(format!("module {path} was not loaded: {e}"))),
        }
    }
    let stores = disks(&orders.disks)?;
    match orders.job {
        Job::Greet => Ok(()),
        Job::Print(words) => print(port, &words),
        Job::Run { workloads, smoke, seed, drivers, command } => {
            let scale = if smoke { Scale::Smoke } else { Scale::Real };
            let workloads = workloads
                .iter()
                .map(|path| workload::load(Path::new(path), scale, &Registry))
                .collect::<Result<Vec<_>, _>>()?;
            let plan = Plan::new(&workloads, &stores, &drivers, seed, seed)?;
            let results = PathBuf::from("/run/results");
            let request = RunRequest {
                plan: &plan,
                results: &results,
                smoke,
                prepare: true,
                command,
                layerbench: std::env::current_exe()?,
                standing: &Standing::default(),
            };
            let follow = Follow { port, results: &results, sent: RefCell::new(0) };
            let ended = runner::run(&request, &follow);
            // Attempts that were repeated are no progress, but in the record.
            follow.send_new();
            ended.map(|_| ()).map_err(anyhow::Error::from)
        }
    }
}

/// Runs a program and passes on what it prints.
fn print(port: &Port, words: &[String]) -> anyhow::Result<()> {
    let mut child =
        Command::new(std::env::current_exe()?).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            port.say(&Answer::Text(line?));
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "{} ended with {status}", words.join(" "));
    Ok(())
}

/// Makes and mounts each disk; labels and folders of the stores on them.
fn disks(disks: &[Disk]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut stores = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        let kind = disk.file_system.as_str();
        let place = PathBuf::from(format!("/disk/{index}-{kind}"));
        fs::create_dir_all(&place)?;
        if kind == "tmpfs" {
            let size = std::ffi::CString::new(format!("size={}", disk.bytes))?;
            mount("tmpfs", &place, "tmpfs", MountFlags::empty(), Some(&*size))?;
        } else {
            let device = format!("/dev/ram{index}");
            anyhow::ensure!(
                Path::new(&device).exists(),
                "there is no {device}: the guest's kernel has no RAM disks (CONFIG_BLK_DEV_RAM), or its modules were not given; \
                 --modules, or --disk SIZE,fs=tmpfs"
            );
            let made = Command::new(format!("mkfs.{kind}")).arg(&device).stdout(Stdio::null()).output()?;
            anyhow::ensure!(
                made.status.success(),
                "mkfs.{kind} {device} ended with {}: {}",
                made.status,
                String::from_utf8_lossy(&made.stderr)
            );
            mount(&*device, &place, kind, MountFlags::empty(), None).map_err(|e| {
                anyhow::anyhow!("mount {kind} from {device}: {e}: does the guest's kernel have {kind}?")
            })?;
        }
        let label = if disks.len() == 1 { kind.to_owned() } else { format!("{kind}-{}", index + 1) };
        stores.push((label, place.join("store")));
    }
    Ok(stores)
}

/// Sends the record while it grows, so that what ended before a crash is known outside.
struct Follow<'a> {
    port: &'a Port,
    results: &'a Path,
    /// Bytes of the cases that have been sent; the manifest goes before the first.
    sent: RefCell<u64>,
}

impl Follow<'_> {
    fn send_new(&self) {
        if let Err(e) = self.try_send() {
            self.port.say(&Answer::Text(format!("the record could not be sent: {e}")));
        }
    }

    fn try_send(&self) -> std::io::Result<()> {
        // One run, one folder; none where the run was refused before its first case.
        let mut folders = match fs::read_dir(self.results) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            folders => folders?,
        };
        let Some(folder) = folders.next().transpose()? else { return Ok(()) };
        let folder = folder.path();
        let mut sent = self.sent.borrow_mut();
        if *sent == 0 {
            let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("run.json"))?)?;
            self.port.say(&Answer::Manifest(manifest.to_string()));
        }
        let mut cases = File::open(folder.join("cases.jsonl"))?;
        cases.seek(SeekFrom::Start(*sent))?;
        let mut new = String::new();
        cases.read_to_string(&mut new)?;
        for line in new.lines() {
            self.port.say(&Answer::Case(line.to_owned()));
        }
        *sent += new.len() as u64;
        Ok(())
    }
}

impl Progress for Follow<'_> {
    fn stack(&self, done: usize, of: usize, what: &str) {
        self.port.say(&Answer::Text(format!("stack {}/{of}: {what}", done + 1)));
    }

    fn asleep(&self, _: &Feature) {}

    fn memory(&self, _: u64) {}

    fn begin(&self, _: usize, _: usize, _: &PlannedCase) {}

    fn end(&self, _: usize, _: usize, _: &CaseRecord) {
        self.send_new();
    }
}
