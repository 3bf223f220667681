// One container: its main process, the processes of exec, its log, and the clients
// that are attached. pods.go starts and ends it, streams.go connects clients.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// containerSpec is what this program reads of a container's specification.
type containerSpec struct {
	Name, Image, WorkingDir string
	Command, Args           []string
	Env                     []struct{ Name, Value string }
	Stdin, StdinOnce, TTY   bool
}

type container struct {
	spec      containerSpec
	ephemeral bool
	// dir is its home, and where its processes begin unless it names a folder.
	dir, host string
	log       *containerLog
	// stdout and stderr are where the main process writes.
	stdout, stderr *outlet
	// stdin is nil unless the container has one.
	stdin   io.WriteCloser
	started time.Time
	main    *process

	mutex     sync.Mutex
	processes map[*process]bool

	// done is closed when the main process has ended; code and finished are set
	// before.
	done     chan struct{}
	code     int
	finished time.Time
}

// process is a command in a process group of its own. The group is killed when the
// command ends, so that tests leave no process behind.
type process struct {
	*exec.Cmd
	// terminal is nil unless it has one.
	terminal *os.File
	// outputs are the ends that are read here, and where the bytes go.
	outputs map[*os.File]io.Writer
	// theirs are the ends of the process, closed here after its start.
	theirs []*os.File
}

// exited is an exit code other than 0. The streaming code expects an error with
// these methods (k8s.io/utils/exec.ExitError).
type exited int

func (e exited) Error() string   { return fmt.Sprintf("exit code %d", int(e)) }
func (e exited) String() string  { return e.Error() }
func (e exited) Exited() bool    { return true }
func (e exited) ExitStatus() int { return int(e) }

// start always returns a container. After an error it is one that has ended.
func start(podDir, host string, spec containerSpec, ephemeral bool) (*container, error) {
	c := &container{
		spec: spec, ephemeral: ephemeral, dir: filepath.Join(podDir, spec.Name), host: host,
		started: time.Now(), processes: map[*process]bool{}, done: make(chan struct{}),
	}
	err := os.MkdirAll(c.dir, 0o755)
	if err == nil {
		err = c.startMain(filepath.Join(podDir, spec.Name+".log"))
	}
	if err != nil {
		c.finish(128)
	}
	return c, err
}

func (c *container) startMain(log string) (err error) {
	if c.log, err = newLog(log); err != nil {
		return err
	}
	c.stdout, c.stderr = newOutlet(c.log), newOutlet(c.log)
	argv := append(append([]string{}, c.spec.Command...), c.spec.Args...)
	if len(argv) > 0 {
		if _, err := exec.LookPath(argv[0]); err != nil {
			argv = nil
		}
	}
	if len(argv) == 0 {
		argv = []string{"/bin/sh", "-c", `n=0; while :; do n=$((n + 1)); echo "line $n"; sleep 1; done`}
	}
	p := c.command(argv)
	if c.spec.TTY {
		if err := c.startOnTerminal(p, c.stdout); err != nil {
			return err
		}
		if c.spec.Stdin {
			c.stdin = p.terminal
		}
	} else {
		if c.spec.Stdin {
			if c.stdin, err = p.StdinPipe(); err != nil {
				return err
			}
		}
		if err := c.startOnPipes(p, c.stdout, c.stderr); err != nil {
			return err
		}
	}
	c.main = p
	go func() { c.finish(c.wait(p)) }()
	return nil
}

// command takes only PATH from the environment of the tests.
func (c *container) command(argv []string) *process {
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...)}
	p.Dir = c.dir
	if c.spec.WorkingDir != "" {
		p.Dir = c.spec.WorkingDir
	}
	p.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "HOSTNAME=" + c.host}
	for _, variable := range c.spec.Env {
		p.Env = append(p.Env, variable.Name+"="+variable.Value)
	}
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return p
}

