//! Asking systemd for the firewall rules. natttd as a service has no right to start programs with
//! more rights than its own: a path unit, `nattt-repair.path`, watches a file in its runtime directory
//! and loads the rules when that is written.

use std::path::{Path, PathBuf};

/// In the runtime directory; the path unit names it, too.
const WANTED: &str = "rules-wanted";

/// Where to ask; nowhere if this is no service.
#[derive(Debug, Default)]
pub(super) struct Repair(Option<PathBuf>);

impl Repair {
    /// systemd names the runtime directory of a service in its environment (systemd.exec(5)).
    pub(super) fn of_service() -> Self {
        let directory = std::env::var_os("RUNTIME_DIRECTORY");
        Self(directory.map(|directory| Path::new(&directory).join(WANTED)))
    }

    /// Asks for the rules to be loaded.
    pub(super) fn ask(&self) {
        let Some(file) = &self.0 else { return };
        if let Err(error) = std::fs::write(file, "") {
            log::warn!("{}: {error}; load the rules with `nattt rules apply`", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::control::tests::TempDir;

    #[test]
    fn asking_is_writing_the_file() {
        let directory = TempDir::new();
        let file = directory.path().join(WANTED);
        Repair::default().ask();
        assert!(!file.exists(), "without a service manager nobody is asked");
        Repair(Some(file.clone())).ask();
        assert!(file.exists());
    }
}
