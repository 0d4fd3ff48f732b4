//! DNS over HTTPS (RFC 8484): a route carries messages to a DNS server of the same process, and answers
//! back.
//!
//! It knows of messages that they are octets, and how long they hold. What they say is the server's.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use medusa_resolver::{DoorAnswer, DoorReply, Doors, Visitor};

use crate::handler::{Answer, Exchange, Handler};
use crate::head::Known;
use crate::request::Request;
use crate::response::Response;
use crate::router::refuse_method;

/// The longest message (RFC 8484 §6).
const LONGEST: usize = 65535;
const MEDIA_TYPE: &str = "application/dns-message";

/// Base 64 for addresses, without padding (RFC 8484 §6).
const ENCODING: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD);

/// A route to one server.
#[derive(Debug, Clone)]
pub(crate) struct DnsRoute {
    doors: Doors,
    service: String,
}

impl DnsRoute {
    /// To the server of this name; that it is there is found out when it is asked.
    pub(crate) fn new(doors: Doors, service: String) -> DnsRoute {
        DnsRoute { doors, service }
    }

    fn carry(&self, message: &[u8], visitor: Visitor, exchange: &mut Exchange<'_, '_>) -> Answer {
        let Some(door) = self.doors.named(&self.service) else {
            return Response::error(StatusCode::BAD_GATEWAY).into();
        };
        match door.answer(message, visitor) {
            DoorReply::Now(answer) => told(answer).into(),
            DoorReply::Nothing => Response::error(StatusCode::BAD_REQUEST).into(),
            DoorReply::Later(pending) => {
                let (answer, later) = exchange.defer();
                // Where too much waits, the handle is dropped, which is an answer too.
                pending.begin(move |told_later| drop(later.answer(move || told(told_later))));
                answer
            }
        }
    }
}

impl Handler for DnsRoute {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        let visitor = Visitor {
            address: request.client(),
            is_secure: request.is_secure(),
            now: exchange.wall_clock(),
        };
        match *request.method() {
            // What is below is something else.
            _ if !request.rest().is_empty() => Response::error(StatusCode::NOT_FOUND).into(),
            Method::OPTIONS => Response::new(StatusCode::NO_CONTENT).allow(&self.methods()).into(),
            Method::GET | Method::HEAD => match asked(request.query().unwrap_or_default()) {
                Ok(message) => self.carry(&message, visitor, exchange),
                Err(status) => Response::error(status).into(),
            },
            Method::POST => {
                let media_type = request.known(Known::ContentType).unwrap_or_default();
                if !media_type.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()) {
                    return Response::error(StatusCode::UNSUPPORTED_MEDIA_TYPE).into();
                }
                let route = self.clone();
                Answer::collect(LONGEST as u64, move |message, exchange| {
                    route.carry(&message, visitor, exchange)
                })
            }
            _ => refuse_method(request.method(), &self.methods()).into(),
        }
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::GET, Method::HEAD, Method::POST, Method::OPTIONS]
    }
}

/// The message in the variable `dns` of a query.
fn asked(query: &[u8]) -> Result<Vec<u8>, StatusCode> {
    let variables = query.split(|byte| *byte == b'&');
    let mut values = variables.filter_map(|variable| variable.strip_prefix(b"dns="));
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    if value.len() > LONGEST.div_ceil(3) * 4 {
        return Err(StatusCode::URI_TOO_LONG);
    }
    ENCODING.decode(value).map_err(|_| StatusCode::BAD_REQUEST)
}

fn told(answer: DoorAnswer) -> Response {
    let age = format!("max-age={}", answer.seconds);
    let age = HeaderValue::from_str(&age).unwrap_or(HeaderValue::from_static("no-store"));
    Response::new(StatusCode::OK)
        .field(&header::CONTENT_TYPE, &HeaderValue::from_static(MEDIA_TYPE))
        .field(&header::CACHE_CONTROL, &age)
        .body(Bytes::from(answer.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_queries() {
        // RFC 8484 §4.1.1.
        let message = asked(b"dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB").unwrap();
        assert!(message.ends_with(b"\x03www\x07example\x03com\x00\x00\x01\x00\x01"));
        assert_eq!(asked(b"a=b&dns=&c"), Ok(vec![]));
        for wrong in
            [&b""[..], b"dns", b"DNS=AAAA", b"dns=AA=", b"dns=A", b"dns=+/", b"dns=AAAA&dns=AAAA"]
        {
            assert_eq!(asked(wrong), Err(StatusCode::BAD_REQUEST), "{wrong:?}");
        }
        let long = [b"dns=".to_vec(), vec![b'A'; 90_000]].concat();
        assert_eq!(asked(&long), Err(StatusCode::URI_TOO_LONG));
    }
}
