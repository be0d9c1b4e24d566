//! The sets in nft's table that the daemon fills, for people and other rules to read.
#![allow(unsafe_code, reason = "flushing a set and concatenated keys go past crate nftnl")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::net::Ipv4Addr;

use nftnl::set::{Set, SetKey};
use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg, ProtoFamily, Table};

use super::netlink::Socket;
use crate::path::Hop;
use crate::rules::NFT_TABLE;

/// Elements in one transaction. An attribute holds 64 KB, an ordinary socket sends about 200 KB at
/// once, and an element has 20 octets; other users of nf_tables wait while one is carried out.
const PAGE: usize = 2048;

/// What the sets are to hold.
#[derive(Debug, Default)]
pub struct Contents {
    /// Mapped addresses.
    pub mapped: BTreeSet<Ipv4Addr>,
    /// First hops.
    pub gateways: BTreeSet<Hop>,
}

/// The sets `mapped` and `gateways` in nft's table, and what was put into them.
#[derive(Debug, Default)]
pub struct Sets(Option<Contents>);

impl Sets {
    /// What they hold is not known any more, because their table was loaded anew.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Makes them hold this: by changes to what is known of them, or anew. After an error nothing is
    /// known.
    pub fn fill(&mut self, wanted: Contents) -> io::Result<()> {
        let known = self.0.take();
        let table = CString::new(NFT_TABLE).map_err(io::Error::other)?;
        let table = Table::new(table, ProtoFamily::Inet);
        let known_mapped = known.as_ref().map(|known| &known.mapped);
        Named(&table, c"mapped").change(known_mapped, &wanted.mapped)?;
        let gateways = |hops: &BTreeSet<Hop>| hops.iter().copied().map(Gateway).collect();
        let known_gateways = known.as_ref().map(|known| gateways(&known.gateways));
        Named(&table, c"gateways").change(known_gateways.as_ref(), &gateways(&wanted.gateways))?;
        self.0 = Some(wanted);
        Ok(())
    }
}

/// A set in a table.
struct Named<'t>(&'t Table, &'static CStr);

impl Named<'_> {
    /// New elements come before old ones go, so that none is missing meanwhile.
    fn change<K: SetKey + Ord>(
        &self,
        known: Option<&BTreeSet<K>>,
        wanted: &BTreeSet<K>,
    ) -> io::Result<()> {
        let nothing = BTreeSet::new();
        let before = known.unwrap_or(&nothing);
        let new: Vec<&K> = wanted.difference(before).collect();
        let old: Vec<&K> = before.difference(wanted).collect();
        let mut pages = new.chunks(PAGE);
        if known.is_none() {
            self.commit(true, pages.next().unwrap_or_default(), MsgType::Add)?;
        }
        pages.try_for_each(|page| self.commit(false, page, MsgType::Add))?;
        old.chunks(PAGE).try_for_each(|page| self.commit(false, page, MsgType::Del))
    }

    /// One transaction: empties the set if asked to, then adds or deletes these elements.
    fn commit<K: SetKey>(&self, empty: bool, keys: &[&K], kind: MsgType) -> io::Result<()> {
        let mut set = Set::<K>::new_named(self.1, 1, self.0, ProtoFamily::Inet);
        let mut batch = Batch::new();
        if empty {
            batch.add(&Elements(&set), MsgType::Del);
        }
        keys.iter().for_each(|&key| set.add(key));
        if !keys.is_empty() {
            batch.add_iter(set.elems_iter(), kind);
        }
        send(&batch.finalize())
    }
}

/// `addr . port`, as in `type ipv4_addr . inet_service`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
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

fn send(batch: &FinalizedBatch) -> io::Result<()> {
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
