//! DNS over HTTPS (RFC 8484) by HTTP/3 (RFC 9114). What a request gets is said in `https.rs`.

use super::https;
use super::server::Connection;
use crate::doh::NoMessage;
use crate::message::MESSAGE_SIZE_MAX;
use bytes::{Buf, Bytes, BytesMut};
use h3::error::StreamError;
use h3::server::{RequestResolver, RequestStream};
use h3_quinn::BidiStream;
use hyper::{Method, Response};
use quinn::VarInt;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;

/// The name of HTTP/3 in ALPN.
pub(super) const ALPN: [&[u8]; 1] = [b"h3"];
/// RFC 9114 section 8.1: H3_NO_ERROR.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Answers the requests of a connection until it ends.
pub(super) async fn talk(
    connection: Arc<Connection>,
    quic: quinn::Connection,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = h3::server::builder();
    builder.max_field_section_size(https::HEADER_SIZE_MAX as u64);
    let begun = tokio::select! {
        begun = builder.build(h3_quinn::Connection::new(quic.clone())) => begun,
        _end = connection.ended(&mut stop) => return,
    };
    // How it ends, here or below, is the client's matter.
    let Ok(mut http) = begun else { return };
    loop {
        let request = tokio::select! {
            request = http.accept() => match request {
                Ok(Some(request)) => request,
                Ok(None) | Err(_) => return,
            },
            _end = connection.ended(&mut stop) => break,
        };
        let connection = Arc::clone(&connection);
        tokio::spawn(async move {
            // A client that does not take its response is gone, or soon will be.
            let time = connection.server.limits.timeout_idle;
            drop(timeout(time, answer(&connection, request)).await);
        });
    }
    connection.finish().await;
    quic.close(NO_ERROR, b"");
}

async fn answer(
    connection: &Connection,
    request: RequestResolver<h3_quinn::Connection, Bytes>,
) -> Result<(), StreamError> {
    let (request, mut stream) = request.resolve_request().await?;
    let is_head = request.method() == Method::HEAD;
    let (head, ()) = request.into_parts();
    let response = https::respond(connection, &head, read_body(&mut stream)).await;
    let (head, body) = response.into_parts();
    stream.send_response(Response::from_parts(head, ())).await?;
    if !is_head {
        stream.send_data(body).await?;
    }
    stream.finish().await
}

async fn read_body(
    stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
) -> Result<Bytes, NoMessage> {
    let mut body = BytesMut::new();
    loop {
        match stream.recv_data().await {
            Ok(Some(mut data)) => {
                if body.len() + data.remaining() > MESSAGE_SIZE_MAX {
                    return Err(NoMessage::TOO_LARGE);
                }
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            Ok(None) => return Ok(body.freeze()),
            // The client is gone, so nobody reads this.
            Err(_) => return Err(NoMessage::NO_REQUEST),
        }
    }
}
