package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
)

const (
	frameStdin  byte = 0 // empty: end of input
	frameStdout byte = 1
	frameStderr byte = 2
	frameExit   byte = 3 // four bytes: the exit code

	headerLength = 5
	maxFrame     = 1 << 20

	exitNotRun    = 127
	exitSignalled = 128
)

// frameWriter writes whole frames of several kinds to one connection.
type frameWriter struct {
	mutex sync.Mutex
	to    io.Writer
}

// kind is a plain writer whose writes become frames of that kind.
func (frames *frameWriter) kind(kind byte) io.Writer {
	return kindWriter{frames: frames, kind: kind}
}

// exit sends the last frame. The client may have gone; nobody is left to be told then.
func (frames *frameWriter) exit(code int) {
	data := binary.BigEndian.AppendUint32(nil, uint32(code))
	_, _ = frames.kind(frameExit).Write(data)
}

type kindWriter struct {
	frames *frameWriter
	kind   byte
}

func (writer kindWriter) Write(data []byte) (int, error) {
	frame := make([]byte, 0, headerLength+len(data))
	frame = append(frame, writer.kind)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(data)))
	frame = append(frame, data...)
	writer.frames.mutex.Lock()
	defer writer.frames.mutex.Unlock()
	if _, err := writer.frames.to.Write(frame); err != nil {
		return 0, err
	}
	return len(data), nil
}

// commandInput is what a client sends to its command.
type commandInput struct {
	pipe io.WriteCloser
}

// copyFrames hands input frames to the command until the client goes or breaks the protocol.
func (input *commandInput) copyFrames(reader *bufio.Reader) {
	header := make([]byte, headerLength)
	for {
		if _, err := io.ReadFull(reader, header); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(header[1:])
		if header[0] != frameStdin || length > maxFrame {
			return
		}
		data := make([]byte, length)
		if _, err := io.ReadFull(reader, data); err != nil {
			return
		}
		if input.pipe == nil {
			continue
		}
		if length == 0 {
			// A command that does not read its input may have closed it.
			_ = input.pipe.Close()
			input.pipe = nil
			continue
		}
		if _, err := input.pipe.Write(data); err != nil {
			input.pipe = nil
		}
	}
}
