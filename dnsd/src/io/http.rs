//! `/metrics`, `/health` and `/ready` over HTTP/1.1: GET and HEAD, one request a connection.

use crate::health::Health;
use crate::metrics::{CONTENT_TYPE, Page};
use crate::report::Zones;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Connections at once: a few scrapers and probes.
const CONNECTIONS_MAX: usize = 32;
/// Longest request with its header fields; what a browser sends is shorter.
const REQUEST_SIZE_MAX: usize = 8 * 1024;
/// All that one connection may take, reading and writing.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that says nothing for so long hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Out of file descriptors: some will be free soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the peer last said of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// When.
    pub taken: Instant,
    /// Whether it serves current data.
    pub health: Health,
    /// Its numbers.
    pub page: Page,
}

/// Where snapshots come from.
pub struct Snapshots<A, Z> {
    /// Asks the peer for a new one; it must not wait.
    pub ask: A,
    /// Asks the peer for its zones; it must not wait. They are not part of a snapshot: one that is
    /// kept would keep what has long changed in memory.
    pub ask_zones: Z,
    /// The newest.
    pub newest: watch::Receiver<Arc<Snapshot>>,
}

/// Whether the peer has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answered {
    Yes,
    No,
}

impl<A: Fn(), Z: Fn(oneshot::Sender<Zones>)> Snapshots<A, Z> {
    /// One that is taken from now on, if the peer answers; else the last one.
    async fn take(&self, now: Instant) -> (Arc<Snapshot>, Answered) {
        (self.ask)();
        let mut newest = self.newest.clone();
        let taken = newest.wait_for(|snapshot| snapshot.taken >= now);
        if let Ok(Ok(snapshot)) = timeout(ANSWER_TIMEOUT, taken).await {
            return (Arc::clone(&snapshot), Answered::Yes);
        }
        (Arc::clone(&self.newest.borrow()), Answered::No)
    }

    /// The zones of this moment; none if the peer does not answer.
    async fn zones(&self) -> Option<Zones> {
        let (sender, zones) = oneshot::channel();
        (self.ask_zones)(sender);
        timeout(ANSWER_TIMEOUT, zones).await.ok()?.ok()
    }
}

/// Serves until it is dropped.
pub async fn serve<A, Z>(listener: TcpListener, snapshots: Snapshots<A, Z>)
where
    A: Fn() + Send + Sync + 'static,
    Z: Fn(oneshot::Sender<Zones>) + Send + Sync + 'static,
{
    let snapshots = Arc::new(snapshots);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&connections)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP client");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let snapshots = Arc::clone(&snapshots);
        tokio::spawn(async move {
            // A client that is slow or hangs up harms itself only.
            drop(timeout(CONNECTION_TIMEOUT, answer(stream, &snapshots)).await);
            drop(permit);
        });
    }
}

async fn answer<A, Z>(mut stream: TcpStream, snapshots: &Snapshots<A, Z>) -> io::Result<()>
where
    A: Fn(),
    Z: Fn(oneshot::Sender<Zones>),
{
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let size = stream.read(&mut part).await?;
        if size == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..size]);
        if request.len() > REQUEST_SIZE_MAX {
            let response = Response::plain("431 Request Header Fields Too Large", "too long\n");
            return response.send(&mut stream, Body::Sent).await;
        }
    }
    let (snapshot, answered) = snapshots.take(Instant::now()).await;
    let zones = match is_of_metrics(&request) {
        true => snapshots.zones().await,
        false => None,
    };
    // The text about very many zones takes a while.
    let made = spawn_blocking(move || respond(&request, &snapshot, answered, zones.as_ref()));
    let (response, body) = made.await.map_err(io::Error::other)?;
    response.send(&mut stream, body).await
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

/// Whether the body is sent, or only described (RFC 9110 section 9.3.2: HEAD).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Sent,
    LeftOut,
}

fn first_line(request: &[u8]) -> Cow<'_, str> {
    let mut lines = request.split(|byte| *byte == b'\r');
    String::from_utf8_lossy(lines.next().unwrap_or_default())
}

