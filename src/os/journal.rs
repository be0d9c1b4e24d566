//! A text file that grows by lines and is now and then replaced. It outlives the process, not a power
//! cut: nothing waits for the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Readable for root and the daemon's group: who talks to whom is nobody else's business.
const MODE: u32 = 0o640;

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    octets: usize,
}

impl Journal {
    /// The journal at `path`, whether there is one yet or not.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, octets: 0 }
    }

    /// What is in it; nothing if there is none.
    pub fn load(&self) -> io::Result<String> {
        match fs::read(&self.path) {
            Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Replaces it as a whole: a reader finds the old content or the new.
    pub fn replace(&mut self, content: &str) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE).custom_flags(libc::O_NOFOLLOW);
        self.file = None;
        let mut file = options.open(&temporary)?;
        file.write_all(content.as_bytes())?;
        fs::rename(&temporary, &self.path)?;
        (self.file, self.octets) = (Some(file), content.len());
        Ok(())
    }

    /// Adds whole lines; only after it was once replaced.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        file.write_all(lines.as_bytes())?;
        self.octets += lines.len();
        Ok(())
    }

    /// How large it is.
    pub fn octets(&self) -> usize {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::tests::TempDir;
    use super::*;

    #[test]
    fn lines_are_added_to_what_was_replaced() {
        let directory = TempDir::new();
        let path = directory.path().join("flows");
        let mut journal = Journal::new(&path);
        assert_eq!(journal.load().expect("none"), "");
        assert!(journal.append("early\n").is_err());
        for content in ["one\n", "two\n"] {
            journal.replace(content).expect("replaced");
            journal.append("more\n").expect("added");
            assert_eq!(journal.load().expect("there"), format!("{content}more\n"));
            assert_eq!(journal.octets(), 9);
        }
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = TempDir::new();
        let (path, victim) = (directory.path().join("flows"), directory.path().join("victim"));
        fs::write(&victim, "untouched").expect("written");
        std::os::unix::fs::symlink(&victim, directory.path().join("flows.new")).expect("a link");
        assert!(Journal::new(&path).replace("mine").is_err());
        assert_eq!(fs::read(&victim).expect("readable"), b"untouched");
    }
}
