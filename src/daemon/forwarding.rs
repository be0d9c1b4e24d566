//! Whether the kernel passes on what comes out of tunnels. A router's does; an ordinary host's, the
//! paper's home host, has to be told.

use log::info;

use super::Error;
use crate::config::{Client, Config, Gateway};
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
    let client = config.client.as_ref().and_then(for_served);
    let gateway = config.gateway.as_ref().and_then(|gateway| for_exported(gateway, own));
    client.into_iter().chain(gateway).collect()
}

fn for_served(client: &Client) -> Option<String> {
    let interface = client.serve.iter().find(|name| !forwards(name))?;
    Some(format!(
        "this host does not forward packets that arrive on {interface}, so the hosts there cannot \
         be served: run `sysctl -w net.ipv4.ip_forward=1` (and write it to a file in /etc/sysctl.d)"
    ))
}

fn for_exported(gateway: &Gateway, own: &impl Addresses) -> Option<String> {
    if !serves_others(gateway, own) {
        return None;
    }
    let interface = gateway.arrivals().find(|name| !forwards(name))?;
    Some(format!(
        "this host does not forward packets that arrive on {interface}, so exported hosts cannot be \
         reached: run `sysctl -w {}=1` (and write it to a file in /etc/sysctl.d), or write `enable_forwarding = true` under [gateway]",
        sysctl::forwarding(interface)
    ))
}

fn serves_others(gateway: &Gateway, own: &impl Addresses) -> bool {
    gateway.exports.iter().any(|export| export.exact().is_none_or(|addr| !own.is_own(addr)))
}

/// Linux asks the interface a packet came in through. One that is not there is not what is missing.
fn forwards(interface: &str) -> bool {
    sysctl::read(&sysctl::forwarding(interface)).map_or(true, |value| value != "0")
}
