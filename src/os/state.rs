//! Files that outlive the daemon. A reader finds the old content or the new, never a part.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Readable for root and the daemon's group: names and addresses are nobody else's business.
const MODE: u32 = 0o640;

/// What could not be done with a file.
#[derive(Debug)]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, path, source } = self;
        write!(f, "cannot {doing} {}: {source}; {}", path.display(), self.advice())
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl FileError {
    fn advice(&self) -> &'static str {
        match self.source.kind() {
            ErrorKind::NotFound => "create its directory",
            ErrorKind::PermissionDenied => "give natttd access to the file and its directory",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space",
            ErrorKind::ReadOnlyFilesystem => {
                "make the file system writable (ReadWritePaths= in a systemd unit)"
            }
            _ => "see that its directory exists and natttd may write there",
        }
    }
}

/// Replaces the file's content at once; after a crash it is the old or the new one, whole.
pub fn save(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = with_suffix(path, ".new");
    let saved = write_synced(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(path));
    saved.map_err(|source| {
        // Best effort: the next save overwrites what is left.
        let _ = fs::remove_file(&temporary);
        FileError { doing: "save", path: path.to_owned(), source }
    })
}

/// Ends a save that a kill cut off: waiting for the disk may take seconds, during which the new content
/// is there under another name. `is_whole` tells it from a part.
pub fn finish(path: &Path, is_whole: impl FnOnce(&[u8]) -> bool) -> Result<(), FileError> {
    let temporary = with_suffix(path, ".new");
    let mut content = Vec::new();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let left = options.open(&temporary).and_then(|mut file| {
        file.read_to_end(&mut content)?;
        Ok(file)
    });
    match left {
        Ok(file) if is_whole(&content) => file
            .sync_all()
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_directory(path))
            .map_err(|source| FileError { doing: "save", path: path.to_owned(), source }),
        // The next save overwrites it.
        _ => Ok(()),
    }
}

/// The file's content; nothing if there is no file yet.
pub fn load(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { doing: "read", path: path.to_owned(), source }),
    }
}

/// Moves a file that cannot be used out of the way, over one that was moved before, and says
/// where it is now.
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let aside = with_suffix(path, ".aside");
    match fs::rename(path, &aside).and_then(|()| sync_directory(path)) {
        Ok(()) => Ok(aside),
        Err(source) => Err(FileError { doing: "move aside", path: path.to_owned(), source }),
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    // A file left by a crash, or an unusual umask, may have given it another mode.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(content)?;
    file.sync_all()
}

/// The new name of a renamed file survives a power cut only once its directory is on disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::control::tests::TempDir;
    use super::*;

    fn names_in(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).expect("a directory");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        entries.map(|entry| name(entry).into_string().expect("text")).collect()
    }

    #[test]
    fn a_save_that_was_cut_off_is_finished_if_it_is_whole() {
        let directory = TempDir::new();
        let file = directory.path().join("mappings.json");
        let temporary = directory.path().join("mappings.json.new");
        let is_whole = |content: &[u8]| content.ends_with(b"}");
        finish(&file, is_whole).expect("nothing to do");
        assert!(load(&file).expect("no error").is_none());
        save(&file, b"{old}").expect("saved");
        for (left, loaded) in [("{new", "{old}"), ("", "{old}"), ("{new}", "{new}")] {
            fs::write(&temporary, left).expect("written");
            finish(&file, is_whole).expect("finished");
            assert_eq!(load(&file).expect("loaded").as_deref(), Some(loaded.as_bytes()));
        }
        assert_eq!(names_in(&directory), ["mappings.json"]);
        std::os::unix::fs::symlink(&file, &temporary).expect("a link");
        finish(&file, |_| true).expect("nothing to do");
        assert!(file.symlink_metadata().expect("a file").is_file(), "no link is taken over");
    }

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let directory = TempDir::new();
        let file = directory.path().join("mappings.json");
        assert!(load(&file).expect("no error").is_none());
        for content in [&b"one"[..], b"another", b""] {
            save(&file, content).expect("saved");
            assert_eq!(load(&file).expect("loaded").as_deref(), Some(content));
        }
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, MODE);
        assert_eq!(names_in(&directory), ["mappings.json"]);
    }

    #[test]
    fn a_failed_save_leaves_the_old_content() {
        let directory = TempDir::new();
        let file = directory.path().join("mappings.json");
        save(&file, b"old").expect("saved");
        fs::create_dir(with_suffix(&file, ".new")).expect("something in the way");
        assert!(save(&file, b"new").is_err());
        assert_eq!(load(&file).expect("loaded").as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = TempDir::new();
        let (file, victim) = (directory.path().join("file"), directory.path().join("victim"));
        fs::write(&victim, "untouched").expect("written");
        std::os::unix::fs::symlink(&victim, with_suffix(&file, ".new")).expect("a link");
        assert!(save(&file, b"new").is_err());
        assert_eq!(fs::read(&victim).expect("readable"), b"untouched");
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let directory = TempDir::new();
        let file = directory.path().join("missing/mappings.json");
        let message = save(&file, b"").expect_err("no directory").to_string();
        assert!(
            message.contains("missing/mappings.json") && message.contains("create"),
            "{message}"
        );
    }

    #[test]
    fn an_unusable_file_is_moved_aside() {
        let directory = TempDir::new();
        let file = directory.path().join("mappings.json");
        save(&file, b"from the future").expect("saved");
        let aside = set_aside(&file).expect("moved");
        assert!(load(&file).expect("no error").is_none());
        assert_eq!(fs::read(aside).expect("kept"), b"from the future");
    }
}
