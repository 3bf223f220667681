// Judge says which ID tokens kube-apiserver's own authenticator takes: the second
// opinion on those that crates/jit-identity judges (tests/judges.rs there).
//
//	{"issuer": …, "audience": …, "algorithms": […], "keys": […], "tokens": […]} on stdin ─► [{"taken": …, "said": …}, …]
//
// The keys are given to it, so that there is neither a server nor TLS. Keys of a
// type that go-jose does not know are left out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	jose "gopkg.in/go-jose/go-jose.v2"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/klog/v2"
)

type question struct {
	Issuer     string            `json:"issuer"`
	Audience   string            `json:"audience"`
	Algorithms []string          `json:"algorithms"`
	Keys       []json.RawMessage `json:"keys"`
	Tokens     []string          `json:"tokens"`
}

type answer struct {
	Taken bool   `json:"taken"`
	Said  string `json:"said"`
}

func main() {
	// The authenticator logs each token that it refuses.
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false")
	klog.SetOutput(io.Discard)
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func judge() error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	var known keys
	for _, raw := range asked.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil {
			known = append(known, key)
		}
	}
	ctx := context.Background()
	none := ""
	authenticator, err := oidc.New(ctx, oidc.Options{
		JWTAuthenticator: apiserver.JWTAuthenticator{
			Issuer: apiserver.Issuer{URL: asked.Issuer, Audiences: []string{asked.Audience}},
			ClaimMappings: apiserver.ClaimMappings{
				Username: apiserver.PrefixedClaimOrExpression{Claim: "sub", Prefix: &none},
				Groups:   apiserver.PrefixedClaimOrExpression{Claim: "groups", Prefix: &none},
			},
		},
		KeySet:               known,
		SupportedSigningAlgs: asked.Algorithms,
	})
	if err != nil {
		return err
	}
	ready := func(context.Context) (bool, error) { return authenticator.HealthCheck() == nil, nil }
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, ready); err != nil {
		return err
	}
	answers := make([]answer, 0, len(asked.Tokens))
	for _, token := range asked.Tokens {
		// It fetches the claims that are elsewhere, from where the token says.
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		response, taken, err := authenticator.AuthenticateToken(within, token)
		cancel()
		switch {
		case taken:
			answers = append(answers, answer{true, fmt.Sprintf("%.40q %.200q", response.User.GetName(), response.User.GetGroups())})
		case err != nil:
			answers = append(answers, answer{false, fmt.Sprintf("%.200s", err)})
		default:
			answers = append(answers, answer{false, "not a token of this issuer"})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// keys verify as go-oidc does with a fetched set: by `kid`, or by any of them.
type keys []jose.JSONWebKey

func (known keys) VerifySignature(_ context.Context, token string) ([]byte, error) {
	parsed, err := jose.ParseSigned(token)
	if err != nil {
		return nil, err
	}
	kid := parsed.Signatures[0].Header.KeyID
	for _, key := range known {
		if kid != "" && key.KeyID != kid {
			continue
		}
		if payload, err := parsed.Verify(&key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key verifies the signature")
}
