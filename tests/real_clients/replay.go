// Replays, with the library that they are made with, how external-dns and cert-manager speak to a
// server: `replay FLOW ZONE KEY ALGORITHM SECRET SERVER...`.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"
)

var zone, key, algorithm, secret string

func fail(what string, err error) {
	fmt.Fprintln(os.Stderr, what, err)
	os.Exit(1)
}

// transfer is external-dns reading what there is: AXFR with TSIG.
func transfer(server string) map[string]bool {
	t := new(dns.Transfer)
	t.TsigSecret = map[string]string{key: secret}
	m := new(dns.Msg)
	m.SetAxfr(zone)
	m.SetTsig(key, algorithm, 300, time.Now().Unix())
	envelopes, err := t.In(m, server)
	if err != nil {
		fail("axfr", err)
	}
	records := map[string]bool{}
	for envelope := range envelopes {
		if envelope.Error != nil {
			fail("axfr", envelope.Error)
		}
		for _, rr := range envelope.RR {
			records[rr.String()] = true
		}
	}
	return records
}

func update(server, network string, change func(*dns.Msg)) {
	m := new(dns.Msg)
	m.SetUpdate(zone)
	change(m)
	m.SetTsig(key, algorithm, 300, time.Now().Unix())
	c := new(dns.Client)
	c.Net = network
	c.TsigSecret = map[string]string{key: secret}
	response, _, err := c.Exchange(m, server)
	if err != nil {
		fail("update at "+server, err)
	}
	if response.Rcode != dns.RcodeSuccess {
		fail("update at "+server, fmt.Errorf(dns.RcodeToString[response.Rcode]))
	}
	if response.IsTsig() == nil {
		fail("update at "+server, fmt.Errorf("the response is not signed"))
	}
}

func record(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		fail(text, err)
	}
	return rr
}

func wait(what string, is func() bool) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	fail(what, fmt.Errorf("not within 20 s"))
}

// externalDNS reads all, sends creations in batches, each to the next server, reads again, deletes.
func externalDNS(servers []string) {
	before := transfer(servers[0])
	next := 0
	batches := func(change func(*dns.Msg, []dns.RR)) {
		for batch := 0; batch < 6; batch++ {
			network := "udp"
			if batch%2 == 1 {
				network = "tcp"
			}
			var rrs []dns.RR
			for n := 0; n < 5; n++ {
				name := fmt.Sprintf("svc-%d-%d.%s", batch, n, zone)
				rrs = append(rrs, record(name+" 300 IN A 192.0.2.7"))
				rrs = append(rrs, record(name+` 300 IN TXT "heritage=external-dns,external-dns/owner=default"`))
			}
			update(servers[next%len(servers)], network, func(m *dns.Msg) { change(m, rrs) })
			next++
		}
	}
	batches(func(m *dns.Msg, rrs []dns.RR) { m.Insert(rrs) })
	for _, server := range servers {
		wait("records at "+server, func() bool { return len(transfer(server)) == len(before)+60 })
	}
	batches(func(m *dns.Msg, rrs []dns.RR) { m.Remove(rrs) })
	for _, server := range servers {
		wait("no records at "+server, func() bool { return len(transfer(server)) == len(before) })
	}
}

// certManager adds two challenges at one name and asks every server until it has them.
func certManager(servers []string) {
	name := "_acme-challenge.www." + zone
	one, two := record(name+` 60 IN TXT "one"`), record(name+` 60 IN TXT "two"`)
	update(servers[0], "udp", func(m *dns.Msg) { m.Insert([]dns.RR{one}) })
	update(servers[1%len(servers)], "udp", func(m *dns.Msg) { m.Insert([]dns.RR{two}) })
	texts := func(server string) int {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeTXT)
		m.SetEdns0(4096, false)
		m.RecursionDesired = false
		response, err := dns.Exchange(m, server)
		if err != nil {
			fail("question at "+server, err)
		}
		return len(response.Answer)
	}
	for _, server := range servers {
		wait("challenges at "+server, func() bool { return texts(server) == 2 })
	}
	update(servers[len(servers)-1], "udp", func(m *dns.Msg) { m.Remove([]dns.RR{one}) })
	update(servers[0], "udp", func(m *dns.Msg) { m.Remove([]dns.RR{two}) })
	for _, server := range servers {
		wait("no challenges at "+server, func() bool { return texts(server) == 0 })
	}
}

func main() {
	if len(os.Args) < 7 {
		fail("usage:", fmt.Errorf("replay FLOW ZONE KEY ALGORITHM SECRET SERVER..."))
	}
	flow, servers := os.Args[1], os.Args[6:]
	zone, key = dns.Fqdn(os.Args[2]), dns.Fqdn(os.Args[3])
	algorithm, secret = dns.Fqdn(os.Args[4]), os.Args[5]
	switch flow {
	case "external-dns":
		externalDNS(servers)
	case "cert-manager":
		certManager(servers)
	default:
		fail(flow, fmt.Errorf("no such flow"))
	}
}
