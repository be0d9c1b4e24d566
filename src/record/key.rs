//! Keys that sign updates (TSIG, RFC 8945), as BIND's `tsig-keygen` writes them:
//! `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`

use std::fmt;

use data_encoding::BASE64;
use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;

use super::update::wire_name;
use crate::dns::{Name, NameError};

/// How far the clocks of both sides may differ, in seconds (RFC 8945 §10).
const FUDGE: u16 = 300;

/// A name server's key, and how it is used.
#[derive(Clone)]
pub struct Key {
    name: Name,
    pub(super) signer: TSigner,
}

/// Why a file holds no usable key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// Not the form that `tsig-keygen` writes.
    Syntax,
    /// So many keys; which one is meant?
    Keys(usize),
    /// The key's name is none.
    Name(NameError),
    /// An algorithm that is weak or not known here.
    Algorithm(String),
    /// The secret is no base64, or empty.
    Secret,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => write!(
                f,
                "this is no key; make one with `tsig-keygen NAME`: \
                 key \"NAME\" {{ algorithm hmac-sha256; secret \"BASE64\"; }};"
            ),
            Self::Keys(keys) => {
                write!(f, "there are {keys} keys in it; give a file with the one to use")
            }
            Self::Name(error) => write!(f, "the key's name is no name: {error}"),
            Self::Algorithm(name) => write!(
                f,
                "algorithm {name:?} is not supported; use hmac-sha256, hmac-sha384 or hmac-sha512"
            ),
            Self::Secret => write!(f, "the key's secret is not in base64"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Without the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads the one key of a file.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let words = words(text);
        let starts = words.iter().filter(|word| *word == "key").count();
        let at = words.iter().position(|word| word == "key").ok_or(KeyError::Syntax)?;
        if starts > 1 {
            return Err(KeyError::Keys(starts));
        }
        let [_, name, open, clauses @ ..] = &words[at..] else { return Err(KeyError::Syntax) };
        if open != "{" {
            return Err(KeyError::Syntax);
        }
        let algorithm = algorithm(clause(clauses, "algorithm")?)?;
        let secret = clause(clauses, "secret")?;
        let secret = BASE64.decode(secret.as_bytes()).map_err(|_| KeyError::Secret)?;
        if secret.is_empty() {
            return Err(KeyError::Secret);
        }
        Self::new(name.parse().map_err(KeyError::Name)?, algorithm, secret)
    }

    /// The key's name, which the server knows too.
    pub fn name(&self) -> &Name {
        &self.name
    }

    fn new(name: Name, algorithm: TsigAlgorithm, secret: Vec<u8>) -> Result<Self, KeyError> {
        let wire = wire_name(&name).map_err(|_| KeyError::Syntax)?;
        let unsupported = KeyError::Algorithm(algorithm.to_name().to_ascii());
        let signer = TSigner::new(secret, algorithm, wire, FUDGE).map_err(|_| unsupported)?;
        Ok(Self { name, signer })
    }
}

fn algorithm(name: &str) -> Result<TsigAlgorithm, KeyError> {
    match name.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "hmac-sha256" => Ok(TsigAlgorithm::HmacSha256),
        "hmac-sha384" => Ok(TsigAlgorithm::HmacSha384),
        "hmac-sha512" => Ok(TsigAlgorithm::HmacSha512),
        _ => Err(KeyError::Algorithm(name.to_owned())),
    }
}

/// The word after `keyword`.
fn clause<'a>(words: &'a [String], keyword: &str) -> Result<&'a str, KeyError> {
    let at = words.iter().position(|word| word == keyword).ok_or(KeyError::Syntax)?;
    match &words[at + 1..] {
        [value, end, ..] if end == ";" => Ok(value),
        _ => Err(KeyError::Syntax),
    }
}

/// The words of a piece of named.conf; comments of its three kinds are left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => match rest[1..].split_once('"') {
                Some((word, after)) => (word, after),
                None => (&rest[1..], ""),
            },
            '{' | '}' | ';' => rest.split_at(1),
            '#' => ("", rest.split_once('\n').map_or("", |(_, after)| after)),
            '/' if rest.starts_with("//") => {
                ("", rest.split_once('\n').map_or("", |(_, after)| after))
            }
            '/' if rest.starts_with("/*") => {
                ("", rest.split_once("*/").map_or("", |(_, after)| after))
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "{};\"#".contains(c);
                rest.split_at(rest.find(ends).unwrap_or(rest.len()))
            }
        };
        if !word.is_empty() {
            words.push(word.to_owned());
        }
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "key \"home.example\" {\n\talgorithm hmac-sha256;\n\
                       \tsecret \"c2VjcmV0IGtleSBvZiB0aGUgaG9tZQ==\";\n};\n";

    #[test]
    fn as_tsig_keygen_writes_it() {
        let key = Key::parse(KEY).expect("a key");
        assert_eq!(key.name().to_string(), "home.example");
        assert_eq!(key.signer.key(), b"secret key of the home");
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn with_comments_on_one_line_and_without_quotes() {
        let text = "# of the home\n/* no; key { */ // no\n\
                    key home.example. {secret c2VjcmV0; algorithm HMAC-SHA512;};";
        let key = Key::parse(text).expect("a key");
        assert_eq!(
            (key.name().to_string().as_str(), key.signer.key()),
            ("home.example", &b"secret"[..])
        );
    }

    #[test]
    fn what_is_no_key() {
        let error = |text: &str| Key::parse(text).expect_err("no key");
        for bad in ["", "key", "key x", "key x {", "key x { secret YQ==; };", "hmac-sha256:x:YQ=="]
        {
            assert_eq!(error(bad), KeyError::Syntax, "{bad}");
        }
        assert_eq!(error(&KEY.replace("c2Vj", "c2V")), KeyError::Secret);
        assert_eq!(error("key x { algorithm hmac-sha256; secret \"\"; };"), KeyError::Syntax);
        assert_eq!(error(&KEY.repeat(2)), KeyError::Keys(2));
        assert_eq!(error(&KEY.replace("sha256", "md5")), KeyError::Algorithm("hmac-md5".into()));
        let name = KEY.replace("home.", "home..");
        assert_eq!(error(&name), KeyError::Name(NameError::EmptyLabel));
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_an_error(text in "(key|[{};\"#/* ax]|algorithm|hmac-sha256|secret|\\PC){0,40}") {
            if let Ok(key) = Key::parse(&text) {
                prop_assert!(!key.signer.key().is_empty());
            }
        }
    }
}
