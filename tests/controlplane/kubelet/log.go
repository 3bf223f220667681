// The log of a container: a file that grows, and readers that follow it.
package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"os"
	"sync"
	"time"
)

type containerLog struct {
	path string

	mutex sync.Mutex
	file  *os.File
	// grown is closed and made anew at each write, and closed at the end.
	grown chan struct{}
	ended bool
}

func newLog(path string) (*containerLog, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &containerLog{path: path, file: file, grown: make(chan struct{})}, nil
}

func (l *containerLog) write(text []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if _, err := l.file.Write(text); err != nil {
		log.Printf("`%s` lost a line: %v", l.path, err)
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *containerLog) end() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ended = true
	close(l.grown)
	_ = l.file.Close()
}

func (l *containerLog) state() (<-chan struct{}, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.grown, l.ended
}

// copyTo writes the last lines, all if lines is negative, and what is written from
// then on to the end of the container if follow is set. flush comes after each
// part.
func (l *containerLog) copyTo(reader context.Context, to io.Writer, lines int, follow bool, flush func()) error {
	file, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if lines >= 0 {
		if err := seekLast(file, lines); err != nil {
			return err
		}
	}
	for {
		// Before the reading, or what is written meanwhile would be missed.
		grown, ended := l.state()
		if _, err := io.Copy(to, file); err != nil {
			return err
		}
		flush()
		if !follow || ended {
			return nil
		}
		select {
		case <-grown:
		case <-reader.Done():
			return nil
		}
	}
}

func seekLast(file *os.File, lines int) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for range lines {
		if at = bytes.LastIndexByte(text[:at], '\n'); at < 0 {
			break
		}
	}
	if lines == 0 {
		at = len(text) - 1
	}
	_, err = file.Seek(int64(at+1), io.SeekStart)
	return err
}

// stamped begins each line with the time at which it is read; the log does not
// know when it was written.
type stamped struct {
	to      io.Writer
	atStart bool
}

func (s *stamped) Write(text []byte) (int, error) {
	for _, line := range bytes.SplitAfter(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		if s.atStart {
			line = append([]byte(time.Now().UTC().Format(time.RFC3339Nano)+" "), line...)
		}
		if _, err := s.to.Write(line); err != nil {
			return 0, err
		}
		s.atStart = bytes.HasSuffix(line, []byte("\n"))
	}
	return len(text), nil
}
