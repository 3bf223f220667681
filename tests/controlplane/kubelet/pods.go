// The pods of the node: their containers are started and ended here, and their
// status is reported. main.go starts follow, streams.go looks up containers.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// podObject is what this program reads of a Pod.
type podObject struct {
	Metadata struct {
		Name, Namespace, UID       string
		DeletionTimestamp          *time.Time
		DeletionGracePeriodSeconds *int64
	}
	Spec struct {
		Containers, EphemeralContainers []containerSpec
	}
	Status struct{ Phase string }
}

func (o *podObject) key() string { return o.Metadata.Namespace + "/" + o.Metadata.Name }

func (o *podObject) path() string {
	return "/api/v1/namespaces/" + o.Metadata.Namespace + "/pods/" + o.Metadata.Name
}

type node struct {
	alive   context.Context
	cluster *cluster
	dir     string

	mutex sync.Mutex
	pods  map[string]*pod // by namespace/name
}

type pod struct {
	object  podObject // as it was first seen
	dir     string
	started time.Time
	// reporting is held during a report, so that the last report is the newest.
	reporting sync.Mutex

	mutex      sync.Mutex
	containers []*container
	ending     bool
}

// follow watches the pods that are bound to the node. It starts again whenever the
// API server has gone away.
func (n *node) follow() {
	for n.alive.Err() == nil {
		if err := n.followOnce(); n.alive.Err() == nil && !errors.Is(err, io.EOF) {
			log.Printf("the watch of pods ended: %v", err)
		}
		pause(n.alive)
	}
}

func (n *node) followOnce() error {
	query := url.Values{"fieldSelector": {"spec.nodeName=" + nodeName}}
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []podObject
	}
	if err := n.cluster.call(n.alive, http.MethodGet, "/api/v1/pods?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	n.keepOnly(list.Items)
	for _, object := range list.Items {
		n.sync(object)
	}
	query.Set("watch", "true")
	query.Set("resourceVersion", list.Metadata.ResourceVersion)
	return n.cluster.watch(n.alive, "/api/v1/pods?"+query.Encode(), func(kind string, object podObject) {
		if kind == "DELETED" {
			n.remove(object.key(), object.Metadata.UID)
		} else {
			n.sync(object)
		}
	})
}

