//! The words of `-o`: `lowerdir=/a:/b,upperdir=/u,threads=4,nodev`. Parsing only: one table for the driver's options, for mount(8) and for
//! Podman.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::MsFlags;
use nix::unistd::SysconfVar;

use super::owners::{IdMap, Owners};
use super::{UnionConfig, UnionError};
use crate::workload::nearest;

/// How a union is served. `Default` is what a measurement should use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnionOptions {
    /// Threads that answer requests; `threads=N`, 1 to 64. Default: one per processor, at least 2, at most 8.
    pub threads: usize,
    /// How long the thread that waits for requests looks for the next one before it sleeps, while they come in quick succession;
    /// `linger=MICROSECONDS`. Default 50; 0 on a machine with one processor.
    pub linger: Duration,
    /// Take requests by io_uring where the kernel offers it; `uring=on|off`. It needs Linux 6.14 and
    /// `/sys/module/fuse/parameters/enable_uring`, which is off where nobody has switched it on. Default (`None`): on, unless this process may
    /// not run on all processors on which callers may be.
    pub uring: Option<bool>,
    /// Let the kernel read and write opened files by itself where it can; `passthrough=on|off`. Default on. It needs Linux 6.9 and
    /// CAP_SYS_ADMIN outside any user namespace; where that is missing the daemon serves the data, and says so once.
    pub passthrough: bool,
    /// Have the kernel ask whenever somebody opens a file; `opens=on|off`. Passthrough needs that, so that `off` is without. Default (`None`):
    /// off where there is no passthrough, unless permissions or a short `ttl=` are reasons to look at each open.
    pub opens: Option<bool>,
    /// Flush the copied data to the device before a copied-up file takes its name; `fsync=on|off`. Default off, as in overlay's
    /// `volatile`: after a power cut the file may be empty. fsync(2) of an application is always honoured.
    pub fsync: bool,
    /// How long the kernel may keep names and attributes, in seconds; `ttl=N`. Default one day: nobody else changes the layers.
    pub ttl_seconds: u64,
    /// Inode numbers of 32 bits, which old programs need; `inode32`. They are counted, so that the next mount shows others. Default: off, a
    /// file's number is made of its path.
    pub inode32: bool,
    /// Where [`serve`](super::serve) writes its counters; `counters=FILE`. A relative path is seen from where the daemon was started.
    pub counters: Option<PathBuf>,
    /// Whose the files are; `uidmapping=`, `gidmapping=` and `squash_to_uid=` and its like. Default: whose they are in the layers.
    pub owners: Owners,
    /// How it is mounted.
    pub mount: MountOptions,
}

impl Default for UnionOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        UnionOptions {
            threads: processors.clamp(2, 8),
            linger: if online_processors() == 1 { Duration::ZERO } else { Duration::from_micros(50) },
            uring: None,
            passthrough: true,
            opens: None,
            fsync: false,
            ttl_seconds: 86_400,
            inode32: false,
            counters: None,
            owners: Owners::default(),
            mount: MountOptions::default(),
        }
    }
}

/// Processors of the machine, and not those that this process may run on: who asks may run on others. Not knowing means two.
pub(super) fn online_processors() -> usize {
    let online = nix::unistd::sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|online| usize::try_from(online).ok()).unwrap_or(2)
}

/// What mount(8) knows of every file system, and who may use the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// First column of the mount table.
    pub source: OsString,
    /// `ro`, `nodev` and their like. A union without an upper is read-only whatever is said here.
    pub flags: MsFlags,
    /// Whether `allow_other` was asked for. A mount by root, also of a user namespace, is for everybody without asking; one through
    /// fusermount3 is for its user alone, unless this is set and /etc/fuse.conf permits it.
    pub allow_other: bool,
    /// Whether a mount that is there is to get these flags, and nothing to be mounted; `remount`.
    pub remount: bool,
    /// SELinux's words (`context=...`), for the kernel.
    pub security: Vec<OsString>,
}

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            source: "fuse-union".into(),
            flags: MsFlags::empty(),
            allow_other: false,
            remount: false,
            security: Vec::new(),
        }
    }
}

