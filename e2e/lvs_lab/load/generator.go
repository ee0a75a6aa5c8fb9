package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

const (
	// patience is the time that a connection has from its first packet to its last.
	patience = 5 * time.Second
	// late is how long after its time a connection is still made. What is later than that the machine had no time
	// for: it is left out and counted as such, and is no failure of what is tried.
	late = 100 * time.Millisecond
	// slow is what a connection takes only if a packet of it was lost: TCP sends a SYN again after a second.
	slow = time.Second
	// examples bounds the failures that are told one by one.
	examples = 10
)

var request = []byte("GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")

// report is what became of all connections.
type report struct {
	Seconds   float64        `json:"seconds"`
	Succeeded int            `json:"succeeded"`
	Replies   map[string]int `json:"replies"`  // by the name that answered
	Failures  map[string]int `json:"failures"` // by kind
	Examples  []string       `json:"examples"` // the first failures
	// FailedAt is by kind and second since the start how many that were begun in it failed.
	FailedAt  map[string]map[int]int `json:"failedAt"`
	LeftOut   int                    `json:"leftOut"`  // this machine had no time for them
	Slow      int                    `json:"slow"`     // succeeded, after a packet was sent again
	MedianMs  float64                `json:"medianMs"` // of those that succeeded, from first packet to last
	P99Ms     float64                `json:"p99Ms"`
	LongestMs float64                `json:"longestMs"`
}

// generator makes connections at fixed times, whatever becomes of earlier ones.
type generator struct {
	address string
	started time.Time
	lock    sync.Mutex
	report  report
	took    []time.Duration
}

func newGenerator(address string) *generator {
	return &generator{address: address, report: report{
		Replies: map[string]int{}, Failures: map[string]int{}, Examples: []string{}, FailedAt: map[string]map[int]int{},
	}}
}

// run makes connections until told to end, and waits for those under way.
func (g *generator) run(rate int, end <-chan os.Signal) *report {
	interval := time.Second / time.Duration(rate)
	g.started = time.Now()
	var underWay sync.WaitGroup
	for due := g.started; ; due = due.Add(interval) {
		select {
		case <-end:
			return g.finish(&underWay)
		case <-time.After(time.Until(due)):
		}
		if time.Since(due) > late {
			g.report.LeftOut++
			continue
		}
		underWay.Add(1)
		go func() {
			defer underWay.Done()
			g.once()
		}()
	}
}

func (g *generator) finish(underWay *sync.WaitGroup) *report {
	g.report.Seconds = time.Since(g.started).Seconds()
	underWay.Wait()
	sort.Slice(g.took, func(i, j int) bool { return g.took[i] < g.took[j] })
	if count := len(g.took); count > 0 {
		g.report.MedianMs = milliseconds(g.took[count/2])
		g.report.P99Ms = milliseconds(g.took[count*99/100])
		g.report.LongestMs = milliseconds(g.took[count-1])
	}
	return &g.report
}

func (g *generator) once() {
	began := time.Now()
	name, err := ask(g.address, began.Add(patience))
	took := time.Since(began)
	g.lock.Lock()
	defer g.lock.Unlock()
	if err != nil {
		why, began := kind(err), began.Sub(g.started).Seconds()
		g.report.Failures[why]++
		if g.report.FailedAt[why] == nil {
			g.report.FailedAt[why] = map[int]int{}
		}
		g.report.FailedAt[why][int(began)]++
		if len(g.report.Examples) < examples {
			g.report.Examples = append(g.report.Examples, fmt.Sprintf("after %.3f s: %v", began, err))
		}
		return
	}
	g.report.Succeeded++
	g.report.Replies[name]++
	g.took = append(g.took, took)
	if took >= slow {
		g.report.Slow++
	}
}

// ask makes one connection with one request on it and reads the answer to its end; it returns who answered.
func ask(address string, deadline time.Time) (string, error) {
	dialer := net.Dialer{Deadline: deadline, Control: delayAcks}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := connection.Write(request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(connection, 1<<16))
	if err != nil {
		return "", err
	}
	head, body, whole := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !whole || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(body, []byte("\n")) {
		return "", fmt.Errorf("%w: %q", errAnswer, answer)
	}
	return string(bytes.TrimSpace(body)), nil
}

// delayAcks lets acknowledgements travel with data (tcp(7), TCP_QUICKACK): three packets to the server instead of six. What
// counts here are connections, and a guest that forwards them has one processor.
func delayAcks(_, _ string, connection syscall.RawConn) error {
	var refused error
	err := connection.Control(func(descriptor uintptr) {
		refused = syscall.SetsockoptInt(int(descriptor), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
	})
	return errors.Join(err, refused)
}

var errAnswer = errors.New("not the whole answer")

// kind sorts failures into those that look alike.
func kind(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, errAnswer):
		return "short answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EMFILE):
		return "client without ports or descriptors"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	}
	return "other"
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration.Microseconds()) / 1000
}
