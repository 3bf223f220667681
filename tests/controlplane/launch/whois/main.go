// Whois says whom Kubernetes would take the holder of a client certificate for.
// It is a second opinion for tests of the issuing side: Go's crypto/x509, which
// the API server uses, and none of the code that issued the certificate.
//
//	whois --roots client-ca.crt [--at 2030-01-01T00:00:00Z] chain.pem
//
// It prints one JSON object, or the reason for a refusal on stderr and exits 1.
package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// uidOID is the subject attribute that Kubernetes reads a user's UID from.
const uidOID = "1.3.6.1.4.1.57683.2"

type person struct {
	Name         string    `json:"name"`
	Groups       []string  `json:"groups"`
	UID          string    `json:"uid"`
	Serial       string    `json:"serial"`
	NotBefore    time.Time `json:"notBefore"`
	NotAfter     time.Time `json:"notAfter"`
	Issuer       string    `json:"issuer"`
	IsCA         bool      `json:"isCA"`
	KeyUsage     []string  `json:"keyUsage"`
	ExtKeyUsage  []string  `json:"extKeyUsage"`
	CredentialID string    `json:"credentialId"`
}

func main() {
	roots := flag.String("roots", "", "PEM `FILE` of the roots to trust")
	at := flag.String("at", "", "the `TIME` to verify at, RFC 3339; now if not given")
	flag.Parse()
	if *roots == "" || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: whois --roots FILE [--at TIME] CHAIN.PEM")
		os.Exit(2)
	}
	who, err := identify(*roots, *at, flag.Arg(0))
	if err != nil {
		fmt.Fprintf(os.Stderr, "whois: %v\n", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(who)
}

func identify(rootsFile, at, chainFile string) (*person, error) {
	now := time.Now()
	if at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, at); err != nil {
			return nil, err
		}
	}
	roots, err := certificates(rootsFile)
	if err != nil {
		return nil, err
	}
	chain, err := certificates(chainFile)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots:         pool(roots),
		Intermediates: pool(chain[1:]),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	uid, err := uid(leaf)
	if err != nil {
		return nil, err
	}
	return &person{
		Name:         leaf.Subject.CommonName,
		Groups:       append([]string{}, leaf.Subject.Organization...),
		UID:          uid,
		Serial:       leaf.SerialNumber.Text(16),
		NotBefore:    leaf.NotBefore,
		NotAfter:     leaf.NotAfter,
		Issuer:       leaf.Issuer.String(),
		IsCA:         leaf.IsCA,
		KeyUsage:     keyUsage(leaf.KeyUsage),
		ExtKeyUsage:  extKeyUsage(leaf),
		CredentialID: fmt.Sprintf("X509SHA256=%x", sha256.Sum256(leaf.Raw)),
	}, nil
}

func certificates(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("`%s`: %w", file, err)
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("`%s` holds no PEM certificate", file)
	}
	return list, nil
}

func pool(list []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, one := range list {
		p.AddCert(one)
	}
	return p
}

// uid refuses what Kubernetes refuses: a UID that is empty, no text, or given twice.
func uid(leaf *x509.Certificate) (string, error) {
	var found []string
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.String() != uidOID {
			continue
		}
		text, ok := attribute.Value.(string)
		if !ok || text == "" {
			return "", errors.New("the UID is empty or not a string")
		}
		found = append(found, text)
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	default:
		return "", fmt.Errorf("more than one UID: %q", found)
	}
}

// keyUsage gives the bits their names from RFC 5280, section 4.2.1.3, in order.
func keyUsage(bits x509.KeyUsage) []string {
	names := []string{
		"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement",
		"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	}
	set := []string{}
	for i, name := range names {
		if bits&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return set
}

// extKeyUsage gives an OID where Go has no name, so that nothing is left out.
func extKeyUsage(leaf *x509.Certificate) []string {
	names := map[x509.ExtKeyUsage]string{
		x509.ExtKeyUsageAny:             "anyExtendedKeyUsage",
		x509.ExtKeyUsageServerAuth:      "serverAuth",
		x509.ExtKeyUsageClientAuth:      "clientAuth",
		x509.ExtKeyUsageCodeSigning:     "codeSigning",
		x509.ExtKeyUsageEmailProtection: "emailProtection",
		x509.ExtKeyUsageTimeStamping:    "timeStamping",
		x509.ExtKeyUsageOCSPSigning:     "OCSPSigning",
	}
	set := []string{}
	for _, usage := range leaf.ExtKeyUsage {
		name, known := names[usage]
		if !known {
			name = fmt.Sprintf("other(%d)", usage)
		}
		set = append(set, name)
	}
	for _, oid := range leaf.UnknownExtKeyUsage {
		set = append(set, oid.String())
	}
	return set
}
