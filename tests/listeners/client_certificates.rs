//! Clients that prove who they are by a certificate.

use crate::quic;
use crate::server::{PATIENCE, question, receive, receive_answer, receive_datagram, send};
use crate::server::{udp_client, update};
use crate::tls::{TlsServer, TlsStream, connect_to};
use dnsd::doq;
use dnsd::io::client_authorities::ClientAuthorities;
use dnsd::serve::{Certified, ClientName};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::fs;
use tests::answer::Answer;
use tests::question::Question;
use zones::Rcode;
use zones::rtype::Rtype;

const NAME: &str = "ns2.example";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that takes updates and transfers only from clients with a certificate of `NAME` by this
/// authority.
fn start(authority: &Authority) -> TlsServer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let authorities = ClientAuthorities::open(file).unwrap();
    let name = ClientName::Exactly(NAME.parse().unwrap());
    TlsServer::certified(Some(authorities), Certified::Clients(vec![name]))
}

/// Shows a certificate of this name from here on.
fn show(tls: &mut TlsServer, authority: &Authority, name: &str) {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    tls.show(vec![certificate.der().clone()], key);
}

fn transfer(id: u16) -> Vec<u8> {
    let mut question = Question::new("example.".parse().unwrap(), Rtype::AXFR);
    question.id = id;
    question.edns = Some((1232, 0, 0));
    question.to_wire()
}

fn explained_update(id: u16) -> Vec<u8> {
    let mut message = update(id);
    // An OPT record, so that the refusal may say why.
    message[11] = 1;
    message.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    message
}

fn expect_prohibited(answer: &Answer) {
    assert_eq!(answer.rcode, Rcode::REFUSED, "{answer}");
    // RFC 8914 section 4.19: Prohibited.
    let opt = answer.opt.as_deref().unwrap_or_default();
    assert!(opt.contains("15=0012"), "{answer}");
}

fn expect_refused(stream: &mut TlsStream) {
    send(stream, &question(1));
    assert_eq!(receive_answer(stream).rcode, Rcode::NOERROR);
    send(stream, &explained_update(2));
    expect_prohibited(&receive_answer(stream));
    send(stream, &transfer(3));
    expect_prohibited(&receive_answer(stream));
}

#[test]
fn who_shows_none_asks_and_changes_nothing() {
    let mut tls = start(&authority());
    expect_refused(&mut tls.connect());
    let quic = quic::Client::connect(&mut tls);
    expect_prohibited(&quic.ask(&explained_update(0)));
    expect_prohibited(&quic.ask(&transfer(0)));
    // Nor by what shows no certificates.
    let udp = udp_client(tls.server.address);
    udp.send_to(&explained_update(4), tls.server.address)
        .unwrap();
    expect_prohibited(&receive_datagram(&udp).0);
    let mut tcp = tls.server.connect();
    send(&mut tcp, &transfer(5));
    expect_prohibited(&receive_answer(&mut tcp));
    assert!(tls.server.updates.try_recv().is_err());
}

#[test]
fn who_proves_the_name_updates_and_transfers() {
    let authority = authority();
    let mut tls = start(&authority);
    show(&mut tls, &authority, NAME);
    // The second session is resumed.
    for _ in 0..2 {
        let mut stream = tls.connect();
        send(&mut stream, &transfer(1));
        assert_eq!(receive_answer(&mut stream).sections[0].len(), 5);
        send(&mut stream, &update(2));
        let request = tls.server.updates.recv_timeout(PATIENCE).unwrap();
        request.reply.send(Rcode::NOERROR);
        assert_eq!(receive_answer(&mut stream).rcode, Rcode::NOERROR);
    }
    let quic = quic::Client::connect(&mut tls);
    let messages = quic.exchange(&doq::frame(&transfer(0))).unwrap();
    let answer = Answer::read(&messages[0]).unwrap();
    assert_eq!(answer.sections[0].len(), 5);
}

#[test]
fn another_name_is_not_enough() {
    let authority = authority();
    let mut tls = start(&authority);
    show(&mut tls, &authority, "other.example");
    expect_refused(&mut tls.connect());
}

#[test]
fn a_certificate_of_somebody_else_ends_the_handshake() {
    let mut tls = start(&authority());
    show(&mut tls, &authority(), NAME);
    let mut stream = tls.shake_hands(connect_to(tls.addresses().tls[0]));
    // The client learns of it after its own part of the handshake.
    let size = question(1).len() as u16;
    let asked = [&size.to_be_bytes()[..], &question(1)].concat();
    drop(std::io::Write::write_all(&mut stream, &asked));
    assert_eq!(receive(&mut stream), None);
    tls.server.await_count(dnsd::serve::Count::TlsFailed, 1);
}
