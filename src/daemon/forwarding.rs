//! Whether the kernel passes on what comes out of tunnels. A router's does; an ordinary host's, the
//! paper's home host, has to be told.

use log::info;

use super::Error;
use crate::config::{Config, Gateway};
use crate::doctor::{self, Finding};
use crate::os::sysctl::{self, Changed};
use crate::tunnel::Addresses;

/// Switches forwarding on where the configuration says so; it is put back with the values' end.
pub(super) fn enable(gateway: Option<&Gateway>) -> Result<Vec<Changed>, Error> {
    let gateway = gateway.filter(|gateway| gateway.enable_forwarding);
    let interfaces = gateway.into_iter().flat_map(Gateway::arrivals);
    interfaces.filter_map(|interface| enable_on(interface).transpose()).collect()
}

fn enable_on(interface: &str) -> Result<Option<Changed>, Error> {
    let name = sysctl::forwarding(interface);
    let changed = sysctl::set(&name, "1").map_err(|error| Error::Setting(name.clone(), error))?;
    if changed.is_some() {
        info!("{name} is 1 while natttd runs");
    }
    Ok(changed)
}

/// What is missing, and how to set it.
pub(super) fn advice(config: &Config, own: &impl Addresses) -> Vec<String> {
    let client = config.client.as_ref().and_then(|client| doctor::not_serving(client, forwards));
    let is_own = |addr| own.is_own(addr);
    let gateway = config.gateway.as_ref();
    let gateway = gateway.and_then(|gateway| doctor::not_forwarding(gateway, is_own, forwards));
    let text = |finding: Finding| format!("{}: {}", finding.what, finding.fix);
    client.into_iter().chain(gateway).map(text).collect()
}

/// One that is not there is not what is missing.
fn forwards(interface: &str) -> bool {
    sysctl::read(&sysctl::forwarding(interface)).map_or(true, |value| value != "0")
}
