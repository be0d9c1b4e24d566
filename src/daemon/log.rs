//! Logging through `log` and `env_logger`, so that journald shows levels.

use std::io::Write;

use env_logger::{Builder, Env};
use log::{Level, LevelFilter};

/// Starts logging to standard error. `RUST_LOG` chooses what is logged, `info` without it.
pub fn start() {
    let mut builder = Builder::new();
    // It tells of every message at level debug.
    builder.filter_module("mnl", LevelFilter::Info);
    builder.parse_env(Env::default().default_filter_or("info"));
    // systemd sets it where standard error is the journal, which reads the level from `<N>`
    // (sd-daemon(3)) and adds the time itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format(|out, record| {
            writeln!(out, "<{}>{}", syslog_level(record.level()), record.args())
        });
    }
    builder.init();
}

/// Severities of RFC 5424 §6.2.1.
fn syslog_level(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
