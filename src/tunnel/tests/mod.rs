//! Clients, NAT boxes, gateways and hosts joined in memory, with virtual time.

mod errors;
mod hostile;
mod net;
mod restart;
mod scenarios;
mod served;
