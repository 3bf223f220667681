// Launch starts a Kubernetes control plane for tests, says where it is, and
// takes it down again. It is called by test harnesses and by hand:
//
//	launch --bin "$(tests/controlplane/build.sh)" --dir /tmp/cp
//
//	launch ─┬─ etcd <──────────── kube-apiserver <── kube-controller-manager
//	        └─ DIR: keys, kubeconfigs, etcd's data, audit.log, one log each
//
// When everything is ready it prints one line of JSON and stays in the
// foreground until SIGTERM, SIGINT or, with --until-stdin-closes, the end of its
// stdin, so that a harness which dies takes the control plane along.
//
// SIGUSR1 kills only the API server, SIGUSR2 starts it again on the same port;
// each answers with a line of JSON. Started again on the same DIR, everything is
// as it was: port, keys, objects.
//
// DIR/client-ca.crt holds the roots whose client certificates the API server
// accepts: our own, for admin.kubeconfig, then each --client-ca FILE. The API
// server watches this file, so a test adds and removes roots while it runs, by
// appending or by renaming a new file over it, and sees the effect within 0.1 s.
// Our own root must stay in it, or admin and the controller manager are locked out.
//
// DIR/tokens.csv holds the users that log in with a token.
//
// --emulate is the version whose behaviour the API server has, at most three minor
// ones older than its own, which it still tells. --second starts another API server on the same etcd, whose address is
// `second` in the line of JSON: what one of them knows, the other learns a moment
// later. It is neither stopped nor started by a signal.
//
// It must never be used for a cluster that anybody relies on: etcd listens on
// loopback without authentication and does not sync to disk.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// startLimit bounds a start, first or by SIGUSR2. An idle 2-core machine needs
// a tenth of it.
const startLimit = 90 * time.Second

var errAsked = errors.New("asked to stop")

func main() {
	var clientCAs []string
	bin := flag.String("bin", "", "`DIR` with etcd, kube-apiserver and kube-controller-manager")
	dir := flag.String("dir", "", "state `DIR`, made if missing; its content is reused")
	port := flag.Int("port", 0, "the API server's port; 0 is the one used before in DIR, or a free one")
	emulate := flag.String("emulate", "", "the `VERSION` whose behaviour the API server has, such as 1.33")
	second := flag.Bool("second", false, "start a second API server")
	untilStdinCloses := flag.Bool("until-stdin-closes", false, "stop at the end of stdin")
	flag.Func("client-ca", "PEM `FILE` of roots to accept client certificates from (repeatable)", func(file string) error {
		clientCAs = append(clientCAs, file)
		return nil
	})
	flag.Parse()
	if *bin == "" || *dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}

	alive, end := context.WithCancelCause(context.Background())
	go func() {
		<-arrival(syscall.SIGTERM, syscall.SIGINT)
		end(errAsked)
	}()
	if *untilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end(errAsked)
		}()
	}

	if err := run(alive, end, *bin, *dir, *port, clientCAs, *emulate, *second); err != nil && !errors.Is(err, errAsked) {
		fmt.Fprintf(os.Stderr, "launch: %v\n", err)
		os.Exit(1)
	}
}

// run returns when alive ends, with its cause, or when a start failed.
func run(alive context.Context, end context.CancelCauseFunc, bin, dir string, port int, clientCAs []string, emulate string, second bool) error {
	stopServer, startServer := arrival(syscall.SIGUSR1), arrival(syscall.SIGUSR2)
	p, err := prepare(bin, dir, port, clientCAs)
	if err != nil {
		return err
	}
	p.died, p.emulate = end, emulate
	defer p.stop()
	if err := p.start(alive); err != nil {
		return err
	}
	if second {
		if err := p.startSecond(alive); err != nil {
			return err
		}
	}
	announce(map[string]any{
		"server":     p.server,
		"second":     p.secondServer,
		"kubeconfig": p.path("admin.kubeconfig"),
		"clientCA":   p.path("client-ca.crt"),
		"ca":         p.path("ca.crt"),
		"audit":      p.path("audit.log"),
		"tokens":     p.path("tokens.csv"),
		"dir":        p.dir,
		"pid":        os.Getpid(),
	})
	for {
		select {
		case <-alive.Done():
			return context.Cause(alive)
		case <-stopServer:
			p.apiserver.kill()
			announce(map[string]any{"event": "apiserver-stopped"})
		case <-startServer:
			if err := p.startServer(alive); err != nil {
				return err
			}
			announce(map[string]any{"event": "apiserver-ready"})
		}
	}
}

func arrival(signals ...os.Signal) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	return c
}

func announce(line map[string]any) {
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

// prepare checks the binaries and fills DIR with everything that is the same at
// each start.
func prepare(bin, dir string, port int, clientCAs []string) (*plane, error) {
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err == nil {
			continue
		}
		if name == "kube-controller-manager" {
			return nil, fmt.Errorf("no `%s` in `%s`: without it the aggregated ClusterRoles view, edit and admin stay empty, and whoever is bound to them may do nothing\nhint: build the set with tests/controlplane/build.sh, or add the binary to KUBEBUILDER_ASSETS", name, bin)
		}
		return nil, fmt.Errorf("no `%s` in `%s`\nhint: build the set with tests/controlplane/build.sh", name, bin)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := lock(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("`%s` is in use by another launch: %w", dir, err)
	}
	p := &plane{bin: bin, dir: dir}
	if p.port, err = serverPort(p.path("server-url"), port); err != nil {
		return nil, err
	}
	p.server = fmt.Sprintf("https://127.0.0.1:%d", p.port)
	if err := os.WriteFile(p.path("server-url"), []byte(p.server+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := writeCredentials(p, clientCAs); err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.path("audit-policy.yaml"), []byte(auditPolicy), 0o600)
}

// lock is held as long as this process lives, and dies with it.
func lock(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	held = file
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// held keeps the collector from closing the lock's file.
var held *os.File
