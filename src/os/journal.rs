//! A text file that grows by lines and is now and then replaced. It outlives the process, not a power
//! cut: nothing waits for the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
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

    /// Replaces it as a whole: a reader finds the old content or the new. After an error it is the
    /// old one, and lines can still be added to it.
    pub fn replace(&mut self, content: &str) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        match self.write_and_rename(&temporary, content) {
            Ok(file) => {
                (self.file, self.octets) = (Some(file), content.len());
                Ok(())
            }
            Err(error) => {
                // On a full disk what is left of it would take the room of what follows.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn write_and_rename(&self, temporary: &Path, content: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(temporary)?;
        file.write_all(content.as_bytes())?;
        fs::rename(temporary, &self.path)?;
        Ok(file)
    }

    /// Adds whole lines, all or none; only after it was once replaced.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(lines.as_bytes()) {
            // A full disk may have taken a part, which the next line would continue.
            file.set_len(self.octets as u64)?;
            file.seek(SeekFrom::Start(self.octets as u64))?;
            return Err(error);
        }
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
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::unix::fs::FileExt;

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

    #[test]
    fn after_a_failed_replacement_lines_are_still_added() {
        let directory = TempDir::new();
        let path = directory.path().join("flows");
        let mut journal = Journal::new(&path);
        journal.replace("one\n").expect("replaced");
        fs::create_dir(directory.path().join("flows.new")).expect("something in the way");
        assert!(journal.replace("two\n").is_err());
        journal.append("more\n").expect("added");
        assert_eq!(journal.load().expect("there"), "one\nmore\n");
    }

    #[test]
    fn a_failed_replacement_takes_no_room() {
        let directory = TempDir::new();
        let path = directory.path().join("flows");
        fs::create_dir(&path).expect("something in the way");
        assert!(Journal::new(&path).replace("one\n").is_err());
        assert!(!directory.path().join("flows.new").exists());
    }

    /// A file that may not grow takes a part of what is written, as a full disk does.
    #[test]
    fn no_part_of_a_line_stays() {
        const ROOM: usize = 4096;
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let mut file = File::from(memfd_create("full", flags).expect("a file"));
        file.write_all(b"one\n").expect("written");
        file.set_len(ROOM as u64).expect("grown");
        fcntl_add_seals(&file, SealFlags::GROW).expect("sealed");
        let read = file.try_clone().expect("the same file");
        let mut journal = Journal { path: PathBuf::new(), file: Some(file), octets: 4 };
        assert!(journal.append(&"x".repeat(2 * ROOM)).is_err());
        let mut octets = [0; 8];
        assert_eq!(read.read_at(&mut octets, 0).expect("read"), 4);
        assert_eq!(&octets[..4], b"one\n");
    }
}
