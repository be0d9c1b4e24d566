//! Single questions to the system's name servers, for a command that waits for the answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, Name, RData, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable;
use tokio::runtime::Builder;

use super::lookup::{TokioResolver, new_resolver};
use super::nameserver;
use crate::dns;
use crate::dns::packet::DNS_PORT;
use crate::explain::{Answer, Asked, Data, Record};

/// The name servers of /etc/resolv.conf that can be asked; without any, the one on this host
/// (resolv.conf(5)).
pub fn name_servers() -> Vec<IpAddr> {
    nameserver::of_this_host().unwrap_or_else(|_| vec![Ipv4Addr::LOCALHOST.into()])
}

/// Asks for the name's address, as programs do, and for its NAT record. If a server does not
/// answer the first question the next one is asked.
pub fn ask(name: &dns::Name, record_type: u16, servers: &[IpAddr]) -> io::Result<Option<Asked>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut last = None;
        for &server in servers {
            let Ok(resolver) = new_resolver(SocketAddr::new(server, DNS_PORT)) else { continue };
            let address = ask_for(&resolver, name, RecordType::A).await;
            let missing = address.is_missing();
            let nat = ask_for(&resolver, name, RecordType::from(record_type)).await;
            last = Some(Asked { server, address, nat });
            if !missing {
                break;
            }
        }
        Ok(last)
    })
}

/// Asks one server for a name's address.
pub fn address(name: &dns::Name, server: IpAddr) -> io::Result<Answer> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let resolver = new_resolver(SocketAddr::new(server, DNS_PORT)).map_err(io::Error::other)?;
        Ok(ask_for(&resolver, name, RecordType::A).await)
    })
}

async fn ask_for(resolver: &TokioResolver, name: &dns::Name, kind: RecordType) -> Answer {
    // A name that was already parsed, ending with the root.
    let Ok(name) = Name::from_bytes(name.as_wire()) else {
        return Answer::Failed { reason: "the resolver does not take this name".into() };
    };
    match resolver.lookup(name, kind).await {
        Ok(lookup) => {
            Answer::Records { records: lookup.answers().iter().filter_map(record).collect() }
        }
        Err(NetError::Timeout) => Answer::Silent,
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => of_none(none.response_code),
        Err(error) => Answer::Failed { reason: error.to_string() },
    }
}

fn of_none(code: ResponseCode) -> Answer {
    match code {
        ResponseCode::NoError => Answer::NoData,
        ResponseCode::NXDomain => Answer::NoName,
        code => Answer::Failed { reason: code.to_string() },
    }
}

/// Records of other types are not asked for.
fn record(record: &rr::Record) -> Option<Record> {
    let data = match &record.data {
        RData::A(addr) => Data::Address(addr.0),
        RData::CNAME(target) => Data::Alias(target.to_string()),
        RData::Unknown { rdata, .. } => Data::Nat(rdata.anything.clone()),
        _ => return None,
    };
    Some(Record { owner: record.name.to_string(), ttl: record.ttl, data })
}