/// The last id that a user or a group can have; the one after it means "none".
const MAX_ID: u64 = u32::MAX as u64 - 1;

/// What a word is for, and so who may give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The layers.
    Layers,
    /// How the union is served.
    Serve,
    /// How it is mounted.
    Mount,
    /// Accepted, without effect: what mount(8) keeps for itself, and what overlay needs for a form on disk that is not ours.
    Ignored,
}

/// A word, what follows it, and what it does.
type Word = (&'static str, &'static str, Class, &'static str);

const WORDS: &[Word] = &[
    (
        "lowerdir",
        "=A:B:C",
        Class::Layers,
        "Read-only layers, the top one first. In a path, \\: is a colon, \\, a comma and \\\\ a backslash",
    ),
    ("upperdir", "=DIR", Class::Layers, "The writable layer. Without it the mount is read-only"),
    (
        "workdir",
        "=DIR",
        Class::Layers,
        "Scratch beside upperdir, on the same mount, made if missing [default: <upperdir>.work]",
    ),
    ("threads", "=N", Class::Serve, "Threads that answer requests, 1 to 64 [default: processors, 2 to 8]"),
    (
        "linger",
        "=MICROSECONDS",
        Class::Serve,
        "How long to look for the next request before sleeping, while they come quickly [default: 50]",
    ),
    (
        "uring",
        "=on|off",
        Class::Serve,
        "Take requests by io_uring where the kernel offers it (/sys/module/fuse/parameters/enable_uring) [default: on, unless kept off some processors]",
    ),
    (
        "passthrough",
        "=on|off",
        Class::Serve,
        "Let the kernel read and write opened files itself, where it can [default: on]",
    ),
    (
        "opens",
        "=on|off",
        Class::Serve,
        "Be asked whenever a file is opened; off: passthrough=off, pages of files are this mount's own, and files are copied up when they are \
         written to [default: on with passthrough, else off]",
    ),
    ("fsync", "=on|off", Class::Serve, "Flush each copy_up to the device before it is visible [default: off]"),
    ("volatile", "", Class::Serve, "The same as fsync=off"),
    ("ttl", "=SECONDS", Class::Serve, "How long the kernel may keep names and attributes [default: 86400]"),
    ("inode32", "", Class::Serve, "Inode numbers of 32 bits, for old programs; they change from mount to mount"),
    ("inode64", "", Class::Serve, "Inode numbers that the next mount shows again [default]"),
    ("counters", "=FILE", Class::Serve, "Write counters to FILE, as JSON: at the mount, at SIGUSR1, and at the end"),
    (
        "remount",
        "",
        Class::Mount,
        "Change the words of mount(8) of a mount that is there, such as ro; others have no effect",
    ),
    ("ro", "", Class::Mount, "Read-only"),
    ("rw", "", Class::Mount, ""),
    ("nosuid", "", Class::Mount, "Without effect of set-user-id and set-group-id bits"),
    ("suid", "", Class::Mount, ""),
    ("nodev", "", Class::Mount, "Without device files"),
    ("dev", "", Class::Mount, ""),
    ("noexec", "", Class::Mount, "Nothing can be executed"),
    ("exec", "", Class::Mount, ""),
    ("sync", "", Class::Mount, ""),
    ("async", "", Class::Mount, ""),
    ("dirsync", "", Class::Mount, ""),
    ("noatime", "", Class::Mount, ""),
    ("atime", "", Class::Mount, ""),
    ("nodiratime", "", Class::Mount, ""),
    ("diratime", "", Class::Mount, ""),
    ("relatime", "", Class::Mount, ""),
    ("norelatime", "", Class::Mount, ""),
    ("strictatime", "", Class::Mount, ""),
    ("nostrictatime", "", Class::Mount, ""),
    ("lazytime", "", Class::Mount, ""),
    ("nolazytime", "", Class::Mount, ""),
    (
        "allow_other",
        "",
        Class::Mount,
        "Let other users in. Root's mounts always do; an ordinary user's, if /etc/fuse.conf has user_allow_other",
    ),
    ("default_permissions", "", Class::Mount, "The kernel checks permissions: always"),
    ("fsname", "=NAME", Class::Mount, "First column of the mount table [default: SOURCE]"),
    (
        "context",
        "=LABEL",
        Class::Mount,
        "SELinux's label for all files; the same for fscontext, defcontext, rootcontext",
    ),
    ("fscontext", "=LABEL", Class::Mount, ""),
    ("defcontext", "=LABEL", Class::Mount, ""),
    ("rootcontext", "=LABEL", Class::Mount, ""),
    (
        "uidmapping",
        "=IN:OUT:COUNT",
        Class::Mount,
        "Show COUNT user ids of the layers, from IN on, as those from OUT on; more triples may follow, after a colon. Ids in none of them \
         belong to nobody (65534) and cannot be given",
    ),
    ("gidmapping", "=IN:OUT:COUNT", Class::Mount, "The same for group ids"),
    ("squash_to_uid", "=N", Class::Mount, "Show all files as this user's; what is written keeps the ids asked for"),
    ("squash_to_gid", "=N", Class::Mount, "The same for the group"),
    ("squash_to_root", "", Class::Mount, "squash_to_uid=0,squash_to_gid=0"),
    ("xattr_permissions", "=0", Class::Mount, ""),
    ("defaults", "", Class::Ignored, ""),
    ("auto", "", Class::Ignored, ""),
    ("noauto", "", Class::Ignored, ""),
    ("user", "", Class::Ignored, ""),
    ("nouser", "", Class::Ignored, ""),
    ("users", "", Class::Ignored, ""),
    ("owner", "", Class::Ignored, ""),
    ("group", "", Class::Ignored, ""),
    ("nofail", "", Class::Ignored, ""),
    ("_netdev", "", Class::Ignored, ""),
    ("comment", "=TEXT", Class::Ignored, ""),
    ("nonempty", "", Class::Ignored, ""),
    ("user_id", "=UID", Class::Ignored, ""),
    ("group_id", "=GID", Class::Ignored, ""),
    ("static_nlink", "", Class::Ignored, ""),
    ("userxattr", "", Class::Ignored, ""),
    ("index", "=on|off", Class::Ignored, ""),
    ("metacopy", "=on|off", Class::Ignored, ""),
    ("redirect_dir", "=on|off|follow|nofollow", Class::Ignored, ""),
    ("nfs_export", "=on|off", Class::Ignored, ""),
    ("xino", "=on|off|auto", Class::Ignored, ""),
];

/// The words with what they do, a line each, for `--help` and the manual.
pub fn describe_options() -> String {
    const COLUMNS: usize = 72;
    let mut text = String::new();
    for (word, value, _, about) in WORDS.iter().filter(|(_, _, _, about)| !about.is_empty()) {
        let mut line = format!("  {:<24}", format!("{word}{value}"));
        for part in about.split(' ') {
            if line.chars().count() + part.chars().count() >= COLUMNS {
                text.push_str(&line);
                line = format!("\n  {:<24}", "");
            }
            line.push(' ');
            line.push_str(part);
        }
        text.push_str(&line);
        text.push('\n');
    }
    let others = |class: Class| {
        let words: Vec<&str> =
            WORDS.iter().filter(|(_, _, c, about)| *c == class && about.is_empty()).map(|(word, ..)| *word).collect();
        words.join(", ")
    };
    text.push_str(&format!("Their opposites and the rest of mount(8): {}.\n", others(Class::Mount)));
    text.push_str(&format!("Accepted without effect: {}, x-*.\n", others(Class::Ignored)));
    text
}

impl UnionOptions {
    /// Parses words such as `threads=2`, each of which may hold several, separated by commas. A later word wins. Only the words that say
    /// how a union is served are known here.
    ///
    /// # Errors
    /// [`UnionError::Option`] names the word and the nearest valid one.
    pub fn parse<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Result<Self, UnionError> {
        let mut config = empty();
        for words in words {
            config.set_all(OsStr::new(words.as_ref()), &|class| class == Class::Serve)?;
        }
        Ok(config.options)
    }
}

impl UnionConfig {
    /// Parses what follows `-o`, layers included. A later word wins.
    ///
    /// # Errors
    /// [`UnionError::Option`] names the word and the nearest valid one; [`UnionError::Config`] when there are no layers.
    pub fn parse<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<Self, UnionError> {
        let mut config = empty();
        for words in words {
            config.set_all(words.as_ref(), &|_| true)?;
        }
        if config.lower.is_empty() && config.upper.is_none() && !config.options.mount.remount {
            return Err(UnionError::Config("no layers: give -o lowerdir=A:B, and upperdir=U to write".into()));
        }
        Ok(config)
    }

    fn set_all(&mut self, words: &OsStr, known: &dyn Fn(Class) -> bool) -> Result<(), UnionError> {
        split(words.as_bytes(), b',', true)
            .into_iter()
            .filter(|word| !word.is_empty())
            .try_for_each(|word| self.set(word, known))
    }

    fn set(&mut self, word: &[u8], known: &dyn Fn(Class) -> bool) -> Result<(), UnionError> {
        let (key, raw) = match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
            None => (word, None),
        };
        let key = String::from_utf8_lossy(key);
        let shown = String::from_utf8_lossy(word);
        let valid: Vec<&str> = WORDS.iter().filter(|(_, _, class, _)| known(*class)).map(|(word, ..)| *word).collect();
        let error = |reason: &str, nearest: Option<String>| UnionError::Option {
            word: shown.clone().into_owned(),
            reason: reason.to_owned(),
            nearest,
        };
        let Some((_, form, class, _)) = WORDS.iter().find(|(word, ..)| *word == key) else {
            let all = known(Class::Ignored);
            return match &*key {
                // mount(8) and its users keep notes in these.
                _ if all && (key.starts_with("x-") || key.starts_with("X-")) => Ok(()),
                "allow_root" if all => Err(error("not supported: use allow_other", None)),
                _ => Err(match nearest(&key, &valid) {
                    Some(near) => error("no such option", Some(near.to_owned())),
                    None if all => error("no such option (fuse-union --help lists them)", None),
                    None => error(&format!("no such option (options: {})", valid.join(", ")), None),
                }),
            };
        };
        if !known(*class) {
            return Err(error("not an option of the driver: it says how to mount, or what", None));
        }
        match (form.is_empty(), raw) {
            (true, Some(_)) => return Err(error("takes no value", Some(key.into_owned()))),
            (false, None | Some(b"")) if *class != Class::Ignored && !matches!(&*key, "threads" | "linger" | "ttl") => {
                return Err(error(&format!("needs a value: {key}{form}"), None));
            }
            _ => {}
        }
        let raw = raw.unwrap_or_default();
        let text = String::from_utf8_lossy(raw);
        let path = || PathBuf::from(OsString::from_vec(unescape(raw)));
        let options = &mut self.options;
        match &*key {
            "lowerdir" => {
                self.lower = split_layers(OsStr::from_bytes(raw));
                if raw.windows(2).any(|pair| pair == b"::") {
                    return Err(error("data-only layers (::) are not supported", None));
                }
                // Podman ends the list with a colon.
                if raw.first() == Some(&b':') {
                    return Err(error("the path before the first colon is empty", None));
                }
            }
            "upperdir" => self.upper = Some(path()),
            "workdir" => self.work = Some(path()),
            "threads" => options.threads = number(&shown, &text, 1, 64)? as usize,
            "linger" => options.linger = Duration::from_micros(number(&shown, &text, 0, 10_000)?),
            "uring" => options.uring = Some(switch(&shown, &key, &text)?),
            "passthrough" => {
                options.passthrough = switch(&shown, &key, &text)?;
                if options.passthrough && options.opens == Some(false) {
                    options.opens = None;
                }
            }
            "opens" => {
                let asked = switch(&shown, &key, &text)?;
                options.opens = Some(asked);
                options.passthrough &= asked;
            }
            "fsync" => options.fsync = switch(&shown, &key, &text)?,
            "volatile" => options.fsync = false,
            "ttl" => options.ttl_seconds = number(&shown, &text, 0, 1_000_000_000)?,
            "inode32" => options.inode32 = true,
            "inode64" => options.inode32 = false,
            "counters" => options.counters = Some(path()),
            "allow_other" => options.mount.allow_other = true,
            "remount" => options.mount.remount = true,
            "fsname" => options.mount.source = OsString::from_vec(unescape(raw)),
            "context" | "fscontext" | "defcontext" | "rootcontext" => {
                options.mount.security.push(OsStr::from_bytes(word).to_owned());
            }
            "uidmapping" | "gidmapping" => {
                let map = IdMap::parse(&text).map_err(|reason| error(&format!("{reason}: {key}{form}"), None))?;
                match &*key {
                    "uidmapping" => options.owners.uid = map,
                    _ => options.owners.gid = map,
                }
            }
            "squash_to_uid" => options.owners.uid = IdMap::Squash(number(&shown, &text, 0, MAX_ID)? as u32),
            "squash_to_gid" => options.owners.gid = IdMap::Squash(number(&shown, &text, 0, MAX_ID)? as u32),
            "squash_to_root" => options.owners = Owners { uid: IdMap::Squash(0), gid: IdMap::Squash(0) },
            "xattr_permissions" if text != "0" => {
                return Err(error(
                    "not supported: permissions are those of the files",
                    Some("xattr_permissions=0".into()),
                ));
            }
            _ if *class == Class::Mount => options.mount.set_flag(&key),
            _ => {}
        }
        Ok(())
    }
}

