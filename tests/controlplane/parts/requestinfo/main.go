// Requestinfo prints what kube-apiserver makes of a request, by the function with
// which it fills in what authorization, admission and audit are told: a line of
// JSON for each of many methods and targets. jit-gateway has a parser of its own,
// whose answers are compared with these (crates/jit-gateway/tests/requestinfo.jsonl).
//
//	go run ./requestinfo > ../../../crates/jit-gateway/tests/requestinfo.jsonl
//
// A target is what stands in the request line, before anything decodes it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
)

// answer is one line. A request of which nothing but `error` is known is one that
// the server answers with 400 or 500 before it looks for a handler.
type answer struct {
	Method      string `json:"method"`
	Target      string `json:"target"`
	Error       bool   `json:"error,omitempty"`
	Verb        string `json:"verb,omitempty"`
	Path        string `json:"path,omitempty"`
	Group       string `json:"group,omitempty"`
	Version     string `json:"version,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Name        string `json:"name,omitempty"`
}

// The prefixes of kube-apiserver (controlplane/apiserver/config.go, BuildGenericConfig).
var factory = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

func main() {
	// The function logs each query that it cannot decode; the table says it.
	flags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false")
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
	out := bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	seen := map[string]bool{}
	for _, c := range cases() {
		if key := c.method + " " + c.target; !seen[key] {
			seen[key] = true
			if err := lines.Encode(ask(c.method, c.target)); err != nil {
				fmt.Fprintf(os.Stderr, "requestinfo: %v\n", err)
				os.Exit(1)
			}
		}
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintf(os.Stderr, "requestinfo: %v\n", err)
		os.Exit(1)
	}
}

// ask reads the request as net/http's server does, so that its refusals count too.
func ask(method, target string) answer {
	a := answer{Method: method, Target: target}
	head := method + " " + target + " HTTP/1.1\r\nHost: kubernetes\r\n\r\n"
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		a.Error = true
		return a
	}
	info, err := factory.NewRequestInfo(req)
	if err != nil {
		a.Error = true
		return a
	}
	a.Verb = info.Verb
	if !info.IsResourceRequest {
		a.Path = info.Path
		return a
	}
	a.Group, a.Version, a.Namespace = info.APIGroup, info.APIVersion, info.Namespace
	a.Resource, a.Subresource, a.Name = info.Resource, info.Subresource, info.Name
	return a
}
