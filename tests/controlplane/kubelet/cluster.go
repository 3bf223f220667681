// The client of the API server: it registers the node, watches pods and writes
// their status. client-go would bring hundreds of packages; without it this program
// builds in seconds.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const nodeName = "test"

// callLimit bounds each call but the watch.
const callLimit = 10 * time.Second

type cluster struct {
	server string
	client *http.Client
}

// refused is an answer with another status than 2xx.
type refused struct {
	code int
	text string
}

func (r *refused) Error() string { return r.text }

func connect(dir string) (*cluster, error) {
	server, err := os.ReadFile(filepath.Join(dir, "server-url"))
	if err != nil {
		return nil, err
	}
	roots, err := pool(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	admin, err := tls.LoadX509KeyPair(filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key"))
	if err != nil {
		return nil, err
	}
	return &cluster{
		server: strings.TrimSpace(string(server)),
		client: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{admin}},
		}},
	}, nil
}

// register creates the node, or takes over the existing one.
func (c *cluster) register(alive context.Context, port int) error {
	err := c.call(alive, http.MethodPost, "/api/v1/nodes", map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{
			"name":   nodeName,
			"labels": map[string]string{"kubernetes.io/hostname": nodeName, "kubernetes.io/os": "linux"},
		},
	}, nil)
	if answer, ok := err.(*refused); err != nil && (!ok || answer.code != http.StatusConflict) {
		return err
	}
	now := time.Now().UTC().Format(time.RFC3339)
	resources := map[string]string{"cpu": "2", "memory": "4Gi", "pods": "110"}
	return c.call(alive, http.MethodPatch, "/api/v1/nodes/"+nodeName+"/status", map[string]any{
		"status": map[string]any{
			"addresses":       []any{map[string]string{"type": "InternalIP", "address": "127.0.0.1"}},
			"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]int{"Port": port}},
			"capacity":        resources,
			"allocatable":     resources,
			"conditions": []any{map[string]string{
				"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the kubelet of the tests is ready",
				"lastHeartbeatTime": now, "lastTransitionTime": now,
			}},
		},
	}, nil)
}

// call decodes the body of a 2xx answer, unless answer is nil.
func (c *cluster) call(alive context.Context, method, path string, body, answer any) error {
	limited, cancel := context.WithTimeout(alive, callLimit)
	defer cancel()
	response, err := c.send(limited, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

func (c *cluster) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, text)
	if err != nil {
		return nil, err
	}
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	request.Header.Set("Content-Type", kind)
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		said, _ := io.ReadAll(response.Body)
		return nil, &refused{response.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, path, response.Status, said)}
	}
	return response, nil
}

// watch calls changed for each event. It returns an error, io.EOF at the normal end
// of the stream.
func (c *cluster) watch(alive context.Context, path string, changed func(kind string, object podObject)) error {
	response, err := c.send(alive, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for events := json.NewDecoder(response.Body); ; {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := events.Decode(&event); err != nil {
			return err
		}
		if event.Type == "ERROR" {
			return fmt.Errorf("watch: %s", event.Object)
		}
		var object podObject
		if err := json.Unmarshal(event.Object, &object); err != nil {
			return err
		}
		changed(event.Type, object)
	}
}
