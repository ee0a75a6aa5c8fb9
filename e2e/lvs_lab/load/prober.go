package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	echoReply   = 0
	echoRequest = 8
	headerBytes = 8
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
	target := net.ParseIP(address).To4()
	if target == nil {
		return nil, fmt.Errorf("%q is no IPv4 address", address)
	}
	connection, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, err
	}
	identifier := uint16(os.Getpid())
	report := &probeReport{Replies: []int64{}}
	listened := make(chan error, 1)
	go func() { listened <- report.listen(connection, target, identifier) }()
	report.send(connection, target, identifier, interval, end)
	connection.Close()
	return report, <-listened
}

func (r *probeReport) send(
	connection net.PacketConn, target net.IP, identifier uint16, interval time.Duration, end <-chan os.Signal,
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
		if _, err := connection.WriteTo(echo(identifier, uint16(r.Sent)), &net.IPAddr{IP: target}); err != nil {
			r.Unsent++ // that is a probe without a reply, and what is measured
			continue
		}
		r.Sent++
	}
}

func (r *probeReport) listen(connection net.PacketConn, target net.IP, identifier uint16) error {
	packet := make([]byte, 1500)
	for {
		count, from, err := connection.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if count < headerBytes || packet[0] != echoReply || binary.BigEndian.Uint16(packet[4:]) != identifier {
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

// echo is an echo request (RFC 792) without data.
func echo(identifier, sequence uint16) []byte {
	packet := make([]byte, headerBytes)
	packet[0] = echoRequest
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
