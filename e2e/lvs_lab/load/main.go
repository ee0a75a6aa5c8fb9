// Command lab-load makes connections at a fixed rate, or answers them fast enough, or probes an address.
//
//	lab-load serve ADDRESS:PORT NAME    HTTP: any path answers the name
//	lab-load run ADDRESS:PORT RATE      RATE connections a second until SIGTERM, then a report in JSON
//	lab-load probe ADDRESS INTERVAL     an ICMP echo request each INTERVAL (1ms) until SIGTERM, then a report in JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("lab-load: ")
	if err := start(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func start(words []string) error {
	if len(words) == 3 && words[0] == "serve" {
		return serve(words[1], words[2])
	}
	if len(words) == 3 && words[0] == "run" {
		rate, err := strconv.Atoi(words[2])
		if err != nil || rate < 1 {
			return fmt.Errorf("%q is no rate", words[2])
		}
		end := untilTold()
		fmt.Fprintln(os.Stderr, "started") // after this the signal ends it with a report
		return json.NewEncoder(os.Stdout).Encode(newGenerator(words[1]).run(rate, end))
	}
	if len(words) == 3 && words[0] == "probe" {
		interval, err := time.ParseDuration(words[2])
		if err != nil || interval <= 0 {
			return fmt.Errorf("%q is no interval", words[2])
		}
		report, err := probe(words[1], interval, untilTold())
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(report)
	}
	return errors.New(
		"usage: lab-load serve ADDRESS:PORT NAME | lab-load run ADDRESS:PORT RATE | lab-load probe ADDRESS INTERVAL")
}

// untilTold says when the program is asked to end.
func untilTold() <-chan os.Signal {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	return end
}

func serve(address, name string) error {
	answer := []byte(name + "\n")
	server := http.Server{
		Addr:              address,
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
			_, _ = writer.Write(answer) // the client may have gone, which is its right
		}),
	}
	return server.ListenAndServe()
}
