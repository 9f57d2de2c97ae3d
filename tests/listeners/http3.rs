//! DNS over HTTPS by HTTP/3.

use crate::quic::connect;
use crate::server::{PATIENCE, question};
use crate::tls::TlsServer;
use bytes::{Buf, Bytes};
use data_encoding::BASE64URL_NOPAD;
use dnsd::io::tcp::Limits;
use dnsd::serve::Count;
use hyper::{Method, Request, Response};
use tests::answer::Answer;
use tokio::time::timeout;
use zones::Rcode;

/// Sends some requests on one connection; what comes back, with the bodies.
fn exchange(tls: &mut TlsServer, requests: Vec<Request<Bytes>>) -> Vec<Response<Vec<u8>>> {
    let address = tls.addresses().https[0];
    let client = connect(tls, address, b"h3");
    let talk = async {
        let quic = h3_quinn::Connection::new(client.connection.clone());
        let (mut driver, mut send) = h3::client::new(quic).await.unwrap();
        let drive = async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await };
        let driving = tokio::spawn(drive);
        let mut responses = Vec::new();
        for request in requests {
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, ());
            let mut stream = send.send_request(request).await.unwrap();
            // A server that has read enough may stop reading.
            let _sent = stream.send_data(body).await;
            let _sent = stream.finish().await;
            let response = stream.recv_response().await.unwrap();
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await.unwrap() {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            responses.push(response.map(|()| body));
        }
        driving.abort();
        responses
    };
    let talk = async { timeout(PATIENCE, talk).await };
    client.runtime.block_on(talk).unwrap()
}

fn request(method: Method, path: &str, body: Vec<u8>) -> Request<Bytes> {
    Request::builder()
        .method(method)
        .uri(format!("https://ns1.example{path}"))
        .header("content-type", "application/dns-message")
        .body(body.into())
        .unwrap()
}

#[test]
fn both_methods_are_answered_on_the_port_of_https() {
    let mut tls = TlsServer::start(Limits::default());
    let get = format!("/dns-query?dns={}", BASE64URL_NOPAD.encode(&question(0)));
    let requests = vec![
        request(Method::GET, &get, Vec::new()),
        request(Method::POST, "/dns-query", question(0)),
        request(Method::GET, "/", Vec::new()),
        request(Method::POST, "/dns-query", vec![0; 65_536]),
    ];
    let responses = exchange(&mut tls, requests);
    for response in &responses[..2] {
        assert_eq!(response.status(), 200);
        let header = |name| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "application/dns-message");
        assert_eq!(header("cache-control"), "max-age=60");
        let answer = Answer::read(response.body()).unwrap();
        assert_eq!(
            (answer.rcode, answer.sections[0].len()),
            (Rcode::NOERROR, 1)
        );
    }
    let statuses: Vec<u16> = responses.iter().map(|r| r.status().as_u16()).collect();
    assert_eq!(statuses, [200, 200, 404, 413]);
    let counts = tls.server.listeners.counts();
    let count = |count| counts.get(count);
    assert_eq!(
        (count(Count::RequestsHttps), count(Count::QuicAccepted)),
        (2, 1)
    );
}
