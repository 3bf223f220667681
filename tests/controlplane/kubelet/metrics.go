// The aggregated API metrics.k8s.io, as metrics-server has it, for `kubectl top`
// and as an example of an API that is not in the API server. It is only reached
// after a test has registered an APIService for it.
//
// Every container uses the same: tests compare what kubectl prints, and a measured
// value would differ each time.
package main

import (
	"encoding/json"
	"net/http"
	"time"
)

const metricsVersion = "metrics.k8s.io/v1beta1"

var usage = map[string]string{"cpu": "5m", "memory": "16Mi"}

// metricsPaths adds its paths. The API server has authorized a request before it
// passes it on.
func (n *node) metricsPaths(paths *http.ServeMux) {
	const root = "GET /apis/" + metricsVersion
	paths.HandleFunc(root, func(w http.ResponseWriter, _ *http.Request) {
		resource := func(name, kind string, namespaced bool) map[string]any {
			return map[string]any{
				"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": []string{"get", "list"},
			}
		}
		answer(w, map[string]any{
			"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": metricsVersion,
			"resources": []any{resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)},
		})
	})
	paths.HandleFunc(root+"/nodes", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metrics("NodeMetricsList", map[string]any{"items": []any{nodeMetrics()}}))
	})
	paths.HandleFunc(root+"/nodes/"+nodeName, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, nodeMetrics())
	})
	list := func(w http.ResponseWriter, r *http.Request) {
		answer(w, metrics("PodMetricsList", map[string]any{"items": n.podMetrics(r)}))
	}
	paths.HandleFunc(root+"/pods", list)
	paths.HandleFunc(root+"/namespaces/{namespace}/pods", list)
	paths.HandleFunc(root+"/namespaces/{namespace}/pods/{pod}", func(w http.ResponseWriter, r *http.Request) {
		if found := n.podMetrics(r); len(found) == 1 {
			answer(w, found[0])
			return
		}
		http.Error(w, "there are no metrics of this pod", http.StatusNotFound)
	})
}

func nodeMetrics() map[string]any {
	return metrics("NodeMetrics", map[string]any{"metadata": map[string]string{"name": nodeName}, "usage": usage})
}

// podMetrics returns the metrics of the running pods that the path names.
func (n *node) podMetrics(r *http.Request) []any {
	namespace, name := r.PathValue("namespace"), r.PathValue("pod")
	found := []any{}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, p := range n.pods {
		about := &p.object.Metadata
		if namespace != "" && namespace != about.Namespace || name != "" && name != about.Name {
			continue
		}
		containers := []any{}
		p.mutex.Lock()
		for _, c := range p.containers {
			if c.running() {
				containers = append(containers, map[string]any{"name": c.spec.Name, "usage": usage})
			}
		}
		p.mutex.Unlock()
		if len(containers) > 0 {
			found = append(found, metrics("PodMetrics", map[string]any{
				"metadata":   map[string]string{"namespace": about.Namespace, "name": about.Name},
				"containers": containers,
			}))
		}
	}
	return found
}

// metrics adds the fields that all objects of this API have.
func metrics(kind string, object map[string]any) map[string]any {
	object["kind"], object["apiVersion"] = kind, metricsVersion
	object["timestamp"], object["window"] = time.Now().UTC().Format(time.RFC3339), "15s"
	return object
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}
