//! Netlink messages of nfnetlink_queue (linux/netfilter/nfnetlink_queue.h). Netlink headers are in
//! host order, attribute values of this subsystem in network order.

const NFNL_SUBSYS_QUEUE: u16 = 3;
const PACKET: u16 = NFNL_SUBSYS_QUEUE << 8;
const VERDICT: u16 = NFNL_SUBSYS_QUEUE << 8 | 1;
pub(super) const CONFIG: u16 = NFNL_SUBSYS_QUEUE << 8 | 2;

const NLMSG_HEADER: usize = 16;
const NFGENMSG: usize = 4;
pub(super) const HEADERS: usize = NLMSG_HEADER + NFGENMSG;
pub(super) const ATTRIBUTE: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Attributes of a packet message.
pub(super) mod attribute {
    pub(in super::super) const PACKET_HDR: u16 = 1;
    pub(in super::super) const VERDICT_HDR: u16 = 2;
    pub(in super::super) const MARK: u16 = 3;
    pub(in super::super) const INDEV: u16 = 5;
    pub(in super::super) const PAYLOAD: u16 = 10;
    pub(in super::super) const CAP_LEN: u16 = 13;
}

/// One message of a received buffer.
pub(super) enum Message<'b> {
    /// A packet, with its attributes.
    Packet(&'b [u8]),
    /// The kernel's answer to a request.
    Answer {
        /// 0 or a negative errno.
        errno: i32,
        /// The request's type.
        about: u16,
    },
    /// Anything else.
    Other,
}

/// The first message in `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Option<Message<'_>> {
    let octets = u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let message = bytes.get(..octets)?;
    if kind == NLMSG_ERROR {
        // struct nlmsgerr: errno, then the header of the request.
        let errno = i32::from_ne_bytes(*message.get(NLMSG_HEADER..)?.first_chunk()?);
        let about = u16::from_ne_bytes(*message.get(NLMSG_HEADER + 8..)?.first_chunk()?);
        return Some(Message::Answer { errno, about });
    }
    if kind == PACKET {
        return Some(Message::Packet(message.get(HEADERS..)?));
    }
    Some(Message::Other)
}

/// The attributes in `bytes`: type, offset of the value in `bytes`, value.
pub(in super::super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let octets = usize::from(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?);
        let value = bytes.get(at + ATTRIBUTE..at + octets)?;
        let offset = at + ATTRIBUTE;
        at += align(octets.max(ATTRIBUTE));
        Some((kind & NLA_TYPE_MASK, offset, value))
    })
}

/// Appends the header of a verdict whose whole length is `octets`.
pub(super) fn put_verdict(out: &mut Vec<u8>, octets: usize, queue: u16) {
    out.extend((octets as u32).to_ne_bytes());
    out.extend(VERDICT.to_ne_bytes());
    out.extend(NLM_F_REQUEST.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([libc::AF_UNSPEC as u8, 0]);
    out.extend(queue.to_be_bytes());
}

/// Appends the header of an attribute whose value has `octets`.
pub(super) fn put_attribute(out: &mut Vec<u8>, kind: u16, octets: usize) {
    out.extend(((ATTRIBUTE + octets) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
}

/// Sections of a message are aligned to four octets.
pub(super) const fn align(octets: usize) -> usize {
    (octets + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(Message::Packet(rest)) = parse(&bytes) {
                attributes(rest).count();
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn an_answer_names_its_request() {
        let mut bytes = Vec::new();
        bytes.extend(36u32.to_ne_bytes());
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-2i32).to_ne_bytes());
        put_verdict(&mut bytes, 20, 7);
        bytes.truncate(36);
        let answer = parse(&bytes);
        assert!(matches!(answer, Some(Message::Answer { errno: -2, about: VERDICT })));
    }

    #[test]
    fn attributes_are_found_again() {
        let mut bytes = Vec::new();
        put_attribute(&mut bytes, 7, 3);
        bytes.extend([1, 2, 3, 0]);
        put_attribute(&mut bytes, 9, 0);
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(7, 4, &[1u8, 2, 3][..]), (9, 12, &[][..])]);
    }
}
