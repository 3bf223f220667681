// The keys and certificates in DIR: made at the first start, reused after. Two
// authorities, because they answer different questions: `ca` says who the server
// is, `client-ca` whom it believes. main.go calls writeCredentials.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// lifetime outlasts any DIR that somebody keeps.
const lifetime = 10 * 365 * 24 * time.Hour

func writeCredentials(p *plane, clientCAs []string) error {
	authority := func(name string) *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
	}
	person := func(name string, groups ...string) *x509.Certificate {
		return &x509.Certificate{
			Subject:     pkix.Name{CommonName: name, Organization: groups},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	kubelet := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "system:node:test", Organization: []string{"system:nodes"}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		// The name of a Service, for the APIService of its metrics.
		DNSNames: []string{"metrics.kube-system.svc"},
	}
	for _, c := range []struct {
		name, issuer string
		template     *x509.Certificate
	}{
		{"ca", "", authority("test serving CA")},
		{"server", "ca", server},
		{"own-client-ca", "", authority("test client CA")},
		{"admin", "own-client-ca", person("admin", "system:masters")},
		{"controller-manager", "own-client-ca", person("system:kube-controller-manager")},
		// The API server shows the first to a kubelet, and expects the second.
		{"kubelet-client", "own-client-ca", person("kube-apiserver-kubelet-client")},
		{"kubelet", "ca", kubelet},
		// The API server shows it to aggregated APIs.
		{"front-proxy", "own-client-ca", person("front-proxy-client")},
		// Only its key is used, to sign the tokens of service accounts.
		{"service-account", "", person("service-account")},
	} {
		if err := issue(p, c.name, c.issuer, c.template); err != nil {
			return fmt.Errorf("certificate `%s`: %w", c.name, err)
		}
	}
	for _, name := range []string{"admin", "controller-manager"} {
		if err := writeKubeconfig(p, name); err != nil {
			return err
		}
	}
	if err := writeTokens(p.path("tokens.csv")); err != nil {
		return err
	}
	return addRoots(p.path("client-ca.crt"), append([]string{p.path("own-client-ca.crt")}, clientCAs...))
}

// issue writes name.crt and name.key unless they exist. Without an issuer the
// certificate signs itself.
func issue(p *plane, name, issuer string, template *x509.Certificate) error {
	certFile, keyFile := p.path(name+".crt"), p.path(name+".key")
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	// A minute back, for a test that sets its own clock.
	template.NotBefore = time.Now().Add(-time.Minute)
	template.NotAfter = template.NotBefore.Add(lifetime)
	parent, signer := template, any(key)
	if issuer != "" {
		pair, err := tls.LoadX509KeyPair(p.path(issuer+".crt"), p.path(issuer+".key"))
		if err != nil {
			return err
		}
		parent, signer = pair.Leaf, pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// writeTokens writes the users that log in with a token, as on a managed cluster
// that accepts no further authority: the administrator, and two users without
// rights. A line is a token, a name, a uid and, if any, a group.
func writeTokens(file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var text strings.Builder
	for _, user := range []string{"admin,admin,system:masters", "jitd,jitd", "jit-gateway,jit-gateway"} {
		fmt.Fprintf(&text, "%s,%s\n", rand.Text(), user)
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// addRoots appends the certificates that are not in the bundle yet and leaves
// those that a test has added.
func addRoots(bundle string, files []string) error {
	text, err := os.ReadFile(bundle)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range files {
		more, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found := false
		for block, rest := pem.Decode(more); block != nil; block, rest = pem.Decode(rest) {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return fmt.Errorf("client CA `%s`: %w", file, err)
			}
			found = true
			if one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}); !bytes.Contains(text, one) {
				text = append(text, one...)
			}
		}
		if !found {
			return fmt.Errorf("client CA `%s` holds no PEM certificate", file)
		}
	}
	if err := os.WriteFile(bundle+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(bundle+".new", bundle)
}

func writeKubeconfig(p *plane, user string) error {
	var embedded []any
	for _, name := range []string{"ca.crt", user + ".crt", user + ".key"} {
		data, err := os.ReadFile(p.path(name))
		if err != nil {
			return err
		}
		embedded = append(embedded, base64.StdEncoding.EncodeToString(data))
	}
	text := fmt.Sprintf(kubeconfig, append([]any{p.server, user}, embedded...)...)
	return os.WriteFile(p.path(user+".kubeconfig"), []byte(text), 0o600)
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: test
clusters:
  - name: test
    cluster: {server: "%[1]s", certificate-authority-data: %[3]s}
contexts:
  - name: test
    context: {cluster: test, user: %[2]s}
users:
  - name: %[2]s
    user: {client-certificate-data: %[4]s, client-key-data: %[5]s}
`
