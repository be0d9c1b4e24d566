//! What the kernel has loaded of our firewall rules, and the sets that the daemon fills in them.
#![allow(unsafe_code, reason = "flushing a set and concatenated keys go past crate nftnl")]

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::net::Ipv4Addr;

use nftnl::set::{Set, SetKey};
use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg, ProtoFamily, Table};

use crate::config::Flavour;
use crate::path::Hop;
use crate::rules::{IPTABLES_PREFIX, NFT_TABLE};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REQUEST: u16 = 0x1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER: usize = 16;
const NFGENMSG: usize = 4;

/// The fingerprint that the loaded rules carry, or `None` if ours are not loaded.
///
/// For the iptables flavour this sees what iptables-nft loads; iptables-legacy keeps its rules
/// where nf_tables does not look.
pub fn loaded_fingerprint(flavour: Flavour) -> io::Result<Option<String>> {
    let (family, table, prefix) = match flavour {
        Flavour::Nft => (ProtoFamily::Inet, NFT_TABLE, "config_"),
        Flavour::Iptables => (ProtoFamily::Ipv4, "raw", IPTABLES_PREFIX),
    };
    let chains = chains(family as u8)?;
    let fingerprint = |name: &str| {
        let hex = name.strip_prefix(prefix)?;
        (hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| hex.to_owned())
    };
    Ok(chains.iter().filter(|(of, _)| of == table).find_map(|(_, name)| fingerprint(name)))
}

/// All chains of a family: table and name.
fn chains(family: u8) -> io::Result<Vec<(String, String)>> {
    let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
    let mut request = ((NLMSG_HEADER + NFGENMSG) as u32).to_ne_bytes().to_vec();
    request.extend((NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN).to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, 0, 0, 0]);
    socket.send(&request)?;
    let mut chains = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let received = socket.recv_raw(&mut buffer)?;
        for message in messages(&buffer[..received]) {
            match message {
                (NLMSG_DONE, _) => return Ok(chains),
                (NLMSG_ERROR, body) => return Err(error_of(body)),
                (_, body) => chains.extend(body.get(NFGENMSG..).and_then(chain_of)),
            }
        }
    }
}

/// The messages of a received buffer: type and body.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let octets = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(NLMSG_HEADER..octets)?;
        bytes = bytes.get(octets.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, body))
    })
}

fn error_of(body: &[u8]) -> io::Error {
    let errno = body.first_chunk().map_or(-libc::EPROTO, |errno| i32::from_ne_bytes(*errno));
    io::Error::from_raw_os_error(-errno)
}

fn chain_of(attributes: &[u8]) -> Option<(String, String)> {
    let (mut table, mut name) = (None, None);
    for (kind, _, value) in super::nfqueue::attributes(attributes) {
        let text =
            || String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
        match kind {
            NFTA_CHAIN_TABLE => table = Some(text()),
            NFTA_CHAIN_NAME => name = Some(text()),
            _ => {}
        }
    }
    Some((table?, name?))
}

/// `addr . port`, as in `type ipv4_addr . inet_service`.
struct Gateway(Hop);

impl SetKey for Gateway {
    // nft packs the types of a concatenation six bits each: ipv4_addr is 7, inet_service 13.
    const TYPE: u32 = 7 << 6 | 13;
    const LEN: u32 = 8;

    fn data(&self) -> Box<[u8]> {
        // Every part is padded to four octets.
        [&self.0.addr.octets()[..], &self.0.port.to_be_bytes(), &[0, 0]].concat().into()
    }
}

/// All elements of a set, to be deleted.
struct Elements<'s, 't, K>(&'s Set<'t, K>);

// SAFETY: `write` builds one complete message in the buffer it is given, which crate nftnl makes
// large enough for the largest message.
unsafe impl<K> NlMsg for Elements<'_, '_, K> {
    unsafe fn write(&self, buffer: *mut c_void, seq: u32, _: MsgType) {
        let kind = libc::NFT_MSG_DELSETELEM as u16;
        let family = self.0.get_family() as u16;
        // SAFETY: `buffer` is large enough and the set lives as long as the borrow. A message
        // without elements means all of them.
        unsafe {
            let header = nftnl_sys::nftnl_nlmsg_build_hdr(
                buffer.cast::<c_char>(),
                kind,
                family,
                libc::NLM_F_ACK as u16,
                seq,
            );
            nftnl_sys::nftnl_set_elems_nlmsg_build_payload(header, self.0.as_ptr().as_ptr());
        }
    }
}

/// Replaces the contents of the sets `mapped` and `gateways` in nft's table, in one transaction.
pub fn fill_sets(mapped: &[Ipv4Addr], gateways: &[Hop]) -> io::Result<()> {
    let table = CString::new(NFT_TABLE).map_err(io::Error::other)?;
    let table = Table::new(table, ProtoFamily::Inet);
    let mut batch = Batch::new();
    let mut mapped_set = Set::new_named(c"mapped", 1, &table, ProtoFamily::Inet);
    replace(&mut batch, &mut mapped_set, mapped);
    let keys: Vec<Gateway> = gateways.iter().copied().map(Gateway).collect();
    let mut gateway_set = Set::new_named(c"gateways", 2, &table, ProtoFamily::Inet);
    replace(&mut batch, &mut gateway_set, &keys);
    commit(&batch.finalize())
}

fn replace<K: SetKey>(batch: &mut Batch, set: &mut Set<'_, K>, keys: &[K]) {
    batch.add(&Elements(set), MsgType::Del);
    keys.iter().for_each(|key| set.add(key));
    if !keys.is_empty() {
        batch.add_iter(set.elems_iter(), MsgType::Add);
    }
}

fn commit(batch: &FinalizedBatch) -> io::Result<()> {
    let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
    socket.send_all(batch)?;
    let mut expected = batch.sequence_numbers();
    let mut buffer = vec![0; 64 << 10];
    while !expected.is_empty() {
        for message in socket.recv(&mut buffer)? {
            let seq = expected.next().unwrap_or_default();
            mnl::cb_run(message?, seq, socket.portid())?;
        }
    }
    Ok(())
}
