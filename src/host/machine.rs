//! The machine's fingerprint.

use std::fs;

use super::capabilities;
use super::memory::meminfo;
use crate::record::{Host, Privileges};
use crate::sys;

/// What this machine is. It takes some milliseconds: capabilities are tried.
pub fn fingerprint() -> Host {
    let uname = rustix::system::uname();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let privileges = privileges();
    Host {
        kernel: uname.release().to_string_lossy().into_owned(),
        os: os_name(&read("/etc/os-release")).unwrap_or_else(|| "unknown".into()),
        architecture: uname.machine().to_string_lossy().into_owned(),
        cpu_model: model_of(&cpuinfo),
        cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        cpu_governor: fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            .ok()
            .map(|text| text.trim().to_owned()),
        hypervisor: hypervisor(&cpuinfo),
        memory_bytes: meminfo("MemTotal").ok().flatten().unwrap_or(0),
        page_size_bytes: rustix::param::page_size() as u64,
        privileges,
        capabilities: capabilities::probe(privileges),
    }
}

/// The model of the CPU, `unknown` where the kernel does not say: of a fingerprint, what needs no trying.
pub fn cpu_model() -> String {
    model_of(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn model_of(cpuinfo: &str) -> String {
    cpu_field(cpuinfo, "model name").unwrap_or_else(|| "unknown".into())
}

/// Root is root of the initial user namespace: in another one, drop_caches and the like are out of reach all the same.
fn privileges() -> Privileges {
    let initial = sys::namespace::in_user_namespace().is_ok_and(|inside| !inside);
    if rustix::process::geteuid().is_root() && initial {
        return Privileges::Root;
    }
    if can_unshare() { Privileges::UserNamespace } else { Privileges::None }
}

/// Tries a user and mount namespace in a process of its own: sysctls, LSMs and limits all have a say.
fn can_unshare() -> bool {
    std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn os_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// Value of the first line `name : value`.
fn cpu_field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// A CPU that runs under a hypervisor says so in its flags; who it is, sysfs may know.
fn hypervisor(cpuinfo: &str) -> Option<String> {
    let flags = cpu_field(cpuinfo, "flags")?;
    if !flags.split(' ').any(|flag| flag == "hypervisor") {
        return None;
    }
    let name = ["/sys/hypervisor/type", "/sys/class/dmi/id/sys_vendor"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    Some(name.unwrap_or_else(|| "unnamed".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_proc_and_etc_are_read() {
        assert_eq!(
            os_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(
            cpu_field("a: 1\nmodel name\t: Some CPU @ 2 GHz\nmodel name: other\n", "model name").unwrap(),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(hypervisor("flags : fpu vme\n"), None);
    }
}
