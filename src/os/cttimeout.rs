//! Connection tracking timeout policies, which iptables' `-j CT --timeout NAME` refers to and
//! which must exist before such a rule loads. (nft's table holds its own.)
//!
//! nfnetlink messages, numbers of the outer headers in host order, of attributes in network order:
//! `linux/netfilter/nfnetlink_cttimeout.h`.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use mnl::Bus;

use crate::rules::TimeoutPolicy;

use super::netlink::Request;

const NFNL_SUBSYS_CTNETLINK_TIMEOUT: u16 = 8;
const TIMEOUT_NEW: u16 = NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8;
const TIMEOUT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8 | 2;

const CTA_TIMEOUT_NAME: u16 = 1;
const CTA_TIMEOUT_L3PROTO: u16 = 2;
const CTA_TIMEOUT_L4PROTO: u16 = 3;
const CTA_TIMEOUT_DATA: u16 = 4;

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
        creation(policy)
            .send(Bus::Netfilter)
            .map_err(|cause| TimeoutError { policy: policy.name, cause })
    })
}

/// Deletes the policies. One that is not there, or that a foreign rule uses, is left as it is.
pub fn delete(policies: &[TimeoutPolicy]) -> Result<(), TimeoutError> {
    policies.iter().try_for_each(|policy| {
        delete_one(policy).map_err(|cause| TimeoutError { policy: policy.name, cause })
    })
}

fn delete_one(policy: &TimeoutPolicy) -> io::Result<()> {
    for _ in 0..DELETE_TRIES {
        match deletion(policy).send(Bus::Netfilter) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(DELETE_PAUSE),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            result => return result,
        }
    }
    Ok(())
}

fn creation(policy: &TimeoutPolicy) -> Request {
    let states: Vec<_> =
        policy.states.iter().map(|(_, state, seconds)| (*state, seconds.to_be_bytes())).collect();
    request(TIMEOUT_NEW, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, policy)
        .attribute(CTA_TIMEOUT_L3PROTO, &(libc::AF_INET as u16).to_be_bytes())
        .attribute(CTA_TIMEOUT_L4PROTO, &[policy.number])
        .nested(CTA_TIMEOUT_DATA, states.iter().map(|(state, seconds)| (*state, &seconds[..])))
}

fn deletion(policy: &TimeoutPolicy) -> Request {
    request(TIMEOUT_DELETE, 0, policy)
}

fn request(kind: u16, flags: libc::c_int, policy: &TimeoutPolicy) -> Request {
    // nfgenmsg: family, version, res_id.
    let fixed = [libc::AF_INET as u8, 0, 0, 0];
    let name = [policy.name.as_bytes(), &[0]].concat();
    Request::new(kind, flags as u16, &fixed).attribute(CTA_TIMEOUT_NAME, &name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::TIMEOUTS;

    #[test]
    fn a_message_is_laid_out_as_the_kernel_reads_it() {
        let message = creation(&TIMEOUTS[0]).finished();
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
