//! Private namespaces: mounts that nobody else sees and that go with the process that made them.

use std::fs;
use std::io;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Whether this process is in a user namespace other than the initial one, which maps every id to itself (user_namespaces(7)).
pub fn in_user_namespace() -> io::Result<bool> {
    Ok(!is_identity(&fs::read_to_string("/proc/self/uid_map")?))
}

/// Whether a uid_map is that of the initial user namespace.
fn is_identity(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Enters a private mount namespace. As root that is all; otherwise a user namespace comes with it, in which the caller's own user
/// and group are root. The process must have one thread (EINVAL otherwise).
pub fn enter_private(root: bool) -> io::Result<()> {
    if root {
        unshare(CloneFlags::CLONE_NEWNS)?;
    } else {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        // user_namespaces(7): gid_map may be written by the unprivileged only when setgroups is denied.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    // Nothing that is mounted here may reach the namespace that we came from.
    mount_change(Path::new("/"), MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_initial_user_namespace_maps_every_id_to_itself() {
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("         0       1000          1\n"));
        assert!(!is_identity("0 0 4294967295\n1 1 1\n"));
    }
}
