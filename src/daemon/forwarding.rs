//! Whether the kernel passes on what comes out of tunnels. A router's does; an ordinary host's, the
//! paper's home host, has to be told.

use log::info;

use super::Error;
use crate::config::Gateway;
use crate::doctor;
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
pub(super) fn advice(gateway: Option<&Gateway>, own: &impl Addresses) -> Option<String> {
    let finding = doctor::not_forwarding(gateway?, |addr| own.is_own(addr), forwards)?;
    Some(format!("{}: {}", finding.what, finding.fix))
}

/// One that is not there is not what is missing.
fn forwards(interface: &str) -> bool {
    sysctl::read(&sysctl::forwarding(interface)).map_or(true, |value| value != "0")
}
