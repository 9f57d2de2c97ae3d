//! The nsupdate module of ansible: it asks by updates that have prerequisites alone.

use crate::{KEY, SECRET, file, peers_for, run};
use std::process::Command;
use tests::cluster::ORIGIN;

#[test]
fn ansible_sees_what_is_there_and_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    // The module's default is HMAC-MD5.
    let peers = peers_for(folder.path(), "hmac-md5", "zonesub");
    let mut command = Command::new("ansible-playbook");
    command.current_dir(folder.path());
    command.args(["-i", "localhost,"]).arg(file("playbook.yml"));
    let (ip, port) = (peers[1].dns.ip(), peers[1].dns.port());
    for variable in [
        format!("server={ip}"),
        format!("port={port}"),
        format!("key={KEY}"),
        format!("secret={SECRET}"),
        format!("zone={ORIGIN}"),
        "ansible_python_interpreter=/usr/bin/python3".to_owned(),
    ] {
        command.args(["-e", &variable]);
    }
    command.env("ANSIBLE_LOCALHOST_WARNING", "False");
    command.env("ANSIBLE_LOCAL_TEMP", folder.path().join("ansible"));
    command.env("LC_ALL", "C.UTF-8");
    let told = run(&mut command);
    assert!(told.contains("All assertions passed"), "{told}");
}
