//! Whether tunnel packets can arrive, and whether the kernel passes on what comes out of them. A router's
//! does; an ordinary host's, the paper's home host, has to be told.

use log::info;

use super::Error;
use crate::config::{Config, Gateway};
use crate::doctor::{self, Finding};
use crate::os::sysctl::{self, Changed};
use crate::tunnel::Addresses;

/// The settings that switch forwarding on, with their values, where the configuration says so.
pub(super) fn wanted(gateway: Option<&Gateway>) -> Vec<(String, &'static str)> {
    let gateway = gateway.filter(|gateway| gateway.enable_forwarding);
    let interfaces = gateway.into_iter().flat_map(Gateway::arrivals);
    interfaces.map(|interface| (sysctl::forwarding(interface), "1")).collect()
}

/// Sets a setting of the kernel; it is put back with the value's end.
pub(super) fn set(name: &str, value: &str) -> Result<Option<Changed>, Error> {
    let changed = sysctl::set(name, value).map_err(|e| Error::Setting(name.to_owned(), e))?;
    if changed.is_some() {
        info!("{name} is {value} while natttd runs");
    }
    Ok(changed)
}

/// What is missing, and how to set it.
pub(super) fn advice(config: &Config, own: &impl Addresses) -> Vec<String> {
    let client = config.client.as_ref().and_then(|client| doctor::not_serving(client, forwards));
    let is_own = |addr| own.is_own(addr);
    let gateway = config.gateway.as_ref();
    let deaf = gateway.and_then(|gateway| doctor::no_outside(gateway, &sysctl::interfaces()));
    let gateway = gateway.and_then(|gateway| doctor::not_forwarding(gateway, is_own, forwards));
    let text = |finding: Finding| format!("{}: {}", finding.what, finding.fix);
    client.into_iter().chain(deaf).chain(gateway).map(text).collect()
}

/// One that is not there is not what is missing.
fn forwards(interface: &str) -> bool {
    sysctl::read(&sysctl::forwarding(interface)).map_or(true, |value| value != "0")
}
