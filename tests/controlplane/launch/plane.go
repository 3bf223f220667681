// The three programs of the control plane: their flags, the order in which they
// start and end, and what counts as ready. main.go calls it.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type plane struct {
	bin, dir string
	port     int
	server   string
	// Empty if there is none.
	secondServer string
	etcdURL      string
	emulate      string
	died         func(error)

	etcd, apiserver, second, controllers *child
	client                               *http.Client
}

func (p *plane) path(name string) string { return filepath.Join(p.dir, name) }

// start returns when a client can rely on the cluster as on a real one: the
// built-in roles are complete and the default namespace has its account.
func (p *plane) start(alive context.Context) error {
	if err := p.connect(); err != nil {
		return err
	}
	etcdPort, err := freePort()
	if err != nil {
		return err
	}
	p.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", etcdPort)
	if p.etcd, err = p.spawn("etcd", p.etcdFlags()); err != nil {
		return err
	}
	if err := until(alive, p.etcd, func(ctx context.Context) bool {
		health, err := p.get(ctx, p.etcdURL+"/health")
		return err == nil && bytes.Contains(health, []byte(`"true"`))
	}); err != nil {
		return err
	}
	if err := p.startServer(alive); err != nil {
		return err
	}
	// Not before the API server answers: the controller manager gives up after 10 s.
	if p.controllers, err = p.spawn("kube-controller-manager", p.controllerFlags()); err != nil {
		return err
	}
	return until(alive, p.controllers, func(ctx context.Context) bool {
		_, err := p.get(ctx, p.server+"/api/v1/namespaces/default/serviceaccounts/default")
		return err == nil && p.rolesAggregated(ctx)
	})
}

func (p *plane) startServer(alive context.Context) (err error) {
	if p.apiserver.running() {
		return nil
	}
	if p.apiserver, err = p.spawn("kube-apiserver", p.serverFlags(p.port, "audit.log")); err != nil {
		return err
	}
	return until(alive, p.apiserver, func(ctx context.Context) bool {
		_, err := p.get(ctx, p.server+"/readyz")
		return err == nil
	})
}

// startSecond starts another API server on the same etcd.
func (p *plane) startSecond(alive context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	if p.second, err = p.spawn("kube-apiserver", p.serverFlags(port, "second-audit.log")); err != nil {
		return err
	}
	p.secondServer = fmt.Sprintf("https://127.0.0.1:%d", port)
	return until(alive, p.second, func(ctx context.Context) bool {
		_, err := p.get(ctx, p.secondServer+"/readyz")
		return err == nil
	})
}

// stop ends the API server before etcd, and by SIGKILL: without etcd its
// graceful stop hangs for minutes and keeps the port.
func (p *plane) stop() {
	p.controllers.kill()
	p.second.kill()
	p.apiserver.kill()
	p.etcd.kill()
}

// rolesAggregated says whether the aggregation has settled, not only begun: view
// goes into edit and edit into admin, each in a later step, and whoever pins a
// hash of their rules would otherwise pin a moment.
func (p *plane) rolesAggregated(ctx context.Context) bool {
	var inner []json.RawMessage
	for _, name := range []string{"view", "edit", "admin"} {
		body, err := p.get(ctx, p.server+"/apis/rbac.authorization.k8s.io/v1/clusterroles/"+name)
		var role struct{ Rules []json.RawMessage }
		if err != nil || json.Unmarshal(body, &role) != nil || len(role.Rules) == 0 {
			return false
		}
		has := map[string]bool{}
		for _, rule := range role.Rules {
			has[string(rule)] = true
		}
		for _, rule := range inner {
			if !has[string(rule)] {
				return false
			}
		}
		inner = role.Rules
	}
	return true
}

func (p *plane) connect() error {
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return err
	}
	admin, err := tls.LoadX509KeyPair(p.path("admin.crt"), p.path("admin.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	p.client = &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{admin}}},
	}
	return nil
}

func (p *plane) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, response.Status)
	}
	return body, err
}

func (p *plane) etcdFlags() []string {
	return []string{
		"--data-dir=" + p.path("etcd"),
		"--listen-client-urls=" + p.etcdURL,
		"--advertise-client-urls=" + p.etcdURL,
		"--listen-peer-urls=http://127.0.0.1:0",
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func (p *plane) serverFlags(port int, audit string) []string {
	flags := []string{
		"--etcd-servers=" + p.etcdURL,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		// The endpoints of a Service must not be loopback addresses.
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + p.path("server.crt"),
		"--tls-private-key-file=" + p.path("server.key"),
		"--client-ca-file=" + p.path("client-ca.crt"),
		"--token-auth-file=" + p.path("tokens.csv"),
		// There is no node until a test starts ../kubelet.
		"--kubelet-client-certificate=" + p.path("kubelet-client.crt"),
		"--kubelet-client-key=" + p.path("kubelet-client.key"),
		"--kubelet-certificate-authority=" + p.path("ca.crt"),
		// An aggregated API learns the user from these headers, and accepts them only
		// with this certificate.
		"--proxy-client-cert-file=" + p.path("front-proxy.crt"),
		"--proxy-client-key-file=" + p.path("front-proxy.key"),
		"--requestheader-client-ca-file=" + p.path("own-client-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.path("service-account.key"),
		"--service-account-signing-key-file=" + p.path("service-account.key"),
		"--audit-policy-file=" + p.path("audit-policy.yaml"),
		"--audit-log-path=" + p.path(audit),
		// In megabytes. Rotating would take the file from under a test that reads it.
		"--audit-log-maxsize=10000",
		// Benchmarks measure the caller, not the default limits of 400 and 200.
		"--max-requests-inflight=8000",
		"--max-mutating-requests-inflight=4000",
		"--profiling=false",
		"--v=1",
	}
	if p.emulate != "" {
		flags = append(flags, "--emulated-version="+p.emulate)
	}
	return flags
}

// controllerFlags leaves out what needs nodes, volumes or a cloud: those
// controllers only cost memory here.
func (p *plane) controllerFlags() []string {
	return []string{
		"--kubeconfig=" + p.path("controller-manager.kubeconfig"),
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + p.path("service-account.key"),
		"--root-ca-file=" + p.path("ca.crt"),
		"--controllers=" + strings.Join([]string{
			"clusterrole-aggregation-controller",
			"cronjob-controller",
			"deployment-controller",
			"garbage-collector-controller",
			"job-controller",
			"namespace-controller",
			"replicaset-controller",
			"resourcequota-controller",
			"root-ca-certificate-publisher-controller",
			"serviceaccount-controller",
			"serviceaccount-token-controller",
			"statefulset-controller",
			"validatingadmissionpolicy-status-controller",
		}, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--v=1",
	}
}

// auditPolicy leaves out only the first stage: a request is in the log once when
// answered, a watch also when it begins.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: RequestResponse
    verbs: [create, update, patch, delete, deletecollection]
    resources: [{group: rbac.authorization.k8s.io}]
  - level: Metadata
`

// serverPort prefers the wanted port, then the one that DIR remembers.
func serverPort(remembered string, wanted int) (int, error) {
	if wanted != 0 {
		return wanted, nil
	}
	if line, err := os.ReadFile(remembered); err == nil {
		if server, err := url.Parse(strings.TrimSpace(string(line))); err == nil {
			return strconv.Atoi(server.Port())
		}
	}
	return freePort()
}

// freePort stays below 32768, where Linux takes the ports of outgoing
// connections from: one of those could hold ours while the API server is down.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, listener.Close()
		}
		last = err
	}
	return 0, last
}