// startOnPipes does not use the pipes of os/exec: Wait would not return before
// every child of the process has closed them.
func (c *container) startOnPipes(p *process, out, err io.Writer) error {
	defer func() {
		for _, end := range p.theirs {
			_ = end.Close()
		}
	}()
	p.outputs = map[*os.File]io.Writer{}
	for _, stream := range []struct {
		end *io.Writer
		to  io.Writer
	}{{&p.Stdout, out}, {&p.Stderr, err}} {
		ours, theirs, err := os.Pipe()
		if err != nil {
			return err
		}
		*stream.end, p.outputs[ours], p.theirs = theirs, stream.to, append(p.theirs, theirs)
	}
	return c.start(p, p.Start)
}

// startOnTerminal starts a session, since only a session can have a controlling
// terminal. A session is also a process group.
func (c *container) startOnTerminal(p *process, out io.Writer) error {
	p.SysProcAttr.Setpgid, p.SysProcAttr.Setsid, p.SysProcAttr.Setctty = false, true, true
	p.Env = append(p.Env, "TERM=xterm")
	return c.start(p, func() (err error) {
		p.terminal, err = pty.StartWithAttrs(p.Cmd, nil, p.SysProcAttr)
		p.outputs = map[*os.File]io.Writer{p.terminal: out}
		return err
	})
}

// start starts a process that ends at the latest when the container does.
func (c *container) start(p *process, begin func() error) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	select {
	case <-c.done:
		return errors.New("the container has ended")
	default:
	}
	begun := make(chan error)
	onLastingThread <- func() { begun <- begin() }
	err := <-begun
	if err == nil {
		c.processes[p] = true
	}
	return err
}

// wait returns the exit code when the process has ended and all that it wrote is
// delivered.
func (c *container) wait(p *process) int {
	var delivery sync.WaitGroup
	for from, to := range p.outputs {
		delivery.Go(func() {
			// A terminal ends with an error, when the leader of its session exits.
			_, _ = io.Copy(to, from)
			_ = from.Close()
		})
	}
	_ = p.Wait()
	p.signal(syscall.SIGKILL)
	delivery.Wait()
	c.mutex.Lock()
	delete(c.processes, p)
	c.mutex.Unlock()
	if state, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && state.Signaled() {
		// As shells and container runtimes do.
		return 128 + int(state.Signal())
	}
	return p.ProcessState.ExitCode()
}

// finish ends the processes of exec, too: as in a PID namespace, they do not
// outlive the main process.
func (c *container) finish(code int) {
	c.mutex.Lock()
	c.code, c.finished = code, time.Now()
	close(c.done)
	c.mutex.Unlock()
	c.kill()
	if c.log != nil {
		c.log.end()
	}
}

func (c *container) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// terminate asks the main process first, and kills after the grace.
func (c *container) terminate(grace time.Duration) {
	if c.main != nil && grace > 0 {
		c.main.signal(syscall.SIGTERM)
		select {
		case <-c.done:
			return
		case <-time.After(grace):
		}
	}
	c.kill()
	<-c.done
}

func (c *container) kill() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for p := range c.processes {
		p.signal(syscall.SIGKILL)
	}
}

// signal reaches the process and its children.
func (p *process) signal(signal syscall.Signal) {
	_ = syscall.Kill(-p.Process.Pid, signal)
}

// status is a ContainerStatus.
func (c *container) status() map[string]any {
	id := "test://" + filepath.Base(filepath.Dir(c.dir)) + "-" + c.spec.Name
	begun := c.started.UTC().Format(time.RFC3339)
	state := map[string]any{"running": map[string]any{"startedAt": begun}}
	running := c.running()
	if !running {
		reason := "Completed"
		if c.code != 0 {
			reason = "Error"
		}
		state = map[string]any{"terminated": map[string]any{
			"exitCode": c.code, "reason": reason, "containerID": id,
			"startedAt": begun, "finishedAt": c.finished.UTC().Format(time.RFC3339),
		}}
	}
	return map[string]any{
		"name": c.spec.Name, "image": c.spec.Image, "imageID": "", "containerID": id,
		"ready": running, "started": running, "restartCount": 0, "state": state,
	}
}

