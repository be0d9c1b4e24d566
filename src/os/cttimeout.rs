//! Connection tracking timeout policies, which iptables' `-j CT --timeout NAME` refers to and
//! which must exist before such a rule loads. (nft's table holds its own.)
//!
//! nfnetlink messages, numbers of the outer headers in host order, of attributes in network order:
//! `linux/netfilter/nfnetlink_cttimeout.h`.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use crate::rules::TimeoutPolicy;

const NFNL_SUBSYS_CTNETLINK_TIMEOUT: u16 = 8;
const IPCTNL_MSG_TIMEOUT_NEW: u16 = 0;
const IPCTNL_MSG_TIMEOUT_DELETE: u16 = 2;

const CTA_TIMEOUT_NAME: u16 = 1;
const CTA_TIMEOUT_L3PROTO: u16 = 2;
const CTA_TIMEOUT_L4PROTO: u16 = 3;
const CTA_TIMEOUT_DATA: u16 = 4;

/// A `nlmsghdr` and the `nfgenmsg` behind it, octets.
const HEADERS: usize = 20;
/// The kernel destroys rules a moment after they are gone, and until then a policy is in use.
const DELETE_TRIES: u32 = 20;
const DELETE_PAUSE: Duration = Duration::from_millis(25);

/// Why a policy could not be set.
#[derive(Debug)]
pub struct TimeoutError {
    policy: &'static str,
    cause: io::Error,
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, cause } = self;
        write!(f, "the kernel refuses the connection timeout policy `{policy}`: {cause}; ")?;
        f.write_str(match cause.raw_os_error() {
            Some(libc::EPERM) => "run this as root (CAP_NET_ADMIN)",
            Some(libc::EEXIST | libc::EBUSY) => {
                "another program uses this name for something else: remove that policy (`nfct`)"
            }
            _ => "it needs nfnetlink_cttimeout (CONFIG_NF_CT_NETLINK_TIMEOUT): `modprobe nfnetlink_cttimeout`",
        })
    }
}

impl std::error::Error for TimeoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Creates the policies, or brings those that exist up to date; live connections keep them.
pub fn set(policies: &[TimeoutPolicy]) -> Result<(), TimeoutError> {
    policies.iter().try_for_each(|policy| {
        request(&new_message(policy)).map_err(|cause| TimeoutError { policy: policy.name, cause })
    })
}

/// Deletes the policies. One that is not there, or that a foreign rule uses, is left as it is.
pub fn delete(policies: &[TimeoutPolicy]) -> Result<(), TimeoutError> {
    policies.iter().try_for_each(|policy| {
        delete_one(policy).map_err(|cause| TimeoutError { policy: policy.name, cause })
    })
}

fn delete_one(policy: &TimeoutPolicy) -> io::Result<()> {
    let message = delete_message(policy);
    for _ in 0..DELETE_TRIES {
        match request(&message) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(DELETE_PAUSE),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            result => return result,
        }
    }
    Ok(())
}

/// Room for an acknowledgement; aligned as [`mnl::cb_run`] asks.
#[repr(C, align(8))]
struct Reply([u8; 8192]);

fn request(message: &[u8]) -> io::Result<()> {
    let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
    socket.send(message)?;
    let mut reply = Reply([0; 8192]);
    let length = socket.recv_raw(&mut reply.0)?;
    let reply = reply.0.get(..length).unwrap_or_default();
    mnl::cb_run(reply, 0, socket.portid()).map(|_| ())
}

fn new_message(policy: &TimeoutPolicy) -> Vec<u8> {
    let mut message =
        Message::new(IPCTNL_MSG_TIMEOUT_NEW, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    message.name(policy);
    message.attribute(CTA_TIMEOUT_L3PROTO, &(libc::AF_INET as u16).to_be_bytes());
    message.attribute(CTA_TIMEOUT_L4PROTO, &[policy.number]);
    let mut states = Message(Vec::new());
    for (_, state, seconds) in policy.states {
        states.attribute(*state, &seconds.to_be_bytes());
    }
    message.attribute(CTA_TIMEOUT_DATA | libc::NLA_F_NESTED as u16, &states.0);
    message.finish()
}

fn delete_message(policy: &TimeoutPolicy) -> Vec<u8> {
    let mut message = Message::new(IPCTNL_MSG_TIMEOUT_DELETE, 0);
    message.name(policy);
    message.finish()
}

/// A netlink message as it grows.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: libc::c_int) -> Self {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut octets = Vec::with_capacity(128);
        octets.extend(0u32.to_ne_bytes()); // nlmsg_len, known at the end
        octets.extend(((NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8) | kind).to_ne_bytes());
        octets.extend(flags.to_ne_bytes());
        octets.extend([0; 8]); // nlmsg_seq and nlmsg_pid: one message, one answer
        octets.extend([libc::AF_INET as u8, 0, 0, 0]); // nfgenmsg: family, version, res_id
        debug_assert_eq!(octets.len(), HEADERS);
        Self(octets)
    }

    fn name(&mut self, policy: &TimeoutPolicy) {
        let mut name = policy.name.as_bytes().to_vec();
        name.push(0);
        self.attribute(CTA_TIMEOUT_NAME, &name);
    }

    /// Length (with its own four octets) and type, the value, padding to four octets.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0.splice(..4, length);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::TIMEOUTS;

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let message = new_message(&TIMEOUTS[0]);
        let expected = [
            &(message.len() as u32).to_ne_bytes()[..],
            &0x0800u16.to_ne_bytes(),
            &0x0505u16.to_ne_bytes(), // REQUEST, ACK, CREATE, REPLACE
            &[0; 8],
            &[2, 0, 0, 0],
            &[9u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat(),
            b"nt17\0\0\0\0",
            &[6u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat(),
            &[0, 2, 0, 0],
            &[5u16.to_ne_bytes(), 3u16.to_ne_bytes()].concat(),
            &[17, 0, 0, 0],
            &[20u16.to_ne_bytes(), 0x8004u16.to_ne_bytes()].concat(),
            &[8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat(),
            &310u32.to_be_bytes(),
            &[8u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat(),
            &310u32.to_be_bytes(),
        ];
        assert_eq!(message, expected.concat());
        assert_eq!(message.len() % 4, 0);
    }
}
