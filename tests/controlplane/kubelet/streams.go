// The paths of a kubelet that the API server calls for logs, exec, attach and
// port-forward. main.go accepts connections only from the API server.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

const (
	// The real kubelet's default.
	idleLimit = 4 * time.Hour
	// streamsLimit is how long a client may take to open its streams.
	streamsLimit = remotecommand.DefaultStreamCreationTimeout
)

func (n *node) handler() http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("/exec/{namespace}/{pod}/{container}", n.serveExec)
	paths.HandleFunc("/attach/{namespace}/{pod}/{container}", n.serveAttach)
	paths.HandleFunc("/portForward/{namespace}/{pod}", n.servePortForward)
	paths.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.serveLogs)
	n.metricsPaths(paths)
	return paths
}

// named finds the container of the path, running or not. If there is none, it
// answers 404 and returns nil.
func (n *node) named(w http.ResponseWriter, r *http.Request) *container {
	name := r.PathValue("container")
	c := n.container(r.PathValue("namespace"), r.PathValue("pod"), name)
	if c == nil {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
	}
	return c
}

// streamed finds the container of the path if it runs. Otherwise it answers the
// request and returns nil.
func (n *node) streamed(w http.ResponseWriter, r *http.Request) (*container, *remotecommand.Options) {
	c := n.named(w, r)
	if c == nil {
		return nil, nil
	}
	if !c.running() {
		http.Error(w, fmt.Sprintf("container not found (%q)", c.spec.Name), http.StatusInternalServerError)
		return nil, nil
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, nil
	}
	return c, options
}

func (n *node) serveExec(w http.ResponseWriter, r *http.Request) {
	if c, options := n.streamed(w, r); c != nil {
		remotecommand.ServeExec(w, r, served{c}, "", "", "", r.URL.Query()["command"], options, idleLimit, streamsLimit,
			remotecommand.SupportedStreamingProtocols)
	}
}

func (n *node) serveAttach(w http.ResponseWriter, r *http.Request) {
	if c, options := n.streamed(w, r); c != nil {
		remotecommand.ServeAttach(w, r, served{c}, "", "", "", options, idleLimit, streamsLimit,
			remotecommand.SupportedStreamingProtocols)
	}
}

// served adapts a container to the streaming code, which passes the names on from
// its own caller; here they are empty.
type served struct{ *container }

func (s served) ExecInContainer(_ context.Context, _, _, _ string, command []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return s.exec(command, in, writer(out), writer(err), tty, resize)
}

func (s served) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	s.attach(in, writer(out), writer(err), resize)
	return nil
}

// writer keeps a missing stream nil.
func writer(stream io.WriteCloser) io.Writer {
	if stream == nil {
		return nil
	}
	return stream
}

func (n *node) servePortForward(w http.ResponseWriter, r *http.Request) {
	n.mutex.Lock()
	p := n.pods[r.PathValue("namespace")+"/"+r.PathValue("pod")]
	n.mutex.Unlock()
	if p == nil {
		http.Error(w, "pod not found", http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, loopback{}, "", "", options, idleLimit, streamsLimit, portforward.SupportedProtocols)
}

// loopback forwards to 127.0.0.1: the processes of all pods listen on this host.
type loopback struct{}

func (loopback) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		_, _ = io.Copy(connection, stream)
		// The client sends nothing more, or is gone. The server may still answer.
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

// serveLogs supports the parameters that tests use, and refuses all others: a log
// without what was asked for would make a test pass that should not.
func (n *node) serveLogs(w http.ResponseWriter, r *http.Request) {
	c := n.named(w, r)
	if c == nil {
		return
	}
	lines, follow, stamp := -1, false, false
	for name, values := range r.URL.Query() {
		var err error
		switch value := values[0]; {
		case name == "follow":
			follow, err = strconv.ParseBool(value)
		case name == "tailLines":
			lines, err = strconv.Atoi(value)
		case name == "timestamps":
			stamp, err = strconv.ParseBool(value)
		case name == "stream" && value == "All":
		default:
			err = fmt.Errorf("the kubelet of the tests does not know `%s=%s`", name, value)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if c.log == nil {
		http.Error(w, "the container did not start", http.StatusInternalServerError)
		return
	}
	answer := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/plain")
	var to io.Writer = w
	if stamp {
		to = &stamped{to: w, atStart: true}
	}
	_ = c.log.copyTo(r.Context(), to, lines, follow, func() { _ = answer.Flush() })
}
