// Command guest-exec runs commands in a guest of the lab for whoever connects.
//
// It listens in one network namespace (the management one, which faults on the data side never touch) and runs
// commands in its own. A connection carries one command: first a line of JSON, then frames in both directions. A
// frame is one byte of kind, four bytes of length (big endian) and data. Closing the connection kills the command's
// process group.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// sysSetns is setns(2) on x86-64, the one architecture of user-mode Linux here; package syscall does not name it.
const sysSetns = 308

// pipesOutliveCommand bounds the wait for a background child that keeps the command's output open.
const pipesOutliveCommand = 2 * time.Second

type request struct {
	Argv  []string `json:"argv"`
	Env   []string `json:"env"`
	Dir   string   `json:"dir"`
	Stdin bool     `json:"stdin"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: guest-exec ADDRESS:PORT NETNS-FILE")
	}
	listener, err := listenIn(os.Args[2], os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	// A shell starts background programs with these ignored, which commands would inherit; caught ones they do not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGQUIT)
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Print(err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go serve(connection)
	}
}

// listenIn opens the listening socket in another network namespace and comes back.
func listenIn(namespace, address string) (net.Listener, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	other, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer other.Close()
	if err := enter(other); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	return listener, errors.Join(err, enter(own))
}

func enter(namespace *os.File) error {
	if _, _, errno := syscall.RawSyscall(sysSetns, namespace.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return fmt.Errorf("setns %s: %w", namespace.Name(), errno)
	}
	return nil
}

func serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return
	}
	frames := &frameWriter{to: connection}
	var wanted request
	if err := json.Unmarshal(line, &wanted); err != nil || len(wanted.Argv) == 0 {
		fmt.Fprintf(frames.kind(frameStderr), "guest-exec: not a request: %q\n", line)
		frames.exit(exitNotRun)
		return
	}
	frames.exit(run(&wanted, reader, frames))
}

// run starts the command, feeds it and waits for it; it returns the exit code as a shell would tell it.
func run(wanted *request, reader *bufio.Reader, frames *frameWriter) int {
	command := exec.Command(wanted.Argv[0], wanted.Argv[1:]...)
	command.Env = append(os.Environ(), wanted.Env...)
	command.Dir = wanted.Dir
	command.Stdout = frames.kind(frameStdout)
	command.Stderr = frames.kind(frameStderr)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = pipesOutliveCommand
	input := &commandInput{}
	if wanted.Stdin {
		pipe, err := command.StdinPipe()
		if err != nil {
			fmt.Fprintln(frames.kind(frameStderr), "guest-exec:", err)
			return exitNotRun
		}
		input.pipe = pipe
	}
	if err := command.Start(); err != nil {
		fmt.Fprintln(frames.kind(frameStderr), "guest-exec:", err)
		return exitNotRun
	}
	var ended atomic.Bool
	go func() {
		input.copyFrames(reader)
		if !ended.Load() {
			// The group may be gone already; there is nothing to do about it then.
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		}
	}()
	err := command.Wait()
	ended.Store(true)
	if err != nil && command.ProcessState == nil {
		fmt.Fprintln(frames.kind(frameStderr), "guest-exec:", err)
		return exitNotRun
	}
	status, _ := command.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return exitSignalled + int(status.Signal())
	}
	return status.ExitStatus()
}
