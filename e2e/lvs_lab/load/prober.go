package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const headerBytes = 8

// family is what differs between ICMP (RFC 792) and ICMPv6 (RFC 4443).
type family struct {
	network, any   string
	request, reply byte
}

var (
	ipv4 = family{network: "ip4:icmp", any: "0.0.0.0", request: 8, reply: 0}
	ipv6 = family{network: "ip6:ipv6-icmp", any: "::", request: 128, reply: 129}
)

// probeReport is what became of echo requests at a fixed rate.
type probeReport struct {
	Sent    int     `json:"sent"`
	Unsent  int     `json:"unsent"`  // the kernel knew no way, or no neighbour
	LeftOut int     `json:"leftOut"` // this machine had no time for them
	Replies []int64 `json:"replies"` // when each came, microseconds since 1970
}

// probe sends an ICMP echo request each interval until told to end; "answered" on stderr says that the first came back.
func probe(address string, interval time.Duration, end <-chan os.Signal) (*probeReport, error) {
	target := net.ParseIP(address)
	if target == nil {
		return nil, fmt.Errorf("%q is no address", address)
	}
	kind := ipv6
	if target.To4() != nil {
		kind = ipv4
	}
	connection, err := net.ListenPacket(kind.network, kind.any)
	if err != nil {
		return nil, err
	}
	identifier := uint16(os.Getpid())
	report := &probeReport{Replies: []int64{}}
	listened := make(chan error, 1)
	go func() { listened <- report.listen(connection, target, kind.reply, identifier) }()
	report.send(connection, target, func() []byte {
		return echo(kind.request, identifier, uint16(report.Sent))
	}, interval, end)
	connection.Close()
	return report, <-listened
}

func (r *probeReport) send(
	connection net.PacketConn, target net.IP, next func() []byte, interval time.Duration, end <-chan os.Signal,
) {
	for due := time.Now(); ; due = due.Add(interval) {
		select {
		case <-end:
			return
		case <-time.After(time.Until(due)):
		}
		if time.Since(due) > late {
			r.LeftOut++
			continue
		}
		if _, err := connection.WriteTo(next(), &net.IPAddr{IP: target}); err != nil {
			r.Unsent++ // that is a probe without a reply, and what is measured
			continue
		}
		r.Sent++
	}
}

func (r *probeReport) listen(connection net.PacketConn, target net.IP, reply byte, identifier uint16) error {
	packet := make([]byte, 1500)
	for {
		count, from, err := connection.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if count < headerBytes || packet[0] != reply || binary.BigEndian.Uint16(packet[4:]) != identifier {
			continue
		}
		if sender, ok := from.(*net.IPAddr); !ok || !sender.IP.Equal(target) {
			continue
		}
		r.Replies = append(r.Replies, time.Now().UnixMicro())
		if len(r.Replies) == 1 {
			fmt.Fprintln(os.Stderr, "answered")
		}
	}
}

// echo is an echo request of this type without data. The kernel writes another checksum into those of ICMPv6, which counts
// the addresses, too (RFC 3542, 3.1).
func echo(request byte, identifier, sequence uint16) []byte {
	packet := make([]byte, headerBytes)
	packet[0] = request
	binary.BigEndian.PutUint16(packet[4:], identifier)
	binary.BigEndian.PutUint16(packet[6:], sequence)
	var sum uint32
	for at := 0; at < headerBytes; at += 2 {
		sum += uint32(binary.BigEndian.Uint16(packet[at:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(packet[2:], ^uint16(sum))
	return packet
}
