//! Reading the configuration file.

use std::fs;
use std::path::Path;

use crate::config::{Config, ConfigError};
use crate::os::configuration;

/// Why there is no configuration.
#[derive(Debug)]
pub(super) enum SourceError {
    /// The file cannot be read.
    Unreadable(String),
    /// It says something wrong.
    Wrong(ConfigError),
}

/// Reads the file as natttd does.
pub(super) fn read(path: &Path) -> Result<Config, SourceError> {
    let text = fs::read_to_string(path)
        .map_err(|error| SourceError::Unreadable(configuration::unreadable(&error)))?;
    Config::parse(&text).map_err(SourceError::Wrong)
}

/// The same, with an error that names the file.
pub(super) fn named(path: &Path) -> Result<Config, String> {
    read(path).map_err(|error| error.about(path))
}

impl SourceError {
    /// The line that is wrong, counted from 1, if it is one.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::Unreadable(_) => None,
            Self::Wrong(error) => error.line(),
        }
    }

    /// What is wrong with the file, and what to do.
    pub(super) fn about(&self, path: &Path) -> String {
        match self {
            Self::Unreadable(message) => format!("{}: {message}", path.display()),
            Self::Wrong(error) => format!("{}: {error}", path.display()),
        }
    }
}
