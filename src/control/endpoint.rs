//! One end of a flow: an address, and a port where the protocol has one.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `192.168.0.2:80`, or `192.168.0.2` for a protocol without ports. For ICMP echo the identifier
/// plays the port's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Endpoint {
    /// The address.
    pub addr: Ipv4Addr,
    /// The port, host order.
    pub port: Option<u16>,
}

/// Text that is not `ADDRESS` or `ADDRESS:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEndpoint;

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write `192.168.0.2:80`, or `192.168.0.2` for a protocol without ports")
    }
}

impl std::error::Error for BadEndpoint {}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let addr = text.parse().map(|addr| Self { addr, port: None });
        addr.or_else(|_| text.parse::<SocketAddrV4>().map(Self::from)).map_err(|_| BadEndpoint)
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(socket: SocketAddrV4) -> Self {
        Self { addr: *socket.ip(), port: Some(socket.port()) }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = BadEndpoint;

    fn try_from(text: String) -> Result<Self, BadEndpoint> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(addr: u32, port: Option<u16>) {
            let endpoint = Endpoint { addr: addr.into(), port };
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }

        #[test]
        fn any_text_is_an_endpoint_or_an_error(text in ".*") {
            let _ = text.parse::<Endpoint>();
        }
    }

    #[test]
    fn what_is_no_endpoint() {
        for text in ["", ":80", "192.168.0.2:", "192.168.0.2:65536", "192.168.0:80", "b:80"] {
            assert_eq!(text.parse::<Endpoint>(), Err(BadEndpoint), "{text}");
        }
    }
}
