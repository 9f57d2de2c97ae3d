//! DNS over HTTPS (RFC 8484): where in an HTTP request its DNS message is, and for how long an
//! HTTP cache may keep the response.

use crate::message::header::HEADER_SIZE;
use crate::message::request::skip_name;
use crate::message::{Header, Malformed, read_u16, read_u32};
use data_encoding::BASE64URL_NOPAD;
use hyper::{Method, StatusCode, Uri};
use zones::Rcode;

/// The media type of DNS messages.
pub const MEDIA_TYPE: &str = "application/dns-message";
/// The path at which DNS is served: RFC 8484 leaves it to a template, and all its examples have
/// this one.
pub const PATH: &str = "/dns-query";
/// What may be done there.
pub const METHODS: &str = "GET, HEAD, POST";

/// Where the DNS message of an HTTP request is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// It was in the URI.
    InUri(Vec<u8>),
    /// It is the body.
    InBody,
}

/// Why an HTTP request holds no DNS message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMessage {
    /// The status of the HTTP response.
    pub status: StatusCode,
    /// What is wrong, in words.
    pub why: &'static str,
}

impl NoMessage {
    /// The message is longer than any can be.
    pub const TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        why: "no DNS message is so long",
    };
    /// Its body does not come.
    pub const TOO_SLOW: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        why: "the DNS message takes too long",
    };
    /// There is a message, and it gets no response.
    pub const NO_REQUEST: Self = Self {
        status: StatusCode::BAD_REQUEST,
        why: "the DNS message is no request",
    };

    const fn bad(why: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why,
        }
    }
}

/// Finds the DNS message of an HTTP request (RFC 8484 section 4.1).
pub fn message_of(
    method: &Method,
    uri: &Uri,
    content_type: Option<&[u8]>,
) -> Result<Held, NoMessage> {
    if uri.path() != PATH {
        return Err(NoMessage {
            status: StatusCode::NOT_FOUND,
            why: "DNS is served at /dns-query",
        });
    }
    match *method {
        Method::POST => {
            // RFC 9110 section 8.3.1: a media type is spelled in any case; parameters may follow.
            let content_type = content_type.unwrap_or_default();
            let media_type = content_type.split(|byte| *byte == b';').next();
            let media_type = media_type.unwrap_or_default().trim_ascii();
            if media_type.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()) {
                Ok(Held::InBody)
            } else {
                Err(NoMessage {
                    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    why: "the body must be application/dns-message",
                })
            }
        }
        // RFC 9110 section 9.1: whoever supports GET supports HEAD.
        Method::GET | Method::HEAD => {
            let pairs = uri.query().unwrap_or_default().split('&');
            let mut values = pairs.filter_map(|pair| pair.strip_prefix("dns="));
            let text = values.next();
            let text = text.ok_or(const { NoMessage::bad("the parameter dns is missing") })?;
            let message = BASE64URL_NOPAD.decode(text.as_bytes());
            let message = message.map_err(|_| {
                NoMessage::bad("the parameter dns is not base64url without padding")
            })?;
            // No URI is long enough for more than a message can have.
            Ok(Held::InUri(message))
        }
        _ => Err(NoMessage {
            status: StatusCode::METHOD_NOT_ALLOWED,
            why: "use GET or POST",
        }),
    }
}

/// For how many seconds a response may be kept: no longer than the TTL of any record that it says
/// (RFC 8484 section 5.1), where it says that there is none that of the SOA record. Errors are not
/// to be kept.
#[must_use]
pub fn seconds_fresh(response: &[u8]) -> u32 {
    least_ttl(response).ok().flatten().unwrap_or(0)
}

fn least_ttl(response: &[u8]) -> Result<Option<u32>, Malformed> {
    let header = Header::read(response)?;
    let rcode = Rcode(header.flags() & 15);
    if !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return Ok(None);
    }
    let [questions, answers, authorities, _] = header.counts();
    let mut at = HEADER_SIZE;
    for _ in 0..questions {
        at = skip_name(response, at)? + 4;
    }
    let mut least: Option<u32> = None;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        // TYPE, CLASS, TTL, RDLENGTH, RDATA.
        at = skip_name(response, at)?;
        let ttl = read_u32(response, at + 4)?;
        least = Some(least.map_or(ttl, |least| least.min(ttl)));
        at += 10 + usize::from(read_u16(response, at + 8)?);
    }
    Ok(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_the_uri_or_the_body() {
        let check = |method: Method, uri: &str, content_type: &str, expected| {
            let content_type = Some(content_type.as_bytes()).filter(|text| !text.is_empty());
            let found = message_of(&method, &uri.parse().unwrap(), content_type);
            assert_eq!(found.map_err(|no| no.status.as_u16()), expected, "{uri}");
        };
        let uri = |bytes: &[u8]| Ok(Held::InUri(bytes.to_vec()));
        check(
            Method::GET,
            "/dns-query?dns=AAEC_w",
            "",
            uri(b"\x00\x01\x02\xff"),
        );
        check(
            Method::HEAD,
            "https://ns/dns-query?a=b&dns=-_8",
            "",
            uri(b"\xfb\xff"),
        );
        check(Method::GET, "/dns-query?dns=", "", uri(b""));
        check(Method::GET, "/dns-query", "", Err(400));
        check(Method::GET, "/dns-query?odns=AAEC", "", Err(400));
        check(Method::GET, "/dns-query?dns=AAECAw==", "", Err(400));
        check(Method::GET, "/dns-query?dns=+/8", "", Err(400));
        check(Method::GET, "/?dns=AAEC", "", Err(404));
        let body = || Ok(Held::InBody);
        check(Method::POST, "/dns-query", MEDIA_TYPE, body());
        check(
            Method::POST,
            "/dns-query",
            "Application/DNS-Message ; x=y",
            body(),
        );
        check(Method::POST, "/dns-query", "text/plain", Err(415));
        check(Method::POST, "/dns-query", "", Err(415));
        check(Method::POST, "/", MEDIA_TYPE, Err(404));
        check(Method::PUT, "/dns-query", MEDIA_TYPE, Err(405));
    }

    #[test]
    fn a_response_is_kept_no_longer_than_its_records() {
        let record = |ttl: u8| {
            [
                b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00",
                &[ttl][..],
                b"\x00\x04abcd",
            ]
            .concat()
        };
        let check = |rcode: u8, counts: [u8; 3], ttls: &[u8], expected: u32| {
            let [answers, authorities, additional] = counts;
            let mut response = vec![
                0,
                0,
                0x84,
                rcode,
                0,
                1,
                0,
                answers,
                0,
                authorities,
                0,
                additional,
            ];
            response.extend(b"\x01a\x00\x00\x01\x00\x01");
            ttls.iter().for_each(|ttl| response.extend(record(*ttl)));
            assert_eq!(seconds_fresh(&response), expected, "{rcode} {ttls:?}");
        };
        check(0, [1, 0, 0], &[60], 60);
        check(0, [2, 1, 0], &[60, 40, 50], 40);
        check(0, [1, 1, 1], &[60, 50, 10], 50);
        check(3, [0, 1, 0], &[30], 30);
        check(0, [0, 0, 0], &[], 0);
        check(2, [1, 0, 0], &[60], 0);
        check(0, [2, 0, 0], &[60], 0);
        assert_eq!(seconds_fresh(b"short"), 0);
    }
}
