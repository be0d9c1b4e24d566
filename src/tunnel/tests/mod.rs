//! Clients, NAT boxes, gateways and hosts joined in memory, with virtual time.

mod errors;
mod hostile;
mod measured;
mod net;
mod own;
mod path_mtu;
mod paths;
mod restart;
mod scarce;
mod scenarios;
mod served;
