//! The same study under another kernel: boots it in QEMU with a first root file system of our own making, in which this very program is process
//! 1, and takes the record back while it grows. The host needs no privileges.
//!
//! Only the command line uses it. It measures nothing itself: in the guest the ordinary runner runs.

mod init;
mod initramfs;
mod modules;
mod orders;
mod programs;
mod qemu;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use init::{is_init, main as init_main};
pub use orders::Disk;

use crate::record::{Accelerator, CaseRecord, Guest, RecordError, RunManifest, RunWriter};
use initramfs::Initramfs;
use orders::{Answer, Job, ORDERS, Orders};
use qemu::Machine;

/// Modules that a guest may need and a kernel may not have built in.
const MODULES: [&str; 9] = ["overlay", "fuse", "brd", "ext4", "xfs", "btrfs", "crc32c_generic", "libcrc32c", "aufs"];
/// How long a kernel may take to greet, under KVM, before it is held to hang.
const GREETING: Duration = Duration::from_secs(8);
/// Bytes of a kernel that say what it is.
const KERNEL_HEADER: u64 = 0x206;
/// Where this program lies in the guest.
const PROGRAM: &str = "/bin/layerbench";

/// What can go wrong with a guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// It cannot be done like this.
    #[error("{0}")]
    Refused(String),
    /// The guest did not do what it was asked to do.
    #[error("the guest says: {0}")]
    Guest(String),
    /// The guest ended without a word.
    #[error("the guest ended ({status}): {why}; its console is in {console}", console = console.display())]
    Ended {
        /// How QEMU ended.
        status: String,
        /// The line of the console, or of QEMU, that says why.
        why: String,
        /// The console.
        console: PathBuf,
    },
    /// The guest took too long.
    #[error("the guest was ended after {}: {why}; its console is in {console}", humantime::format_duration(*limit), console = console.display())]
    Limit {
        /// How long it had.
        limit: Duration,
        /// The line of the console that says why.
        why: String,
        /// The console.
        console: PathBuf,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The guest sent a record that is none.
    #[error("the guest's record cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl GuestError {
    fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> GuestError + 'a {
        move |errno| GuestError::Io { operation, path: path.to_owned(), errno }
    }
}

/// Refuses what is no kernel: QEMU would start it, and nobody would learn why nothing happens.
pub fn check_kernel(path: &Path) -> Result<(), GuestError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(GuestError::io("open", path))?;
    file.take(KERNEL_HEADER).read_to_end(&mut start).map_err(GuestError::io("read", path))?;
    // The header of Linux's boot protocol (Documentation/arch/x86/boot.rst), or an ELF file, which QEMU boots as well. Other architectures have
    // images of other forms.
    let is_kernel = start.get(0x202..0x206) == Some(b"HdrS") || start.starts_with(b"\x7fELF");
    if is_kernel || std::env::consts::ARCH != "x86_64" {
        return Ok(());
    }
    let reason = "is no kernel: it has no boot header; give a bzImage, such as /boot/vmlinuz-6.1.0-18-amd64";
    Err(GuestError::Refused(format!("{}: {reason}", path.display())))
}

/// The machine that a guest runs on.
#[derive(Debug, Clone)]
pub struct GuestMachine {
    /// The kernel: a bzImage or what else QEMU boots.
    pub kernel: PathBuf,
    /// Its modules: a folder, or a Debian package of the kernel; `None` where all that is needed is built in.
    pub modules: Option<PathBuf>,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Its processors.
    pub cpus: u32,
    /// Its disks, in its memory.
    pub disks: Vec<Disk>,
    /// Whether its clock counts instructions.
    pub counted: bool,
    /// How long it may run.
    pub limit: Duration,
}

/// What is measured in a guest.
#[derive(Debug)]
pub struct GuestRun<'a> {
    /// Files of workloads on the host.
    pub workloads: &'a [PathBuf],
    /// Whether their smoke values are used.
    pub smoke: bool,
    /// Seed of contents and order.
    pub seed: u64,
    /// Drivers, as `run` takes them.
    pub drivers: &'a [String],
    /// The command line, for the record.
    pub command: Vec<String>,
    /// Folder of all results.
    pub results: &'a Path,
}

