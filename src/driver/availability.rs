//! What decides for several drivers whether they are there.

use crate::record::{Feature, Host, Privileges};

/// Available with a detail, where the caller may mount at all.
pub(super) fn available_to_mount(host: &Host, detail: &str) -> Feature {
    match host.privileges {
        Privileges::Root | Privileges::UserNamespace => Feature::available(detail),
        Privileges::None => Feature::missing(
            "an ordinary user without user namespaces cannot mount",
            "run as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)",
        ),
    }
}

/// Whether the kernel has a file system now, by /proc/filesystems.
pub(super) fn has_file_system(name: &str) -> bool {
    lists(&std::fs::read_to_string("/proc/filesystems").unwrap_or_default(), name)
}

fn lists(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split_ascii_whitespace().next_back() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_whole_words() {
        let list = "nodev\toverlay\n\text4\nnodev\tnotaufs\n";
        assert!(lists(list, "overlay") && lists(list, "ext4") && !lists(list, "aufs"));
    }
}
