//! Work that is done again and again. Its failure is logged once, until it works again: a line a
//! second would fill the log and say nothing new.

use std::fmt::Display;

use log::Level;

/// One kind of such work.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    failing: bool,
}

impl Repeated {
    /// Whether it failed when it was done last.
    pub(super) fn failing(&self) -> bool {
        self.failing
    }

    /// Takes note of what came of it, and logs that if it is news.
    pub(super) fn done(&mut self, what: &str, result: Result<(), impl Display>) {
        if let Some((level, line)) = self.news(what, result) {
            log::log!(level, "{line}");
        }
    }

    fn news(&mut self, what: &str, result: Result<(), impl Display>) -> Option<(Level, String)> {
        let before = std::mem::replace(&mut self.failing, result.is_err());
        match result {
            Err(error) if !before => {
                Some((Level::Warn, format!("{what}: {error}; natttd tries again")))
            }
            Ok(()) if before => Some((Level::Info, format!("{what}: works again"))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_so_is_its_end() {
        let mut work = Repeated::default();
        let fine = Ok::<(), &str>(());
        let news = |level, text: &str| Some((level, text.to_owned()));
        assert_eq!(work.news("saving", fine), None);
        let failed = news(Level::Warn, "saving: disk full; natttd tries again");
        assert_eq!(work.news("saving", Err("disk full")), failed);
        assert_eq!(work.news("saving", Err("disk on fire")), None);
        assert!(work.failing());
        assert_eq!(work.news("saving", fine), news(Level::Info, "saving: works again"));
        assert_eq!(work.news("saving", fine), None);
        assert!(!work.failing());
    }
}