fn empty() -> UnionConfig {
    UnionConfig { lower: Vec::new(), upper: None, work: None, options: UnionOptions::default() }
}

impl MountOptions {
    fn set_flag(&mut self, key: &str) {
        let (word, on) = match key {
            "rw" => ("ro", false),
            "suid" | "dev" | "exec" | "atime" | "diratime" => (key, false),
            "nosuid" | "nodev" | "noexec" | "noatime" | "nodiratime" => (key.trim_start_matches("no"), true),
            "async" => ("sync", false),
            "norelatime" | "nostrictatime" | "nolazytime" => (key.trim_start_matches("no"), false),
            _ => (key, true),
        };
        let flag = match word {
            "ro" => MsFlags::MS_RDONLY,
            "suid" => MsFlags::MS_NOSUID,
            "dev" => MsFlags::MS_NODEV,
            "exec" => MsFlags::MS_NOEXEC,
            "atime" => MsFlags::MS_NOATIME,
            "diratime" => MsFlags::MS_NODIRATIME,
            "sync" => MsFlags::MS_SYNCHRONOUS,
            "dirsync" => MsFlags::MS_DIRSYNC,
            "relatime" => MsFlags::MS_RELATIME,
            "strictatime" => MsFlags::MS_STRICTATIME,
            "lazytime" => MsFlags::MS_LAZYTIME,
            // default_permissions and the like: what is always so.
            _ => MsFlags::empty(),
        };
        self.flags.set(flag, on);
    }
}

