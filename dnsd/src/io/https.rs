//! DNS over HTTPS (RFC 8484), by HTTP/2 or HTTP/1.1 under TLS, and what a request gets by any
//! version of HTTP.
//!
//! ```text
//! connection (tcp.rs) ─→ hyper ─ request ─→ doh.rs: its DNS message ─→ Connection::answer ─→ response
//!                          │                    └ none ─→ an error of HTTP
//!                          └ ended when idle, when it has to give way, or at a stop
//! ```

use super::server::{Connection, Reply};
use crate::doh::{self, Held, NoMessage};
use crate::message::MESSAGE_SIZE_MAX;
use crate::serve::Count;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// The names of HTTP in ALPN, the better one first.
pub(super) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Requests of one connection at the same time.
const STREAMS_MAX: u32 = 64;
/// Bytes of the header of one request: the longest URI, and more than clients put beside it.
pub(super) const HEADER_SIZE_MAX: usize = 72 * 1024;
/// Bytes of one request, of all requests of a connection, and of a response, that wait.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const SEND_BUFFER_SIZE: usize = 64 * 1024;
/// The time for the header of a request by HTTP/1.1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers the requests of a connection until it ends.
pub(super) async fn talk(
    connection: Connection,
    stream: Box<TlsStream<TcpStream>>,
    mut stop: watch::Receiver<bool>,
) {
    let connection = Arc::new(connection);
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request: Request<Incoming>| {
            let connection = Arc::clone(&connection);
            async move {
                let (head, body) = request.into_parts();
                let response = respond(&connection, &head, read_body(body)).await;
                Ok::<_, Infallible>(response.map(Full::new))
            }
        }
    });
    let builder = builder();
    let http = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(http);
    tokio::select! {
        // How it ended is the client's matter.
        _ended = http.as_mut() => return,
        _end = connection.ended(&mut stop) => {}
    }
    http.as_mut().graceful_shutdown();
    // A client that does not take what is left for it is not waited for.
    drop(timeout(connection.server.limits.timeout_write, http).await);
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_SIZE_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_SIZE_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_SIZE);
    builder
}

async fn read_body(body: Incoming) -> Result<Bytes, NoMessage> {
    let body = Limited::new(body, MESSAGE_SIZE_MAX).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(NoMessage::TOO_LARGE),
        // The client is gone, so nobody reads this.
        Err(_) => Err(NoMessage::NO_REQUEST),
    }
}

/// What a request gets; its body is read if it is needed.
pub(super) async fn respond(
    connection: &Connection,
    head: &Parts,
    body: impl Future<Output = Result<Bytes, NoMessage>>,
) -> Response<Bytes> {
    match answer(connection, head, body).await {
        Ok(message) => {
            let fresh = format!("max-age={}", doh::seconds_fresh(&message));
            let mut response = Response::new(Bytes::from(message));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(doh::MEDIA_TYPE));
            let fresh = HeaderValue::try_from(fresh).expect("these are letters and digits");
            headers.insert(CACHE_CONTROL, fresh);
            response
        }
        Err(NoMessage { status, why }) => {
            connection.server.counters.add(Count::HttpRefused);
            let mut response = Response::new(Bytes::from_static(why.as_bytes()));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static(doh::METHODS));
            }
            response
        }
    }
}

async fn answer(
    connection: &Connection,
    head: &Parts,
    body: impl Future<Output = Result<Bytes, NoMessage>>,
) -> Result<Vec<u8>, NoMessage> {
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let message = match doh::message_of(&head.method, &head.uri, content_type)? {
        Held::InUri(message) => message.into(),
        Held::InBody => {
            let body = timeout(connection.server.limits.timeout_idle, body).await;
            body.map_err(|_| NoMessage::TOO_SLOW)??
        }
    };
    let _in_flight = connection.place.begin();
    match connection.answer(&message).await {
        Reply::Response(response) => Ok(response),
        Reply::Nothing => Err(NoMessage::NO_REQUEST),
        Reply::Transfer(_) => unreachable!("HTTPS carries no transfers"),
    }
}
