//! Messages and packets for the tests of this module, written by independent implementations.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use hickory_resolver::proto::op::{Edns, Message as Hickory, OpCode, Query};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NS, NULL, SOA, SRV};
use hickory_resolver::proto::rr::{Name as HickoryName, RData, Record, RecordType};

use super::Name;

pub(super) const ID: u16 = 0x1a2b;
/// As a resolver that plays with the case of letters asks.
pub(super) const ASKED: &str = "B.eXaMpLe";

pub(super) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(super) fn hickory_name(text: &str) -> HickoryName {
    HickoryName::from_ascii(format!("{text}.")).expect("a name")
}

pub(super) fn record(owner: &str, rdata: RData) -> Record {
    Record::from_rdata(hickory_name(owner), 300, rdata)
}

pub(super) fn a(owner: &str, last: u8) -> Record {
    record(owner, RData::A(A::new(198, 51, 100, last)))
}

pub(super) fn aaaa(owner: &str) -> Record {
    record(owner, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)))
}

pub(super) fn cname(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(hickory_name(target))))
}

pub(super) fn ns(owner: &str, server: &str) -> Record {
    record(owner, RData::NS(NS(hickory_name(server))))
}

pub(super) fn srv(owner: &str, target: &str) -> Record {
    record(owner, RData::SRV(SRV::new(1, 1, 80, hickory_name(target))))
}

pub(super) fn soa(zone: &str) -> Record {
    let (server, mail) = (hickory_name("ns.example"), hickory_name("mail.example"));
    record(zone, RData::SOA(SOA::new(server, mail, 1, 2, 3, 4, 60)))
}

/// A record of any type with any RDATA.
pub(super) fn raw(owner: &str, rtype: u16, rdata: &[u8]) -> Record {
    let rdata = NULL::with(rdata.to_vec());
    record(owner, RData::Unknown { code: RecordType::from(rtype), rdata })
}

/// A reply to a question for the A records of [`ASKED`], with nothing in it.
pub(super) fn empty() -> Hickory {
    let mut message = Hickory::response(ID, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(Query::query(hickory_name(ASKED), RecordType::A));
    message
}

/// The same with the SOA record that a sound server adds, and with an OPT record.
pub(super) fn nodata() -> Hickory {
    let mut message = empty();
    message.add_authority(soa("example"));
    message.set_edns(edns(false));
    message
}

pub(super) fn edns(dnssec_ok: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    edns.set_dnssec_ok(dnssec_ok);
    edns
}

pub(super) fn octets(message: &Hickory) -> Vec<u8> {
    message.to_vec().expect("a message that can be written")
}

/// A message from its parts, for what no sound writer writes.
pub(super) fn crafted(counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut message = [ID.to_be_bytes(), [0x81, 0x80]].concat();
    message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    message.extend(body);
    message
}

/// The question for the A records of `b.example`, at offset 12.
pub(super) const QUESTION: &[u8] = b"\x01b\x07example\0\0\x01\0\x01";

pub(super) fn v4(message: &[u8]) -> Vec<u8> {
    from_port(53, message)
}

pub(super) fn from_port(port: u16, message: &[u8]) -> Vec<u8> {
    let (server, client) = (Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(192, 0, 2, 1));
    let builder = PacketBuilder::ipv4(server.octets(), client.octets(), 61).udp(port, 40_000);
    let mut packet = Vec::new();
    builder.write(&mut packet, message).expect("a packet");
    packet
}

pub(super) fn v6(message: &[u8]) -> Vec<u8> {
    let server: Ipv6Addr = "fe80::53".parse().expect("an address");
    let client: Ipv6Addr = "fe80::1".parse().expect("an address");
    let builder = PacketBuilder::ipv6(server.octets(), client.octets(), 61).udp(53, 40_000);
    let mut packet = Vec::new();
    builder.write(&mut packet, message).expect("a packet");
    packet
}
