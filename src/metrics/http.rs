//! As much of HTTP/1.1 (RFC 9112) as a scraper needs: one GET a connection, then it is closed.

/// The longest request line and header fields, in octets.
pub const MAX_HEAD: usize = 8192;

/// The type of the page (exposition format 0.0.4).
const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const PATH: &str = "/metrics";

/// What a client wants, from what it has sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Its request is not whole yet.
    More,
    /// The page.
    Page,
    /// Something that it does not get.
    Refused(Refusal),
}

/// Why a client gets no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not speak HTTP/1.
    Malformed,
    /// It asks for another page.
    NotFound,
    /// It does not ask by GET.
    NotGet,
    /// Its request does not end.
    TooLong,
    /// Others are being served.
    Busy,
}

impl Refusal {
    /// Status code and reason phrase (RFC 9110 §15).
    fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotGet => "405 Method Not Allowed",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Busy => "503 Service Unavailable",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Malformed => "this is no HTTP/1 request\n",
            Self::NotFound => "the metrics are at /metrics\n",
            Self::NotGet => "only GET /metrics is answered\n",
            Self::TooLong => "the request is too long\n",
            Self::Busy => "others are being served; try again soon\n",
        }
    }
}

/// Reads a request as far as it has come. Of its fields only the end matters.
pub fn asked(octets: &[u8]) -> Asked {
    let head = octets.get(..MAX_HEAD).unwrap_or(octets);
    let Some(line) = head.split_inclusive(|&octet| octet == b'\n').next() else {
        return Asked::More;
    };
    let Some(line) = line.strip_suffix(b"\n") else { return too_long_or_more(octets) };
    match request_line(line.strip_suffix(b"\r").unwrap_or(line)) {
        Err(refusal) => Asked::Refused(refusal),
        Ok(()) if ends(head) => Asked::Page,
        Ok(()) => too_long_or_more(octets),
    }
}

fn too_long_or_more(octets: &[u8]) -> Asked {
    if octets.len() < MAX_HEAD { Asked::More } else { Asked::Refused(Refusal::TooLong) }
}

/// RFC 9112 §3: method, target and version with one space between.
fn request_line(line: &[u8]) -> Result<(), Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Refusal::Malformed);
    }
    // A scraper may be configured with parameters, which mean nothing here.
    match target.split('?').next() {
        _ if method != "GET" => Err(Refusal::NotGet),
        Some(PATH) => Ok(()),
        _ => Err(Refusal::NotFound),
    }
}

/// Whether there is an empty line (RFC 9112 §2.1; a bare LF ends one, too: §2.2).
fn ends(head: &[u8]) -> bool {
    let followed_by = |end: &[u8]| head.windows(end.len()).any(|octets| octets == end);
    followed_by(b"\n\r\n") || followed_by(b"\n\n")
}

/// The response that carries the page.
pub fn page(text: &str) -> Vec<u8> {
    response("200 OK", PAGE_TYPE, "", text)
}

/// The response that refuses it.
pub fn refusal(refusal: Refusal) -> Vec<u8> {
    let allow = if refusal == Refusal::NotGet { "Allow: GET\r\n" } else { "" };
    response(refusal.status(), TEXT_TYPE, allow, refusal.says())
}

fn response(status: &str, content_type: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         {fields}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &str = "GET /metrics HTTP/1.1\r\nHost: localhost:9810\r\nAccept: */*\r\n\r\n";

    #[test]
    fn the_page_is_asked_for_by_get() {
        assert_eq!(asked(REQUEST.as_bytes()), Asked::Page);
        assert_eq!(asked(b"GET /metrics?x=1 HTTP/1.0\n\n"), Asked::Page);
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        for end in 0..REQUEST.len() {
            assert_eq!(asked(&REQUEST.as_bytes()[..end]), Asked::More, "{end}");
        }
    }

    #[test]
    fn everything_else_is_refused_as_soon_as_its_line_is_there() {
        for (line, refusal) in [
            ("POST /metrics HTTP/1.1", Refusal::NotGet),
            ("HEAD /metrics HTTP/1.1", Refusal::NotGet),
            ("GET / HTTP/1.1", Refusal::NotFound),
            ("GET /metrics/../etc HTTP/1.1", Refusal::NotFound),
            ("GET http://localhost/metrics HTTP/1.1", Refusal::NotFound),
            ("GET /metrics", Refusal::Malformed),
            ("GET /metrics HTTP/2.0", Refusal::Malformed),
            ("GET  /metrics HTTP/1.1", Refusal::Malformed),
            ("", Refusal::Malformed),
            ("\u{16}\u{3}\u{1}", Refusal::Malformed),
        ] {
            let request = format!("{line}\r\n");
            assert_eq!(asked(request.as_bytes()), Asked::Refused(refusal), "{line:?}");
        }
        assert_eq!(asked(b"\xff\xfe /metrics HTTP/1.1\r\n"), Asked::Refused(Refusal::Malformed));
    }

    #[test]
    fn a_request_has_an_end_or_is_given_up() {
        let endless = [REQUEST.trim_end().as_bytes(), &[b'a'; MAX_HEAD]].concat();
        assert_eq!(asked(&endless), Asked::Refused(Refusal::TooLong));
        assert_eq!(asked(&[b'G'; MAX_HEAD]), Asked::Refused(Refusal::TooLong));
        assert_eq!(asked(&[b'G'; MAX_HEAD - 1]), Asked::More);
        let late = [&endless[..], b"\r\n\r\n"].concat();
        assert_eq!(asked(&late), Asked::Refused(Refusal::TooLong));
    }

    #[test]
    fn a_response_says_how_long_it_is() {
        let text = String::from_utf8(page("nattt_up 1\n")).expect("text");
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 11\r\nConnection: close\r\n\r\nnattt_up 1\n"
        );
        let text = String::from_utf8(refusal(Refusal::NotGet)).expect("text");
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("\r\nAllow: GET\r\n"), "{text}");
    }

    proptest! {
        /// What is added never takes a decision back, so nobody has to read on after one.
        #[test]
        fn a_decision_is_final(octets in prop::collection::vec(any::<u8>(), 0..400),
                               more in prop::collection::vec(any::<u8>(), 0..400)) {
            let before = asked(&octets);
            if before != Asked::More {
                prop_assert_eq!(asked(&[octets, more].concat()), before);
            }
        }
    }
}
