// Kubelet is the only node of a control plane for tests. It runs the containers of
// pods as processes of this host. For exec, attach and port-forward it uses the
// streaming code of the container runtimes (k8s.io/cri-streaming). It also serves
// the aggregated API of `kubectl top`.
//
//	kubectl ── kube-apiserver ── TLS, client certificate ──> kubelet ─┬─ a container: one process, one log
//	                  └─ watch: the pods bound to the node ─────┘     └─ exec: more processes of it
//
//	kubelet --dir DIR         DIR is that of a running launch
//
// It prints one line of JSON when the node is ready, and lasts until SIGTERM,
// SIGINT or the end of its stdin. Every process that it started ends with it.
//
// It has no images, volumes, probes, restarts and init containers. The main process
// of a container is its command if that exists on this host. Otherwise the
// container writes a line to its log every second.
//
// It must never be used outside tests: a user who may exec in a pod runs commands
// on this host as the account that runs the tests.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	dir := flag.String("dir", "", "state `DIR` of a running launch")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	// nohup(1) leaves it ignored, and the processes of pods would inherit that: then a
	// terminal that is closed would not end them. A signal that is caught here is theirs
	// by default.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	alive, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	if err := run(alive, *dir); err != nil {
		fmt.Fprintf(os.Stderr, "kubelet: %v\n", err)
		os.Exit(1)
	}
}

// run returns nil when alive ends.
func run(alive context.Context, dir string) error {
	c, err := connect(dir)
	if err != nil {
		return err
	}
	listener, err := listen(dir)
	if err != nil {
		return err
	}
	n := &node{alive: alive, cluster: c, dir: filepath.Join(dir, "pods"), pods: map[string]*pod{}}
	defer n.stop()
	broken := make(chan error, 1)
	server := &http.Server{Handler: n.handler()}
	go func() { broken <- server.Serve(listener) }()
	defer server.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	if err := c.register(alive, port); err != nil {
		return err
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"node": nodeName, "port": port, "pid": os.Getpid()})
	go n.follow()
	select {
	case <-alive.Done():
		return nil
	case err := <-broken:
		return err
	}
}

// listen accepts connections only from the API server, not from the other holders
// of a certificate of the same authority, such as the administrator.
func listen(dir string) (net.Listener, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "kubelet.crt"), filepath.Join(dir, "kubelet.key"))
	if err != nil {
		return nil, err
	}
	clients, err := pool(filepath.Join(dir, "own-client-ca.crt"))
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		VerifyConnection: func(state tls.ConnectionState) error {
			switch name := state.PeerCertificates[0].Subject.CommonName; name {
			case "kube-apiserver-kubelet-client", "front-proxy-client":
				return nil
			default:
				return fmt.Errorf("`%s` is not the API server", name)
			}
		},
	})
}

func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("`%s` holds no certificate", file)
	}
	return roots, nil
}
