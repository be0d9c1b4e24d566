//! Whether the kernel passes on what comes out of tunnels. A router's does; an ordinary host's, the
//! paper's home host, has to be told.

use log::info;

use super::Error;
use crate::config::Gateway;
use crate::os::sysctl::{self, Changed, IP_FORWARD};
use crate::tunnel::Addresses;

/// Switches forwarding on where the configuration says so; it is put back with the value's end.
pub(super) fn enable(gateway: Option<&Gateway>) -> Result<Option<Changed>, Error> {
    if !gateway.is_some_and(|gateway| gateway.enable_forwarding) {
        return Ok(None);
    }
    let changed =
        sysctl::set(IP_FORWARD, "1").map_err(|error| Error::Setting(IP_FORWARD, error))?;
    if changed.is_some() {
        info!("net.ipv4.ip_forward is 1 while natttd runs");
    }
    Ok(changed)
}

/// What is missing, and how to set it.
pub(super) fn advice(gateway: Option<&Gateway>, own: &impl Addresses) -> Option<String> {
    let gateway = gateway.filter(|gateway| serves_others(gateway, own))?;
    let interface = gateway.arrivals().find(|name| !forwards(name))?;
    Some(format!(
        "this host does not forward packets that arrive on {interface}, so exported hosts cannot be \
         reached: run `sysctl -w net.ipv4.ip_forward=1` (and write it to a file in /etc/sysctl.d), \
         or write `enable_forwarding = true` under [gateway]"
    ))
}

fn serves_others(gateway: &Gateway, own: &impl Addresses) -> bool {
    gateway.exports.iter().any(|export| export.exact().is_none_or(|addr| !own.is_own(addr)))
}

/// Linux asks the interface a packet came in through; `ip_forward` sets all of them. One that is not
/// there is not what is missing.
fn forwards(interface: &str) -> bool {
    sysctl::read_forwarding(interface).map_or(true, |value| value != "0")
}