fn path_of(target: Option<&str>) -> &str {
    let target = target.unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

fn is_of_metrics(request: &[u8]) -> bool {
    path_of(first_line(request).split(' ').nth(1)) == "/metrics"
}

fn respond(
    request: &[u8],
    snapshot: &Snapshot,
    answered: Answered,
    zones: Option<&Zones>,
) -> (Response, Body) {
    let line = first_line(request);
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let body = match method {
        Some("GET") => Body::Sent,
        Some("HEAD") => Body::LeftOut,
        _ => {
            let response = Response::plain("405 Method Not Allowed", "expected GET or HEAD\n");
            return (response, Body::Sent);
        }
    };
    if !version.is_some_and(|version| version.starts_with("HTTP/1.")) {
        return (
            Response::plain("400 Bad Request", "expected HTTP/1.1\n"),
            body,
        );
    }
    let response = match path_of(target) {
        "/metrics" => Response {
            status: "200 OK",
            content_type: CONTENT_TYPE,
            body: snapshot
                .page
                .text(|| zones.into_iter().flat_map(Zones::iter)),
        },
        // Both mean "serving current data": a load balancer and a supervisor that restarts what
        // is unhealthy are told the same, and the reasons beside.
        "/health" | "/ready" => health(snapshot, answered),
        _ => Response::plain("404 Not Found", "expected /metrics, /health or /ready\n"),
    };
    (response, body)
}

fn health(snapshot: &Snapshot, answered: Answered) -> Response {
    let mut health = snapshot.health.clone();
    if answered == Answered::No {
        let reason = "the peer's thread does not answer";
        health.reasons.push(reason.to_owned());
    }
    Response {
        status: if health.is_current() {
            "200 OK"
        } else {
            "503 Service Unavailable"
        },
        content_type: "application/json",
        body: serde_json::to_string(&health).expect("health has string keys only") + "\n",
    }
}

impl Response {
    fn plain(status: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }

    async fn send(&self, stream: &mut TcpStream, body: Body) -> io::Result<()> {
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        )
        .into_bytes();
        if body == Body::Sent {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Phase;
    use crate::status::tests::status;
    use std::io::{Read, Write};

    fn snapshot(reasons: &[&str]) -> Snapshot {
        Snapshot {
            taken: Instant::now(),
            health: Health {
                phase: Phase::Serving,
                reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            },
            page: Page::new(&status(), &[]),
        }
    }

    /// What a raw client gets for these bytes.
    fn ask(snapshot: Snapshot, request: Vec<u8>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (sender, newest) = watch::channel(Arc::new(snapshot));
            let ask = move || {
                sender.send_modify(|snapshot| {
                    Arc::make_mut(snapshot).taken = Instant::now();
                });
            };
            let server = tokio::spawn(serve(
                listener,
                Snapshots {
                    ask,
                    ask_zones: drop,
                    newest,
                },
            ));
            let response = spawn_blocking(move || {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                client.write_all(&request).unwrap();
                let mut response = String::new();
                client.read_to_string(&mut response).unwrap();
                response
            });
            let response = response.await.unwrap();
            server.abort();
            response
        })
    }

    fn get(snapshot: Snapshot, path: &str) -> String {
        ask(
            snapshot,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        )
    }

    #[test]
    fn health_means_serving_current_data() {
        for path in ["/health", "/ready"] {
            let response = get(snapshot(&[]), path);
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
            assert!(
                response.ends_with("{\"phase\":\"serving\",\"reasons\":[]}\n"),
                "{response}"
            );
            let response = get(snapshot(&["no majority"]), path);
            assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
            assert!(response.contains("[\"no majority\"]"), "{response}");
        }
    }

    #[test]
    fn a_thread_that_hangs_is_not_healthy() {
        let (_sender, newest) = watch::channel(Arc::new(snapshot(&[])));
        let snapshots = Snapshots {
            ask: || {},
            ask_zones: drop,
            newest,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (last, answered) = runtime.block_on(snapshots.take(Instant::now()));
        assert_eq!(answered, Answered::No);
        let response = health(&last, answered);
        assert!(response.status.starts_with("503"));
        assert!(response.body.contains("does not answer"));
    }

    #[test]
    fn metrics_are_text_with_its_length() {
        let response = get(snapshot(&[]), "/metrics?x=1");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(CONTENT_TYPE), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert!(body.contains("zonecast_zones 2\n"), "{body}");
    }

    #[test]
    fn other_requests_are_refused() {
        let check = |request: &[u8], expected: &str| {
            let response = ask(snapshot(&[]), request.to_vec());
            assert!(
                response.starts_with(&format!("HTTP/1.1 {expected}")),
                "{response}"
            );
        };
        check(b"GET / HTTP/1.1\r\n\r\n", "404");
        check(b"POST /health HTTP/1.1\r\n\r\n", "405");
        check(b"GET /health\r\n\r\n", "400");
        check(b"\xff\xfe\r\n\r\n", "405");
        check(&[b'x'; REQUEST_SIZE_MAX + 1], "431");
        let response = ask(snapshot(&[]), b"HEAD /health HTTP/1.1\r\n\r\n".to_vec());
        assert!(response.ends_with("\r\n\r\n"), "{response}");
    }
}