/// Paths between colons; `\:` is a colon, `\,` a comma and `\\` a backslash. Empty pieces are left out.
pub fn split_layers(text: &OsStr) -> Vec<PathBuf> {
    split(text.as_bytes(), b':', false)
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(|piece| PathBuf::from(OsString::from_vec(unescape(piece))))
        .collect()
}

/// Whether one of the layers in such a list has no name.
pub fn lacks_a_layer(text: &OsStr) -> bool {
    split(text.as_bytes(), b':', false).iter().any(|piece| piece.is_empty())
}

/// A value or a path as a word of `-o`, or a list of layers, can hold it.
pub fn escape(text: &OsStr) -> OsString {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        if b":,\\".contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsString::from_vec(escaped)
}

/// Pieces between separators, as they are written: a separator behind a backslash does not separate, nor, where there are quotes, one
/// between two of them behind `=` (SELinux's labels have commas).
fn split(text: &[u8], separator: u8, quotes: bool) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let (mut start, mut at, mut quoted) = (0, 0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if quoted => quoted = false,
            b'"' if quotes && at > 0 && text.get(at - 1) == Some(&b'=') => quoted = true,
            byte if *byte == separator && !quoted => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    pieces.push(text.get(start..).unwrap_or_default());
    pieces
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.iter().copied().peekable();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match bytes.peek() {
            Some(next) if byte == b'\\' && b":,\\".contains(next) => plain.extend(bytes.next()),
            _ => plain.push(byte),
        }
    }
    plain
}

