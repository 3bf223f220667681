// Parts is a whole Kubernetes control plane in one binary, for tests: etcd,
// kube-apiserver, kube-controller-manager and kubectl, chosen by the name it is
// called by. No package manager ships kube-apiserver, but all four are Go
// libraries, and linked together they share most of their code.
//
//	etcd -> parts    kube-apiserver -> parts    kubectl -> parts    ...
//
// It adds no behaviour of its own: each branch is the main function of the
// upstream program. ../build.sh builds it and makes the symlinks, ../launch
// starts it. Nothing here is ever shipped.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // the upstream mains register these,
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // and metrics and log formats differ
	_ "k8s.io/component-base/metrics/prometheus/version"  // without them
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kubectl":
		kubectl()
	default:
		fmt.Fprintf(os.Stderr, "parts: called as `%s`\nhint: call it through a symlink named etcd, kube-apiserver, kube-controller-manager or kubectl\n", name)
		os.Exit(2)
	}
}

// kubectl reads the verbosity before it builds the command, as upstream does:
// plugins and .kuberc are read while the command is being built.
func kubectl() {
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