/// Files of a guest, on the host, removed at the end.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Result<Files, GuestError> {
        let folder = tempfile::tempdir().map_err(GuestError::io("create folder in", &std::env::temp_dir()))?;
        Ok(Files { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A guest that is ready to be booted.
struct Prepared<'a> {
    machine: &'a GuestMachine,
    files: Files,
    qemu: PathBuf,
    modules: Vec<modules::Module>,
    accelerator: Accelerator,
}

impl<'a> Prepared<'a> {
    /// Finds QEMU, the modules and the accelerator; `say` is told which.
    fn new(machine: &'a GuestMachine, say: &mut dyn FnMut(&str)) -> Result<Prepared<'a>, GuestError> {
        let files = Files::new()?;
        let qemu = qemu::program()?;
        let modules = match &machine.modules {
            None => Vec::new(),
            Some(given) => {
                let folder = modules::folder(given, &files.path("modules"))?;
                let found = modules::resolve(&folder, &MODULES)?;
                if found.is_empty() {
                    return Err(GuestError::Refused(format!(
                        "--modules {}: no module of layerbench's is in it ({})",
                        given.display(),
                        MODULES.join(", ")
                    )));
                }
                found
            }
        };
        let mut prepared = Prepared { machine, files, qemu, modules, accelerator: Accelerator::Tcg };
        prepared.accelerator = prepared.choose(say)?;
        Ok(prepared)
    }

    /// KVM, if this kernel gets through under it; /dev/kvm alone proves nothing.
    fn choose(&self, say: &mut dyn FnMut(&str)) -> Result<Accelerator, GuestError> {
        if self.machine.counted {
            say("accelerator: TCG, counting instructions");
            return Ok(Accelerator::Tcg);
        }
        if let Err(e) = File::options().read(true).write(true).open("/dev/kvm") {
            say(&format!("accelerator: TCG, an emulated CPU (/dev/kvm: {e})"));
            return Ok(Accelerator::Tcg);
        }
        let greet = Orders { job: Job::Greet, modules: Vec::new(), disks: Vec::new() };
        let console = self.files.path("greeting.log");
        match self.boot(&greet, &[], Accelerator::Kvm, &console, GREETING, |_| Ok(())) {
            Ok(()) => {
                say("accelerator: KVM");
                Ok(Accelerator::Kvm)
            }
            Err(e) => {
                // Its console goes with this probe's folder.
                let e = e.to_string();
                let why = e.split("; its console is in").next().unwrap_or(&e);
                say(&format!("accelerator: TCG, an emulated CPU (under KVM {why})"));
                Ok(Accelerator::Tcg)
            }
        }
    }

    /// Boots with orders, and hands its answers on.
    fn boot(
        &self,
        orders: &Orders,
        workloads: &[PathBuf],
        accelerator: Accelerator,
        console: &Path,
        limit: Duration,
        answer: impl FnMut(Answer) -> Result<(), GuestError>,
    ) -> Result<(), GuestError> {
        let initramfs = self.files.path("initramfs");
        self.write_initramfs(&initramfs, orders, workloads)?;
        let (number, kilobytes) = ram_disks(&orders.disks);
        let machine = Machine {
            kernel: &self.machine.kernel,
            initramfs: &initramfs,
            console,
            memory_bytes: self.machine.memory_bytes,
            cpus: self.machine.cpus,
            accelerator,
            counted: self.machine.counted,
            parameters: format!("brd.rd_nr={number} brd.rd_size={kilobytes}"),
        };
        qemu::run(&self.qemu, &machine, limit, answer)
    }

    fn write_initramfs(&self, path: &Path, orders: &Orders, workloads: &[PathBuf]) -> Result<(), GuestError> {
        let mut archive = Initramfs::default();
        for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/etc", "/disk", "/root"] {
            archive.folder(Path::new(folder));
        }
        archive.character_device(Path::new("/dev/console"), 0o600, (5, 1));
        archive.symlink(Path::new("/init"), PROGRAM);
        let own = std::env::current_exe().map_err(GuestError::io("find", Path::new("/proc/self/exe")))?;
        add_program(&mut archive, &own, PROGRAM)?;
        for disk in orders.disks.iter().filter(|disk| disk.file_system != "tmpfs") {
            let name = format!("mkfs.{}", disk.file_system);
            let Some(program) = programs::find(&name) else {
                return Err(GuestError::Refused(format!(
                    "{name} is not on this machine, and the guest needs it: install e2fsprogs, xfsprogs or btrfs-progs, or use fs=tmpfs"
                )));
            };
            add_program(&mut archive, &program, &format!("/bin/{name}"))?;
        }
        // Also for who only looks: what a guest has must be what it says that it has.
        if let Some(program) = programs::find("fuse-overlayfs").filter(|_| orders.job != Job::Greet) {
            add_program(&mut archive, &program, "/bin/fuse-overlayfs")?;
        }
        // Without it mke2fs makes an older file system than it would here.
        let conf = Path::new("/etc/mke2fs.conf");
        if let Ok(content) = fs::read(conf) {
            archive.file(conf, 0o644, &content);
        }
        for (path, content) in named(&self.modules) {
            archive.file(Path::new(&path), 0o644, content);
        }
        for path in workloads {
            let content = fs::read(path).map_err(GuestError::io("read", path))?;
            archive.file(Path::new(&in_guest(path)), 0o644, &content);
        }
        archive.file(Path::new(ORDERS), 0o644, &serde_json::to_vec(orders)?);
        fs::write(path, archive.finish()).map_err(GuestError::io("write", path))
    }

    /// Orders for the modules and disks of this machine.
    fn orders(&self, job: Job) -> Orders {
        let (number, kilobytes) = ram_disks(&self.machine.disks);
        let modules = self
            .modules
            .iter()
            .zip(named(&self.modules))
            .map(|(module, (path, _))| {
                let disks = module.name == "brd";
                (path, if disks { format!("rd_nr={number} rd_size={kilobytes}") } else { String::new() })
            })
            .collect();
        Orders { job, modules, disks: self.machine.disks.clone() }
    }

    /// What the record says of the machine, besides what it finds out itself.
    fn description(&self) -> Guest {
        Guest {
            accelerator: self.accelerator,
            counted: self.machine.counted,
            qemu: qemu::version(&self.qemu),
            host_kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            host_cpu_model: crate::host::cpu_model(),
        }
    }
}

/// Modules with their files in the guest.
fn named(modules: &[modules::Module]) -> impl Iterator<Item = (String, &[u8])> {
    modules.iter().map(|module| (format!("/modules/{}.ko", module.name), &module.content[..]))
}

/// Where a workload lies in the guest.
fn in_guest(workload: &Path) -> String {
    format!("/workloads/{}", workload.file_name().unwrap_or_default().to_string_lossy())
}

/// Adds a program, and what it needs, where it looks for it.
fn add_program(archive: &mut Initramfs, program: &Path, place: &str) -> Result<(), GuestError> {
    let content = fs::read(program).map_err(GuestError::io("read", program))?;
    archive.file(Path::new(place), 0o755, &content);
    for path in programs::needed(program)? {
        let content = fs::read(&path).map_err(GuestError::io("read", &path))?;
        archive.file(&path, 0o755, &content);
    }
    Ok(())
}

/// How many RAM disks, and of how many kilobytes each: the kernel makes all alike.
fn ram_disks(disks: &[Disk]) -> (usize, u64) {
    let largest = disks.iter().filter(|disk| disk.file_system != "tmpfs").map(|disk| disk.bytes).max();
    (disks.len(), largest.unwrap_or(0) / 1024)
}

/// Has this program print something in a guest: `words` are its arguments, `line` is handed what it prints, `say` what is said of the guest.
pub fn print<E: From<GuestError>>(
    machine: &GuestMachine,
    words: &[&str],
    say: &mut dyn FnMut(&str),
    line: &mut dyn FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let prepared = Prepared::new(machine, say)?;
    let orders = prepared.orders(Job::Print(words.iter().map(|word| (*word).to_owned()).collect()));
    let console = tempfile::Builder::new().prefix("layerbench-console.").suffix(".log").tempfile();
    let console = console.map_err(GuestError::io("create a file in", &std::env::temp_dir()))?;
    let mut lines = Vec::new();
    let booted = prepared.boot(&orders, &[], prepared.accelerator, console.path(), machine.limit, |answer| {
        if let Answer::Text(text) = answer {
            lines.push(text);
        }
        Ok(())
    });
    if let Err(GuestError::Ended { .. } | GuestError::Limit { .. }) = &booted {
        // The error names it.
        console.keep().map_err(|e| GuestError::io("keep", e.file.path())(e.error))?;
    }
    booted?;
    lines.iter().try_for_each(|text| line(text))
}

/// Measures in a guest. The run's folder looks like any other, and holds `console.log` besides; what ended before a guest went wrong stays in
/// it.
pub fn run(machine: &GuestMachine, run: &GuestRun, say: &mut dyn FnMut(&str)) -> Result<PathBuf, GuestError> {
    let prepared = Prepared::new(machine, say)?;
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let (name, folder) = RunWriter::reserve(run.results, now.get(..10).unwrap_or(&now))?;
    let orders = prepared.orders(Job::Run {
        workloads: run.workloads.iter().map(|path| in_guest(path)).collect(),
        smoke: run.smoke,
        seed: run.seed,
        drivers: run.drivers.to_vec(),
        command: run.command.clone(),
    });
    let guest = prepared.description();
    let console = folder.join("console.log");
    let mut writer: Option<RunWriter> = None;
    let (mut done, mut of) = (0u32, 0u32);
    prepared.boot(&orders, run.workloads, prepared.accelerator, &console, machine.limit, |answer| {
        match answer {
            Answer::Text(line) => say(&line),
            Answer::Manifest(json) => {
                let manifest: RunManifest = serde_json::from_str(&json)?;
                of = manifest.planned_cases;
                // The guest's clock and counter of runs are its own.
                let manifest =
                    RunManifest { run: name.clone(), started: now.clone(), guest: Some(guest.clone()), ..manifest };
                writer = Some(RunWriter::create(&folder, &manifest)?);
            }
            Answer::Case(json) => {
                let record: CaseRecord = serde_json::from_str(&json)?;
                if let Some(writer) = &mut writer {
                    writer.append(&record)?;
                }
                if !record.superseded {
                    done += 1;
                    say(&format!("{done}/{of} {} ({} ms)", record.case.id, record.elapsed_ms));
                }
            }
            Answer::End(_) => {}
        }
        Ok(())
    })?;
    Ok(folder)
}
