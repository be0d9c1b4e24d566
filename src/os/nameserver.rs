//! Name servers that a person names, or that this host uses: asked for NAT records, and sent
//! dynamic updates.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

use hickory_resolver::Resolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name as WireName, RData, Record as RRecord, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinEncodable};
use resolv_conf::ScopedIp;
use tokio::runtime::Builder;

use crate::dns::Name;
use crate::path::{Path, PathError};
use crate::record::Record;

use super::{lookup, network};

const PORT: u16 = 53;
/// How long a server may take to accept a connection, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved answers, and where it says whom it asks itself.
const RESOLVED_STUBS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
const RESOLVED_UPLINKS: &str = "/run/systemd/resolve/resolv.conf";

/// A name server: an address or a name, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

/// Not `ADDRESS`, `NAME`, `ADDRESS:PORT`, `NAME:PORT` or `[IPV6]:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadServer;

impl fmt::Display for BadServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "write an address or a name, and a port if it is not {PORT}: `198.51.100.53:5353`"
        )
    }
}

impl std::error::Error for BadServer {}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        let (host, port) = if let Ok(address) = text.parse::<IpAddr>() {
            (address.to_string(), PORT)
        } else if let Ok(address) = text.parse::<SocketAddr>() {
            (address.ip().to_string(), address.port())
        } else {
            host_name(text)?
        };
        if port == 0 { Err(BadServer) } else { Ok(Self { host, port }) }
    }
}

/// `NAME` or `NAME:PORT`. Digits and dots that are no address would be looked up as a name otherwise.
fn host_name(text: &str) -> Result<(String, u16), BadServer> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| BadServer)?),
        None => (text, PORT),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = host.chars().all(plain) && host.contains(|c: char| c.is_ascii_alphabetic());
    if is_name { Ok((host.to_owned(), port)) } else { Err(BadServer) }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Server {
    /// The first that this host's programs ask, by resolv.conf(5). Link-local ones, which need a
    /// scope, are passed over.
    pub fn of_this_host() -> io::Result<Self> {
        let first = of_this_host()?.first().map(|addr| Self { host: addr.to_string(), port: PORT });
        first.ok_or_else(|| io::Error::other(format!("{RESOLV_CONF} names none that can be asked")))
    }

    /// Its addresses, never none.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        match found.is_empty() {
            true => Err(io::Error::other("the name has no address")),
            false => Ok(found),
        }
    }
}

/// Those that this host's programs ask, but for link-local ones.
pub(super) fn of_this_host() -> io::Result<Vec<IpAddr>> {
    let servers = read_resolv_conf()?;
    Ok(servers.iter().filter_map(|server| server.to_string().parse().ok()).collect())
}

/// Those that this host's programs ask, where to ask them; link-local ones with their interface. Instead
/// of systemd-resolved, the servers that it asks: it may be told to ask us.
pub(super) fn sockets_of_this_host() -> io::Result<Vec<SocketAddr>> {
    let servers = sockets(&read_resolv_conf()?);
    Ok(behind_resolved(servers, || fs::read(RESOLVED_UPLINKS).ok()))
}

fn behind_resolved(
    servers: Vec<SocketAddr>,
    uplinks: impl FnOnce() -> Option<Vec<u8>>,
) -> Vec<SocketAddr> {
    if !servers.iter().any(|server| RESOLVED_STUBS.contains(&server.ip())) {
        return servers;
    }
    let uplinks = uplinks().and_then(|text| resolv_conf::Config::parse(text).ok());
    let uplinks = uplinks.map(|config| sockets(&config.nameservers)).unwrap_or_default();
    if uplinks.is_empty() { servers } else { uplinks }
}

fn sockets(servers: &[ScopedIp]) -> Vec<SocketAddr> {
    let socket = |server: &ScopedIp| match server {
        ScopedIp::V4(addr) => Some(SocketAddr::from((*addr, PORT))),
        ScopedIp::V6(addr, None) => Some(SocketAddr::from((*addr, PORT))),
        ScopedIp::V6(addr, Some(scope)) => {
            Some(SocketAddrV6::new(*addr, PORT, 0, network::index_of(scope)?).into())
        }
    };
    servers.iter().filter_map(socket).collect()
}

fn read_resolv_conf() -> io::Result<Vec<ScopedIp>> {
    let config = resolv_conf::Config::parse(fs::read(RESOLV_CONF)?)
        .map_err(|error| io::Error::other(format!("{RESOLV_CONF}: {error}")))?;
    Ok(config.get_nameservers_or_local())
}

/// Sends a DNS message over TCP (RFC 7766 §8: two octets of length first) to the first address that
/// accepts a connection, and returns the answer.
pub fn exchange(addresses: &[SocketAddr], message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut stream = connect(addresses)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())?;
    let mut length = [0; 2];
    let deadline = Instant::now() + PATIENCE;
    read_until(&mut stream, &mut length, deadline)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    read_until(&mut stream, &mut answer, deadline)?;
    Ok(answer)
}

fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Fills the buffer. A server that drips octets gets no more time than one that is silent.
fn read_until(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The NAT records of a name, and what is wrong with each that is malformed; aliases are followed as far
/// as the server does.
pub fn nat_records(
    server: SocketAddr,
    name: &Name,
    record_type: u16,
) -> io::Result<(Vec<Record>, Vec<PathError>)> {
    let (mut records, mut malformed) = (Vec::new(), Vec::new());
    for answer in records_of(server, name, RecordType::from(record_type))? {
        let RData::Unknown { code, rdata } = &answer.data else { continue };
        match Path::from_rdata(&rdata.anything) {
            _ if u16::from(*code) != record_type => {}
            Ok(path) => {
                let name = answer.name.to_bytes().ok();
                let name = name.and_then(|wire| Name::read(&wire, 0).ok()).map(|(name, _)| name);
                records.push(Record { name, ttl: Some(answer.ttl), path });
            }
            Err(wrong) => malformed.push(wrong),
        }
    }
    Ok((records, malformed))
}

/// The IPv4 addresses of a name, or of the end of its aliases; on a client, a mapped one.
pub fn addresses(server: SocketAddr, name: &Name) -> io::Result<Vec<Ipv4Addr>> {
    let address = |record: RRecord| match record.data {
        RData::A(addr) => Some(addr.0),
        _ => None,
    };
    Ok(records_of(server, name, RecordType::A)?.into_iter().filter_map(address).collect())
}

/// What the server answers; nothing if it has none.
fn records_of(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Vec<RRecord>> {
    let wire = WireName::from_bytes(name.as_wire()).map_err(io::Error::other)?;
    let resolver = resolver(server).map_err(io::Error::other)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(resolver.lookup(wire, kind)) {
        Ok(found) => Ok(found.answers().to_vec()),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
        Err(NetError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn resolver(server: SocketAddr) -> Result<Resolver<TokioRuntimeProvider>, NetError> {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections.iter_mut().for_each(|connection| connection.port = server.port());
    let config = ResolverConfig::from_name_servers(vec![config]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = lookup::options();
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn the_servers_behind_resolved_are_asked() {
        let servers = |text: &str| {
            let config = resolv_conf::Config::parse(text).expect("a resolv.conf");
            sockets(&config.nameservers)
        };
        let (stub, other) = (servers("nameserver 127.0.0.53"), servers("nameserver 127.0.0.1"));
        let uplinks = b"nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::53%lo\n";
        let shown = |all: Vec<SocketAddr>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = behind_resolved(stub.clone(), || Some(uplinks.to_vec()));
        assert_eq!(shown(found), ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::53%1]:53"]);
        for nothing in [None, Some(b"# none\n".to_vec())] {
            assert_eq!(shown(behind_resolved(stub.clone(), || nothing)), ["127.0.0.53:53"]);
        }
        let never = || panic!("it is not resolved that is asked");
        assert_eq!(shown(behind_resolved(other, never)), ["127.0.0.1:53"]);
    }

    #[test]
    fn servers() {
        let shown = |text: &str| text.parse::<Server>().map(|server| server.to_string());
        for (text, expected) in [
            ("198.51.100.53", "198.51.100.53:53"),
            ("198.51.100.53:5353", "198.51.100.53:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
            ("ns1.example", "ns1.example:53"),
            ("ns1.example.:54", "ns1.example.:54"),
        ] {
            assert_eq!(shown(text), Ok(expected.to_owned()));
        }
        for bad in [
            "",
            ":53",
            "ns1:",
            "ns1:x",
            "ns1:0",
            "198.51.100.553",
            "198.51.100.53:99999",
            "198.51.100.53:0",
            "a b",
        ] {
            assert_eq!(shown(bad), Err(BadServer), "{bad}");
        }
    }

    /// What a server makes of a message, on loopback.
    fn answered(answer: &'static [u8]) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || -> io::Result<Vec<u8>> {
            let (mut stream, _) = listener.accept()?;
            let mut question = [0; 5];
            stream.read_exact(&mut question)?;
            stream.write_all(answer)?;
            Ok(question.to_vec())
        });
        let answer = exchange(&[address], b"abc");
        assert_eq!(server.join().expect("no panic")?, b"\x00\x03abc");
        answer
    }

    #[test]
    fn messages_have_their_length_in_front() {
        assert_eq!(answered(b"\x00\x02de").expect("an answer"), b"de");
        for short in [&b""[..], b"\x00", b"\x00\x03de"] {
            let error = answered(short).expect_err("cut off");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