// keepOnly removes pods that were deleted while there was no watch.
func (n *node) keepOnly(objects []podObject) {
	there := map[string]bool{}
	for _, object := range objects {
		there[object.Metadata.UID] = true
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for key, p := range n.pods {
		if !there[p.object.Metadata.UID] {
			delete(n.pods, key)
			go p.kill()
		}
	}
}

func (n *node) remove(key, uid string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if p := n.pods[key]; p != nil && p.object.Metadata.UID == uid {
		delete(n.pods, key)
		go p.kill()
	}
}

// sync starts the containers that do not run yet, including those that `kubectl
// debug` adds later, and ends a pod that is being deleted.
func (n *node) sync(object podObject) {
	p := n.pod(object)
	if p == nil {
		return
	}
	p.mutex.Lock()
	begun := false
	for _, spec := range object.Spec.Containers {
		begun = n.begin(p, spec, false) || begun
	}
	for _, spec := range object.Spec.EphemeralContainers {
		begun = n.begin(p, spec, true) || begun
	}
	deleted := object.Metadata.DeletionTimestamp != nil && !p.ending
	p.ending = p.ending || deleted
	p.mutex.Unlock()
	if begun {
		go n.report(p)
	}
	if deleted {
		go n.end(p, object.Metadata.DeletionGracePeriodSeconds)
	}
}

// pod finds or creates the pod of an object. It returns nil for a pod that had
// ended before this program started.
func (n *node) pod(object podObject) *pod {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	key := object.key()
	p := n.pods[key]
	if p != nil && p.object.Metadata.UID != object.Metadata.UID {
		go p.kill()
		p = nil
	}
	if over := object.Status.Phase; p == nil && over != "Succeeded" && over != "Failed" {
		p = &pod{object: object, dir: filepath.Join(n.dir, object.Metadata.UID), started: time.Now()}
		n.pods[key] = p
	}
	return p
}

// begin starts a container unless it has been started, and returns whether it did.
// The caller holds the pod's mutex.
func (n *node) begin(p *pod, spec containerSpec, ephemeral bool) bool {
	if p.ending || p.find(spec.Name) != nil {
		return false
	}
	c, err := start(p.dir, p.object.Metadata.Name, spec, ephemeral)
	if err != nil {
		log.Printf("container `%s` of `%s` did not start: %v", spec.Name, p.object.key(), err)
	}
	p.containers = append(p.containers, c)
	go func() {
		<-c.done
		n.report(p)
	}()
	return true
}

// find expects that the caller holds the pod's mutex.
func (p *pod) find(name string) *container {
	for _, c := range p.containers {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

// container finds a container, running or not.
func (n *node) container(namespace, name, container string) *container {
	n.mutex.Lock()
	p := n.pods[namespace+"/"+name]
	n.mutex.Unlock()
	if p == nil {
		return nil
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.find(container)
}

// report writes the status of a pod. It tries again until the API server has taken
// it or the pod is gone.
func (n *node) report(p *pod) {
	p.reporting.Lock()
	defer p.reporting.Unlock()
	for n.alive.Err() == nil {
		err := n.cluster.call(n.alive, http.MethodPatch, p.object.path()+"/status", p.status(), nil)
		answer, ok := err.(*refused)
		if err == nil || ok && (answer.code == http.StatusNotFound || answer.code == http.StatusConflict) {
			return
		}
		log.Printf("the status of `%s` was not written: %v", p.object.key(), err)
		pause(n.alive)
	}
}

// status is a merge patch. With the uid in it, it can not change a later pod of the
// same name.
func (p *pod) status() map[string]any {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	main, ephemeral := []any{}, []any{}
	phase, ready := "Succeeded", "True"
	for _, c := range p.containers {
		if c.ephemeral {
			ephemeral = append(ephemeral, c.status())
			continue
		}
		main = append(main, c.status())
		switch {
		case c.running():
			phase = "Running"
		case c.code != 0 && phase == "Succeeded":
			phase = "Failed"
		}
		if !c.running() {
			ready = "False"
		}
	}
	now := time.Now().UTC().Format(time.RFC3339)
	var conditions []any
	for _, condition := range []struct{ kind, status string }{
		{"PodScheduled", "True"}, {"Initialized", "True"}, {"ContainersReady", ready}, {"Ready", ready},
	} {
		conditions = append(conditions, map[string]string{
			"type": condition.kind, "status": condition.status, "lastTransitionTime": now,
		})
	}
	return map[string]any{
		"metadata": map[string]string{"uid": p.object.Metadata.UID},
		"status": map[string]any{
			"phase": phase, "conditions": conditions, "hostIP": "127.0.0.1",
			"startTime":         p.started.UTC().Format(time.RFC3339),
			"containerStatuses": main, "ephemeralContainerStatuses": ephemeral,
		},
	}
}

// end does what a deletion asks for: it ends the processes, then it deletes the
// object.
func (n *node) end(p *pod, graceSeconds *int64) {
	grace := 30 * time.Second
	if graceSeconds != nil {
		grace = time.Duration(*graceSeconds) * time.Second
	}
	p.each(func(c *container) { c.terminate(grace) })
	for n.alive.Err() == nil {
		err := n.cluster.call(n.alive, http.MethodDelete, p.object.path(), map[string]any{
			"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
			"preconditions": map[string]string{"uid": p.object.Metadata.UID},
		}, nil)
		answer, ok := err.(*refused)
		if err == nil || ok && (answer.code == http.StatusNotFound || answer.code == http.StatusConflict) {
			return
		}
		log.Printf("`%s` was not deleted: %v", p.object.key(), err)
		pause(n.alive)
	}
}

// kill ends the processes at once and removes the files.
func (p *pod) kill() {
	p.mutex.Lock()
	p.ending = true
	p.mutex.Unlock()
	p.each(func(c *container) { c.terminate(0) })
	_ = os.RemoveAll(p.dir)
}

// each acts on all containers at the same time and waits for the last.
func (p *pod) each(act func(*container)) {
	p.mutex.Lock()
	containers := p.containers
	p.mutex.Unlock()
	var all sync.WaitGroup
	for _, c := range containers {
		all.Go(func() { act(c) })
	}
	all.Wait()
}

// stop ends every process of the node. It waits 5 s at most; the kernel kills the
// rest when this program ends.
func (n *node) stop() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	var all sync.WaitGroup
	for _, p := range n.pods {
		all.Go(p.kill)
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
}

// pause comes between two attempts at the same call.
func pause(alive context.Context) {
	select {
	case <-alive.Done():
	case <-time.After(200 * time.Millisecond):
	}
}