// exec runs one more process in the container. The process outlives a connection
// that breaks, as with container runtimes; on a terminal it gets a hang-up.
func (c *container) exec(argv []string, in io.Reader, out, err io.Writer, tty bool, resize <-chan remotecommand.TerminalSize) error {
	if len(argv) == 0 {
		return errors.New("no command")
	}
	p := c.command(argv)
	if tty {
		return c.execOnTerminal(p, in, out, resize)
	}
	var stdin io.WriteCloser
	if in != nil {
		var err error
		if stdin, err = p.StdinPipe(); err != nil {
			return err
		}
	}
	if err := c.startOnPipes(p, lossy(out), lossy(err)); err != nil {
		return err
	}
	if in != nil {
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	return result(c.wait(p))
}

func (c *container) execOnTerminal(p *process, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	if err := c.startOnTerminal(p, lossy(out)); err != nil {
		return err
	}
	if in != nil {
		go func() { _, _ = io.Copy(p.terminal, in) }()
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		resizeUntil(ended, p.terminal, resize)
		// The stream of sizes ends with the connection. The kernel hangs up when
		// our side of the terminal is closed.
		_ = p.terminal.Close()
	}()
	return result(c.wait(p))
}

// attach connects a client to the main process until that ends.
func (c *container) attach(in io.Reader, out, err io.Writer, resize <-chan remotecommand.TerminalSize) {
	defer c.stdout.add(out)()
	if !c.spec.TTY {
		defer c.stderr.add(err)()
	}
	if in != nil && c.stdin != nil {
		go func() {
			_, _ = io.Copy(c.stdin, in)
			if c.spec.StdinOnce && !c.spec.TTY {
				_ = c.stdin.Close()
			}
		}()
	}
	if c.spec.TTY {
		go resizeUntil(c.done, c.main.terminal, resize)
	}
	<-c.done
}

// resizeUntil returns when ended is closed or the sizes end.
func resizeUntil(ended <-chan struct{}, terminal *os.File, sizes <-chan remotecommand.TerminalSize) {
	for {
		select {
		case <-ended:
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_ = pty.Setsize(terminal, &pty.Winsize{Cols: size.Width, Rows: size.Height})
		}
	}
}

func result(code int) error {
	if code == 0 {
		return nil
	}
	return exited(code)
}

// outlet is an output of the main process. It writes to the log and to each
// attached client.
type outlet struct {
	log      *containerLog
	mutex    sync.Mutex
	attached map[int]io.Writer
	next     int
}

func newOutlet(log *containerLog) *outlet {
	return &outlet{log: log, attached: map[int]io.Writer{}}
}

// add returns a function that removes the writer.
func (o *outlet) add(to io.Writer) func() {
	if to == nil {
		return func() {}
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	number := o.next
	o.next++
	o.attached[number] = to
	return func() {
		o.mutex.Lock()
		defer o.mutex.Unlock()
		delete(o.attached, number)
	}
}

func (o *outlet) Write(text []byte) (int, error) {
	o.log.write(text)
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for number, to := range o.attached {
		if _, err := to.Write(text); err != nil {
			delete(o.attached, number)
		}
	}
	return len(text), nil
}

// lossy drops what can not be delivered, so that a process goes on after its
// client has gone.
func lossy(to io.Writer) io.Writer {
	if to == nil {
		return io.Discard
	}
	return &lossyWriter{to: to}
}

type lossyWriter struct {
	to   io.Writer
	lost bool
}

func (w *lossyWriter) Write(text []byte) (int, error) {
	if !w.lost {
		_, err := w.to.Write(text)
		w.lost = err != nil
	}
	return len(text), nil
}

// onLastingThread runs functions on a thread that lives as long as the program:
// the kernel sends Pdeathsig when the thread ends that started a process.
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
