//! The chain of aliases in an answer section: from the name that was asked to the one that counts.

use super::message::{Message, MessageError, Section, rtype};
use super::name::Name;

/// The longest chain that is followed; resolvers stop at about as many.
const MAX_CHAIN: usize = 16;

/// The end of the chain; the asked name itself if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainEnd {
    /// The name.
    pub(super) name: Name,
    /// Offset at which the message spells it, if it does.
    pub(super) spelled_at: Option<usize>,
}

/// Follows the CNAME and DNAME records of the answer section from the asked name.
pub(super) fn end(message: &Message<'_>) -> Result<ChainEnd, MessageError> {
    let question = message.question();
    let mut last = ChainEnd { name: question.name.clone(), spelled_at: Some(question.wire.start) };
    for _ in 0..=MAX_CHAIN {
        match next(message, &last.name)? {
            Some(end) => last = end,
            None => return Ok(last),
        }
    }
    Err(MessageError::Chain)
}

/// One step. A server that redirects by DNAME adds the CNAME that follows from it (RFC 6672 §3.1);
/// the substitution is done here only if it did not.
fn next(message: &Message<'_>, name: &Name) -> Result<Option<ChainEnd>, MessageError> {
    let cname = message.of_type(Section::Answer, rtype::CNAME).find(|alias| alias.owner == *name);
    if let Some(alias) = cname {
        let spelled_at = Some(alias.rdata.start);
        return Ok(Some(ChainEnd { name: message.target(alias)?, spelled_at }));
    }
    for redirection in message.of_type(Section::Answer, rtype::DNAME) {
        let target = message.target(redirection)?;
        if let Some(name) = name.substituted(&redirection.owner, &target) {
            return Ok(Some(ChainEnd { name: name?, spelled_at: None }));
        }
    }
    Ok(None)
}
