//! Clients, NAT boxes, gateways and hosts joined in memory, with virtual time.

mod errors;
mod hostile;
mod net;
mod own;
mod paths;
mod restart;
mod scarce;
mod scenarios;
mod served;
