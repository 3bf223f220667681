// A child process that cannot outlive launch, and whose death does not go
// unnoticed. plane.go starts three.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

type child struct {
	name, log string
	process   *exec.Cmd
	ending    atomic.Bool
	done      chan struct{}
}

// spawn starts a binary with its output appended to DIR/<name>.log. An exit that
// kill did not ask for ends the whole control plane.
func (p *plane) spawn(name string, flags []string) (*child, error) {
	c := &child{name: name, log: p.path(name + ".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.process = exec.Command(filepath.Join(p.bin, name), flags...)
	c.process.Dir, c.process.Stdout, c.process.Stderr = p.dir, log, log
	c.process.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Ctrl-C in a terminal goes to the whole group, and would reach etcd
		// before the API server has ended.
		Setpgid: true,
	}
	started := make(chan error)
	onLastingThread <- func() { started <- c.process.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	go func() {
		err := c.process.Wait()
		close(c.done)
		if !c.ending.Load() {
			p.died(fmt.Errorf("%s died: %v\n%s", name, err, c.tail()))
		}
	}()
	return c, nil
}

// onLastingThread takes what must run on a thread that lives as long as the
// process does: the kernel sends Pdeathsig when the starting thread ends.
var onLastingThread = func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
}()

func (c *child) kill() {
	if c == nil {
		return
	}
	c.ending.Store(true)
	_ = c.process.Process.Kill()
	<-c.done
}

func (c *child) running() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// until waits for ready, and no longer than the child, this process or the limit
// lasts.
func until(alive context.Context, c *child, ready func(context.Context) bool) error {
	limited, cancel := context.WithTimeoutCause(alive, startLimit,
		fmt.Errorf("%s was not ready after %s", c.name, startLimit))
	defer cancel()
	for !ready(limited) {
		select {
		case <-limited.Done():
			err := context.Cause(limited)
			if alive.Err() == nil {
				err = fmt.Errorf("%w\n%s", err, c.tail())
			}
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return fmt.Sprintf("the end of %s:\n%s", c.log, strings.Join(lines[max(0, len(lines)-25):], "\n"))
}
