//! What else runs on this host, and what systemd's journal has of us. Nothing is changed by it.

use std::fs;

use super::firewall::listed;
use super::sysctl;

/// What is installed here.
#[derive(Debug, Clone)]
pub struct Software {
    /// The kernel's release: `6.1.0-25-amd64`.
    pub kernel: String,
    /// The distribution, as it calls itself.
    pub distribution: String,
    /// What the firewall's tools say of themselves, a line each.
    pub tools: String,
    /// This host's name.
    pub host: String,
}

/// Looks.
pub fn software() -> Software {
    let setting = |name| sysctl::read(name).unwrap_or_default();
    let tools = [("nft", "--version"), ("iptables", "--version"), ("ip", "-V")];
    let tools = tools.map(|(tool, option)| match listed(tool, &[option]) {
        Ok(text) if text.is_empty() => format!("{tool}: not installed\n"),
        Ok(text) => format!("{}\n", text.trim()),
        Err(error) => format!("{tool}: {error}\n"),
    });
    Software {
        kernel: setting("kernel/osrelease"),
        distribution: pretty_name(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        tools: tools.concat(),
        host: setting("kernel/hostname"),
    }
}

/// os-release(5).
fn pretty_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.map_or_else(|| "unknown".into(), |value| value.trim_matches(['"', '\'']).to_owned())
}

/// The last lines of our units, or why there are none.
pub fn journal(lines: u32) -> String {
    let lines = format!("--lines={lines}");
    let args = [
        "--no-pager",
        "--quiet",
        "--output=short-iso",
        "--unit=nattt",
        "--unit=nattt-rules",
        "--unit=nattt-repair",
        &lines,
    ];
    match listed("journalctl", &args) {
        Ok(text) if text.is_empty() => {
            "none: no journal, or nothing in it that this user may see\n".into()
        }
        Ok(text) => text,
        Err(error) => format!("none: {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        let debian = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(debian), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(pretty_name("NAME=x\n"), "unknown");
        assert!(!software().kernel.is_empty());
    }
}
