//! The configuration file, where it cannot be read.

use std::io;

/// What to do about a file that cannot be read.
pub fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: write one (README.md shows short ones, \
                                    nattt.toml(5) has every setting), or name another with `--config PATH`"
            .into(),
        _ => format!("{error}; name the configuration with `--config PATH`"),
    }
}
