//! Why the daemon does not start or cannot go on, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::os::control::ServerError;
use crate::os::proxy::ProxyError;

/// Why the daemon does not start or cannot go on.
#[derive(Debug)]
pub enum Error {
    /// A kernel queue could not be bound.
    Queue(u16, io::Error),
    /// A number that natttd itself uses for another queue until it ends.
    QueueOverlap(u16, u16),
    /// The gateway's UDP port is taken.
    TunnelPort(u16, io::Error),
    /// The pool's route could not be set.
    Route(io::Error),
    /// The pool shares addresses with a network of this host.
    PoolTaken(Ipv4Net, Ipv4Net),
    /// A kernel setting could not be changed.
    Setting(String, io::Error),
    /// The state directory does not exist and could not be made.
    StateDir(PathBuf, io::Error),
    /// The control socket.
    Control(ServerError),
    /// The DNS proxy.
    Proxy(ProxyError),
    /// Anything else that the system refused.
    System(&'static str, io::Error),
    /// A thread ended that should not have.
    Thread(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(number, error) => match error.raw_os_error() {
                // Most kernels say EPERM for both; the file lists queues that are bound.
                Some(libc::EBUSY | libc::EPERM) => write!(
                    f,
                    "netfilter queue {number}: {error}: another program has bound it \
                     (/proc/net/netfilter/nfnetlink_queue lists it): stop that, or set another \
                     `first` under [queues] and load the rules again; or natttd lacks the \
                     permission: start it as root or with CAP_NET_ADMIN"
                ),
                _ => write!(
                    f,
                    "netfilter queue {number}: {error}: does this kernel have nfnetlink_queue \
                     (`modprobe nfnetlink_queue`)?"
                ),
            },
            Self::QueueOverlap(number, free) => write!(
                f,
                "netfilter queue {number} is natttd's own, for another purpose, until it is restarted: \
                 write `first = {free}` under [queues], or restart it (`systemctl restart nattt`; \
                 connections go on)"
            ),
            Self::TunnelPort(port, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "UDP port {port} is taken: {error}: `ss -ulpn` shows by whom")
            }
            Self::TunnelPort(port, error) => write!(
                f,
                "UDP port {port} cannot be had: {error}: start natttd as root or with \
                 CAP_NET_BIND_SERVICE"
            ),
            Self::Route(error) => write!(f, "setting the route of the pool: {error}"),
            Self::PoolTaken(pool, net) => write!(
                f,
                "the pool {pool} shares addresses with this host's network {net}: set another `pool` \
                 under [client] and load the rules again"
            ),
            Self::Setting(name, error) if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "setting {name}: there is none, so no such interface: correct `outside` and `hairpin` \
                 under [gateway] (`ip link` lists interfaces)"
            ),
            Self::Setting(name, error) => {
                write!(f, "setting {name}: {error}: set it with `sysctl -w` before natttd starts")
            }
            Self::StateDir(path, error) => write!(
                f,
                "making the state directory {}: {error}: make it, or set `state_dir` under \
                 [daemon]",
                path.display()
            ),
            Self::Control(error) => error.fmt(f),
            Self::Proxy(error) => write!(f, "DNS proxy: {error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Thread(name) => write!(f, "the {name} thread ended unexpectedly"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_cannot_be_had_names_both_reasons() {
        for errno in [libc::EPERM, libc::EBUSY] {
            let error = Error::Queue(100, io::Error::from_raw_os_error(errno)).to_string();
            for part in ["queue 100", "another program", "CAP_NET_ADMIN"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn a_cause_that_is_known_is_named() {
        let said = |kind: io::ErrorKind| {
            let setting = "net/ipv4/conf/eth1/forwarding".to_owned();
            let setting = Error::Setting(setting, kind.into()).to_string();
            (setting, Error::TunnelPort(100, kind.into()).to_string())
        };
        assert!(said(io::ErrorKind::NotFound).0.contains("no such interface: correct `outside`"));
        assert!(said(io::ErrorKind::ReadOnlyFilesystem).0.contains("sysctl -w"));
        assert!(said(io::ErrorKind::AddrInUse).1.contains("is taken"));
        assert!(said(io::ErrorKind::PermissionDenied).1.contains("start natttd as root"));
    }
}
