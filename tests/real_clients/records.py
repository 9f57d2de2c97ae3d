"""What scripts that are made with dnspython do: read a zone by a signed AXFR, replace a record in it, and
claim a name that is free, or is not."""

import sys

import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import dns.zone

origin, key, secret, *servers = sys.argv[1:]
keyring = dns.tsigkeyring.from_text({key: secret})


def ask(server, fill):
    host, port = server.split(":")
    update = dns.update.UpdateMessage(origin, keyring=keyring)
    fill(update)
    by = dns.query.udp if server == servers[0] else dns.query.tcp
    return dns.rcode.to_text(by(update, host, port=int(port), timeout=20).rcode())


def read(server):
    host, port = server.split(":")
    messages = dns.query.xfr(host, origin, port=int(port), keyring=keyring)
    return dns.zone.from_xfr(messages, relativize=True)


def claim(update):
    update.absent("claimed")
    update.add("claimed", 60, "A", "192.0.2.1")


assert ask(servers[0], claim) == "NOERROR"
assert ask(servers[1], claim) == "YXDOMAIN"
assert ask(servers[2], lambda update: update.replace("claimed", 60, "A", "192.0.2.2")) == "NOERROR"
for server in servers:
    found = read(server).find_rdataset("claimed", "A")
    assert [record.to_text() for record in found] == ["192.0.2.2"], server
