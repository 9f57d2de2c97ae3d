"""The plugin of certbot as certbot calls it: two challenges at one name, one of them cleaned up.

acme_plugin.py ADDRESS PORT KEY SECRET NAME [sign]
"""

import sys

import dns.tsig
from certbot_dns_rfc2136._internal import dns_rfc2136

address, port, key, secret, name = sys.argv[1:6]
client = dns_rfc2136._RFC2136Client(
    address, int(port), key, secret, dns.tsig.HMAC_MD5, *([True] if sys.argv[6:] else [])
)
client.add_txt_record(name, "one", 120)
client.add_txt_record(name, "two", 120)
client.del_txt_record(name, "one")
