//! The sets in nft's table that the daemon fills, for people and other rules to read.
#![allow(unsafe_code, reason = "flushing a set and concatenated keys go past crate nftnl")]

use std::ffi::{CString, c_char, c_void};
use std::io;
use std::net::Ipv4Addr;

use nftnl::set::{Set, SetKey};
use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg, ProtoFamily, Table};

use super::netlink::Socket;
use crate::path::Hop;
use crate::rules::NFT_TABLE;

/// Replaces the contents of the sets `mapped` and `gateways` in nft's table, in one transaction.
pub fn fill(mapped: &[Ipv4Addr], gateways: &[Hop]) -> io::Result<()> {
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

fn commit(batch: &FinalizedBatch) -> io::Result<()> {
    let socket = Socket::asking(mnl::Bus::Netfilter)?;
    socket.0.send_all(batch)?;
    let mut expected = batch.sequence_numbers();
    let mut buffer = vec![0; 64 << 10];
    while !expected.is_empty() {
        for message in socket.0.recv(&mut buffer)? {
            let seq = expected.next().unwrap_or_default();
            mnl::cb_run(message?, seq, socket.0.portid())?;
        }
    }
    Ok(())
}