fn number(word: &str, value: &str, low: u64, high: u64) -> Result<u64, UnionError> {
    match value.parse::<u64>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(UnionError::Option {
            word: word.to_owned(),
            reason: format!("needs a number from {low} to {high}"),
            nearest: None,
        }),
    }
}

fn switch(word: &str, key: &str, value: &str) -> Result<bool, UnionError> {
    match value {
        "on" | "1" => Ok(true),
        "off" | "0" => Ok(false),
        _ => Err(UnionError::Option {
            word: word.to_owned(),
            reason: "needs on or off".into(),
            // Of two that are equally near to "of", the first.
            nearest: nearest(value, &["off", "on"]).map(|value| format!("{key}={value}")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parsed_and_the_later_one_wins() {
        let options = UnionOptions::parse(["threads=3,passthrough=off", "fsync=on", "threads=5", "ttl=0"]).unwrap();
        let wanted =
            UnionOptions { threads: 5, passthrough: false, fsync: true, ttl_seconds: 0, ..UnionOptions::default() };
        assert_eq!(options, wanted);
        assert_eq!(UnionOptions::parse([""]).unwrap(), UnionOptions::default());
        let opens = |words| UnionOptions::parse([words]).map(|options| (options.passthrough, options.opens)).unwrap();
        assert_eq!(opens("opens=off"), (false, Some(false)));
        assert_eq!(opens("opens=off,passthrough=on"), (true, None));
        assert_eq!(opens("passthrough=off,opens=on"), (false, Some(true)));
        assert!(!UnionOptions::parse(["fsync=1,volatile"]).unwrap().fsync);
        assert!(UnionOptions::parse(["inode64,inode32"]).unwrap().inode32);
        assert_eq!(UnionOptions::parse(["counters=/a\\,b"]).unwrap().counters, Some("/a,b".into()));
    }

    #[test]
    fn a_wrong_word_names_the_nearest_valid_one() {
        for (word, hint) in [
            ("passtrough=on", "did you mean \"passthrough\"?"),
            ("thread=2", "did you mean \"threads\"?"),
            ("passthrough=of", "did you mean \"passthrough=off\"?"),
            ("threads=0", "needs a number from 1 to 64"),
            ("threads", "needs a number from 1 to 64"),
            ("lowerdir=/a", "not an option of the driver"),
            ("metacopy=on", "not an option of the driver"),
            ("x-what", "no such option (options: threads, linger, "),
        ] {
            let message = UnionOptions::parse([word]).unwrap_err().to_string();
            assert!(message.contains(hint) && message.contains(word), "{message}");
        }
        for (word, hint) in [
            ("upperdirr=/u", "did you mean \"upperdir\"?"),
            ("nodve", "did you mean \"nodev\"?"),
            ("ro=1", "takes no value; did you mean \"ro\"?"),
            ("upperdir", "needs a value: upperdir=DIR"),
            ("upperdir=", "needs a value"),
            ("lowerdir=/a::/b", "data-only"),
            ("uidmapping=", "needs a value: uidmapping=IN:OUT:COUNT"),
            ("uidmapping=0:0", "triples"),
            ("gidmapping=0:x:1", "triples"),
            ("squash_to_uid=x", "needs a number from 0 to 4294967294"),
            ("squash_to_root=1", "takes no value"),
            ("xattr_permissions=2", "not supported"),
            ("allow_root", "use allow_other"),
            ("remount=1", "takes no value"),
            ("=", "no such option (fuse-union --help lists them)"),
        ] {
            let message = UnionConfig::parse([format!("lowerdir=/l,{word}")]).unwrap_err().to_string();
            assert!(message.contains(hint), "{word}: {message}");
        }
        let message = UnionConfig::parse(["rw,nodev"]).unwrap_err().to_string();
        assert!(message.contains("no layers"), "{message}");
    }

    #[test]
    fn every_word_of_the_table_is_understood() {
        for (word, form, ..) in WORDS {
            let value = match *word {
                "uidmapping" | "gidmapping" => "=:0:0:65536:70000:70000:1",
                "xattr_permissions" => "=0",
                "threads" | "linger" | "ttl" | "squash_to_uid" | "squash_to_gid" => "=1",
                "uring" | "passthrough" | "opens" | "fsync" => "=0",
                _ if form.is_empty() => "",
                _ => "=on",
            };
            UnionConfig::parse([format!("lowerdir=/l,{word}{value}")]).unwrap();
        }
    }

    #[test]
    fn layers_may_hold_what_separates() {
        let text = r"rw,lowerdir=/a\:b:/c\,d:/e\\:/f\g,upperdir=/u\,v,workdir=w:x,nodev";
        let config = UnionConfig::parse([text]).unwrap();
        let shown: Vec<_> = config.lower.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(shown, ["/a:b", "/c,d", r"/e\", r"/f\g"]);
        assert_eq!((config.upper, config.work), (Some("/u,v".into()), Some("w:x".into())));
        assert_eq!(config.options.mount.flags, MsFlags::MS_NODEV);
        assert!(split_layers(OsStr::new("")).is_empty() && split_layers(OsStr::new("::")).is_empty());
        // What Podman writes for an image without a writable layer and without others below.
        assert_eq!(UnionConfig::parse(["lowerdir=/a:"]).unwrap().lower, [PathBuf::from("/a")]);
        assert_eq!(split_layers(OsStr::new("/ends\\")), [PathBuf::from("/ends\\")]);
        let odd = OsStr::new(r"/a:b\c,d\");
        assert_eq!(split_layers(&escape(odd)), [PathBuf::from(odd)]);
    }

    #[test]
    fn flags_of_mount_are_the_kernels_and_the_later_one_wins() {
        let flags = |text: &str| UnionConfig::parse([format!("lowerdir=/l,{text}")]).unwrap().options.mount.flags;
        assert_eq!(flags("ro,nosuid,noexec"), MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC);
        assert_eq!(flags("ro,rw,nodev,dev,noatime,atime,sync,async,lazytime,nolazytime"), MsFlags::empty());
        assert_eq!(flags("default_permissions,defaults,_netdev,x-systemd.automount"), MsFlags::empty());
    }

    #[test]
    fn a_label_keeps_its_commas_and_its_quotes() {
        let config = UnionConfig::parse([r#"lowerdir=/l,context="u:r:t:s0:c1,c2",nodev"#]).unwrap();
        assert_eq!(config.options.mount.security, [OsString::from(r#"context="u:r:t:s0:c1,c2""#)]);
        assert_eq!(config.options.mount.flags, MsFlags::MS_NODEV);
    }
}
