//! Kernel settings under /proc/sys, of this network namespace.

use std::io;
use std::path::{Path, PathBuf};

/// `net.ipv4.udp_early_demux`: finding a connected socket before the firewall has seen a packet.
pub const UDP_EARLY_DEMUX: &str = "net/ipv4/udp_early_demux";
/// `net.ipv4.conf.INTERFACE.forwarding`: whether packets for other hosts that arrive there are passed
/// on. (`net.ipv4.ip_forward` sets it on all interfaces, and resets other settings.)
pub fn forwarding(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/forwarding")
}

/// The interfaces of this network namespace, by their names.
pub fn interfaces() -> Vec<String> {
    let entries = std::fs::read_dir(path("net/ipv4/conf")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !["all", "default"].contains(&&**name)).collect();
    names.sort_unstable();
    names
}

/// Reads a setting.
pub fn read(name: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(name))?.trim().to_owned())
}

/// A setting that is put back when this value is dropped. What it was before an earlier run that was
/// killed is not known.
#[derive(Debug)]
pub struct Changed {
    name: String,
    before: String,
}

/// Sets a setting; `None` if it already is so.
pub fn set(name: &str, value: &str) -> io::Result<Option<Changed>> {
    let before = read(name)?;
    if before == value {
        return Ok(None);
    }
    std::fs::write(path(name), value)?;
    Ok(Some(Changed { name: name.to_owned(), before }))
}

impl Changed {
    /// The setting's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // Nothing better can be done at the end of the process.
        let _ = std::fs::write(path(&self.name), &self.before);
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
