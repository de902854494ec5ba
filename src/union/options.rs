//! The words of `-o`: `threads=4,passthrough=off`. Parsing only.

use super::UnionError;

/// How a union is served. `Default` is what a measurement should use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnionOptions {
    /// Threads that answer requests; `threads=N`, 1 to 64. Default: one per processor, at least 2, at most 8.
    pub threads: usize,
    /// Let the kernel read and write opened files by itself where it can; `passthrough=on|off`. Default on. It needs Linux 6.9 and
    /// CAP_SYS_ADMIN outside any user namespace, and is given up silently (the daemon serves the data) where that is missing.
    pub passthrough: bool,
    /// Flush the copied data to the device before a copied-up file takes its name; `fsync=on|off`. Default off, as in overlay's
    /// `volatile`: after a power cut the file may be empty. fsync(2) of an application is always honoured.
    pub fsync: bool,
    /// How long the kernel may keep names and attributes, in seconds; `ttl=N`. Default one day: nobody else changes the layers.
    pub ttl_seconds: u64,
}

impl Default for UnionOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        UnionOptions { threads: processors.clamp(2, 8), passthrough: true, fsync: false, ttl_seconds: 86_400 }
    }
}

const KEYS: [&str; 4] = ["threads", "passthrough", "fsync", "ttl"];

impl UnionOptions {
    /// Parses words such as `threads=2`, each of which may hold several, separated by commas. A later word wins.
    ///
    /// # Errors
    /// [`UnionError::Option`] names the word and the nearest valid one.
    pub fn parse<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Result<Self, UnionError> {
        let mut options = UnionOptions::default();
        for words in words {
            for word in words.as_ref().split(',').filter(|word| !word.is_empty()) {
                options.set(word)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, word: &str) -> Result<(), UnionError> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "threads" => self.threads = number(word, value, 1, 64)? as usize,
            "passthrough" => self.passthrough = switch(word, key, value)?,
            "fsync" => self.fsync = switch(word, key, value)?,
            "ttl" => self.ttl_seconds = number(word, value, 0, 1_000_000_000)?,
            _ => return Err(error(word, "no such option".into(), nearest(key, &KEYS))),
        }
        Ok(())
    }
}

fn number(word: &str, value: &str, low: u64, high: u64) -> Result<u64, UnionError> {
    match value.parse::<u64>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(error(word, format!("needs a number from {low} to {high}"), None)),
    }
}

fn switch(word: &str, key: &str, value: &str) -> Result<bool, UnionError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => {
            let nearest = nearest(value, &["on", "off"]).map(|value| format!("{key}={value}"));
            Err(error(word, "needs on or off".into(), nearest))
        }
    }
}

fn nearest(word: &str, valid: &[&str]) -> Option<String> {
    // Unlike an edit distance, this tells "off" from "on" as the nearer one of "of".
    let likeness = |candidate: &&&str| (strsim::jaro_winkler(word, candidate) * 1e6) as u64;
    valid.iter().max_by_key(likeness).map(|word| word.to_string())
}

fn error(word: &str, reason: String, nearest: Option<String>) -> UnionError {
    UnionError::Option { word: word.to_string(), reason, nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parsed_and_the_later_one_wins() {
        let options = UnionOptions::parse(["threads=3,passthrough=off", "fsync=on", "threads=5", "ttl=0"]).unwrap();
        assert_eq!(options, UnionOptions { threads: 5, passthrough: false, fsync: true, ttl_seconds: 0 });
        assert_eq!(UnionOptions::parse([""]).unwrap(), UnionOptions::default());
    }

    #[test]
    fn a_wrong_word_names_the_nearest_valid_one() {
        for (word, hint) in [
            ("passtrough=on", "did you mean \"passthrough\"?"),
            ("thread=2", "did you mean \"threads\"?"),
            ("passthrough=of", "did you mean \"passthrough=off\"?"),
            ("threads=0", "needs a number from 1 to 64"),
            ("threads", "needs a number from 1 to 64"),
        ] {
            let message = UnionOptions::parse([word]).unwrap_err().to_string();
            assert!(message.contains(hint) && message.contains(word), "{message}");
        }
    }
}
