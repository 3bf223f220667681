package main

import "strings"

type given struct{ method, target string }

// cases are combinations: each method with each path, each query with what may be
// a list, each spelling with each place in a path.
func cases() []given {
	var all []given
	add := func(methods string, targets ...string) {
		for _, target := range targets {
			for _, method := range strings.Fields(methods) {
				all = append(all, given{method, target})
			}
		}
	}
	every := "GET HEAD POST PUT PATCH DELETE"
	add(every, resources...)
	add("GET POST DELETE", withVerbs(resources)...)
	add("GET HEAD POST", others...)
	add("OPTIONS TRACE CONNECT PROPFIND get WATCH",
		"/api/v1/namespaces/payments/pods", "/api/v1/watch/pods", "/version", "/")
	for _, path := range append(append([]string{}, resources...), others...) {
		add("GET", path+"/", path+"//", "/"+path)
	}
	for _, path := range lists {
		for _, query := range watches {
			add("GET", path+"?"+query)
		}
	}
	for _, query := range selectors {
		add("GET", lists[0]+"?"+query, lists[0]+"?watch=1&"+query, lists[2]+"?"+query)
	}
	add("HEAD POST PUT PATCH DELETE", "/api/v1/namespaces/payments/pods?watch=1",
		"/api/v1/namespaces/payments/pods?fieldSelector=metadata.name%3Dweb-0",
		"/api/v1/namespaces/payments/pods/web-0?watch=1")
	for _, s := range segments {
		add("GET", "/api/v1/namespaces/"+s+"/pods", "/api/v1/namespaces/payments/pods/"+s,
			"/api/v1/namespaces/payments/pods/web-0/"+s, "/apis/"+s+"/v1/deployments", "/"+s,
			"/api/v1/namespaces/payments/pods/web-0/proxy/"+s)
	}
	add("GET POST", spelled...)
	return all
}

// withVerbs puts the verbs that a path may begin with before what follows the version.
func withVerbs(paths []string) []string {
	var all []string
	for _, path := range paths {
		parts := strings.SplitN(path, "/", 6)
		at := 3
		if parts[1] == "apis" {
			at = 4
		}
		if len(parts) <= at {
			continue
		}
		for _, verb := range []string{"watch", "proxy"} {
			all = append(all, strings.Join(parts[:at], "/")+"/"+verb+"/"+strings.Join(parts[at:], "/"))
		}
	}
	return all
}

var resources = []string{
	"/api/v1/pods",
	"/api/v1/pods/web-0",
	"/api/v1/namespaces",
	"/api/v1/namespaces/payments",
	"/api/v1/namespaces/payments/status",
	"/api/v1/namespaces/payments/finalize",
	"/api/v1/namespaces/payments/finalize/more",
	"/api/v1/namespaces/payments/pods",
	"/api/v1/namespaces/payments/pods/web-0",
	"/api/v1/namespaces/payments/pods/web-0/status",
	"/api/v1/namespaces/payments/pods/web-0/exec",
	"/api/v1/namespaces/payments/pods/web-0/exec/more",
	"/api/v1/namespaces/payments/pods/web-0/attach",
	"/api/v1/namespaces/payments/pods/web-0/portforward",
	"/api/v1/namespaces/payments/pods/web-0/log",
	"/api/v1/namespaces/payments/pods/web-0/eviction",
	"/api/v1/namespaces/payments/pods/web-0/ephemeralcontainers",
	"/api/v1/namespaces/payments/pods/web-0/proxy",
	"/api/v1/namespaces/payments/pods/web-0/proxy/metrics",
	"/api/v1/namespaces/payments/services/https:web:443/proxy/a/b/c",
	"/api/v1/namespaces/payments/serviceaccounts/deploy",
	"/api/v1/namespaces/payments/serviceaccounts/deploy/token",
	"/api/v1/namespaces/payments/serviceaccounts/deploy/token/more",
	"/api/v1/namespaces/payments/watch",
	"/api/v1/namespaces/payments/watch/pods",
	"/api/v1/namespaces/payments/proxy/web-0",
	"/api/v1/namespaces/namespaces",
	"/api/v1/namespaces/namespaces/namespaces",
	"/api/v1/namespaces/status/pods",
	"/api/v1/namespaces/watch",
	"/api/v1/nodes",
	"/api/v1/nodes/n1",
	"/api/v1/nodes/n1:10250/proxy",
	"/api/v1/nodes/n1/proxy/exec/payments/web-0/web",
	"/api/v1/namespaces/payments/nodes/n1/proxy",
	"/api/v1/bindings",
	"/apis/apps/v1/deployments",
	"/apis/apps/v1/namespaces/payments/deployments/web",
	"/apis/apps/v1/namespaces/payments/deployments/web/scale",
	"/apis/apps/v1/namespaces/payments",
	"/apis/apps/v1/namespaces",
	"/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
	"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
	"/apis/metrics.k8s.io/v1beta1/namespaces/payments/pods",
	"/apis/custom.metrics.k8s.io/v1beta1/namespaces/payments/pods/*/requests",
	"/apis/subresources.kubevirt.io/v1/namespaces/payments/virtualmachineinstances/vm/portforward/8080/tcp",
	"/apis/example.com/v1/namespaces/payments/pods/web-0/exec",
	"/apis/example.com/v1/serviceaccounts/deploy/token",
	"/apis/example.com/v1/nodes/n1/proxy",
}

var others = []string{
	"/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1beta1", "/version", "/healthz",
	"/healthz/etcd", "/livez", "/readyz", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3",
	"/openapi/v3/apis/apps/v1", "/.well-known/openid-configuration", "/openid/v1/jwks", "/logs", "/debug/pprof",
	"/debug/pprof/heap", "/api/v1/watch", "/api/v1/proxy", "/apis/apps/v1/watch", "/apis/apps/watch", "/API/v1/pods",
	"/apiss/v1/pods", "/api/v1?watch=1", "/version?pretty=true", "/healthz?verbose", "/?x", "/favicon.ico",
	"/openapi/v3/api/v1?hash=0A1B", "/api/v2/pods", "/apis/apps/v1/watch/namespaces",
}

var lists = []string{
	"/api/v1/namespaces/payments/pods",
	"/api/v1/namespaces",
	"/apis/apps/v1/deployments",
	"/api/v1/namespaces/payments/pods/web-0",
	"/api/v1/watch/namespaces/payments/pods",
}

var watches = []string{
	"", "watch", "watch=", "watch=true", "watch=True", "watch=TRUE", "watch=1", "watch=false", "watch=False",
	"watch=FALSE", "watch=fAlSe", "watch=0", "watch=00", "watch=-0", "watch=0x0", "watch=no", "watch=off", "watch=f",
	"watch=n", "watch=null", "watch=%30", "watch=%66alse", "watch=false%20", "watch=+false", "watch=%00",
	"watch=1&watch=0", "watch=0&watch=1", "watch=false&watch=true", "watch&watch=0", "Watch=1", "WATCH=1",
	"wat%63h=1", "w%61tch=false", "watch%3D1", "watch%20=1", "+watch=1", "watch=1=0", "watch==0", "&&watch=1&",
	"=1&watch=0", "pretty=true&watch=1", "watch=1;watch=0", "watch=0;", ";watch=1", "a;b&watch=1", "watch=%zz",
	"%zz=1&watch=1", "watch=%", "watch=1&limit=%", "watch=1&limit=abc", "watch=0&limit=abc", "watch=&limit=",
	"watch=fal%C5%BFe", "watch=falſe", "limit=abc&watch=FALSE", "limit=1&watch=1", "timeoutSeconds=5&watch=1",
	"timeoutSeconds=five&watch=1", "timeoutSeconds=five&watch=0", "allowWatchBookmarks=no&watch=1",
	"sendInitialEvents=maybe&watch=1", "resourceVersion=abc&watch=1", "resourceVersionMatch=x&watch=1",
	"watch[]=1", "watch.=1", "?watch=1", "watch=1?watch=0", "watch=%FF", "watch=1#watch=0",
}

var selectors = []string{
	"fieldSelector=metadata.name=web-0", "fieldSelector=metadata.name%3Dweb-0", "fieldSelector=metadata.name%3D%3Dweb-0",
	"fieldSelector=metadata.name!=web-0", "fieldSelector=metadata.name=", "fieldSelector=metadata.name",
	"fieldSelector=", "fieldSelector", "fieldSelector=,", "fieldSelector=metadata.name=web-0,",
	"fieldSelector=,metadata.name=web-0", "fieldSelector=metadata.name=web-0,status.phase=Running",
	"fieldSelector=status.phase=Running,metadata.name=web-0", "fieldSelector=metadata.name=b,metadata.name=a",
	"fieldSelector=metadata.name=b&fieldSelector=metadata.name=a", "fieldSelector=status.phase=x&fieldSelector=metadata.name=a",
	"fieldSelector=metadata.name=a%5C,b", "fieldSelector=metadata.name=a%5C=b", "fieldSelector=metadata.name=a%5C%5Cb",
	"fieldSelector=metadata.name=a%5Cb", "fieldSelector=metadata.name=a%5C", "fieldSelector=metadata.name=a=b",
	"fieldSelector=metadata.name===a", "fieldSelector=metadata.name!==a", "fieldSelector=metadata.name=!a",
	"fieldSelector=metadata.name=a%5C%5C,metadata.name=0", "fieldSelector=metadata.name=..", "fieldSelector=metadata.name=.",
	"fieldSelector=metadata.name=a/b", "fieldSelector=metadata.name=a%25b", "fieldSelector=metadata.name=a%2Fb",
	"fieldSelector=metadata.name=a+b", "fieldSelector=metadata.name=%20a", "fieldSelector=%20metadata.name=a",
	"fieldSelector=metadata.name%20=a", "fieldSelector=Metadata.name=a", "FieldSelector=metadata.name=a",
	"field%53elector=metadata.name=a", "fieldSelector=metadata.name=a%00b", "fieldSelector=metadata.name=%C3%A9",
	"fieldSelector=metadata.name=%FF", "fieldSelector=%FF=a,metadata.name=a", "fieldSelector=metadata.name=a%0Ab",
	"fieldSelector=metadata.name=web-0&limit=500", "fieldSelector=metadata.name=web-0&limit=abc",
	"fieldSelector=metadata.name=web-0&limit=", "fieldSelector=metadata.name=web-0&limit=%2B5",
	"fieldSelector=metadata.name=web-0&limit=1_000", "fieldSelector=metadata.name=web-0&limit=9223372036854775808",
	"fieldSelector=metadata.name=web-0&limit=-9223372036854775808", "fieldSelector=metadata.name=web-0&limit=5&limit=x",
	"fieldSelector=metadata.name=web-0&timeoutSeconds=x", "fieldSelector=metadata.name=web-0&timeoutSeconds=30",
	"fieldSelector=metadata.name=web-0&limit=%FF", "fieldSelector=metadata.name=web-0&limit=0x10",
	"fieldSelector=metadata.name=web-0&labelSelector=", "fieldSelector=metadata.name=web-0&labelSelector=app",
	"fieldSelector=metadata.name=web-0&labelSelector=app%3Dweb", "fieldSelector=metadata.name=web-0&labelSelector=!app",
	"fieldSelector=metadata.name=web-0&labelSelector=app%3D%3Dweb,example.com/tier!%3Dfront",
	"fieldSelector=metadata.name=web-0&labelSelector=app%20in%20(a,b)", "fieldSelector=metadata.name=web-0&labelSelector=app=,b",
	"fieldSelector=metadata.name=web-0&labelSelector=app,", "fieldSelector=metadata.name=web-0&labelSelector=,app",
	"fieldSelector=metadata.name=web-0&labelSelector=a/b/c", "fieldSelector=metadata.name=web-0&labelSelector=-a",
	"fieldSelector=metadata.name=web-0&labelSelector=A.example/b", "fieldSelector=metadata.name=web-0&labelSelector=in%3Dnotin",
	"fieldSelector=metadata.name=web-0&labelSelector=a%3D-b", "fieldSelector=metadata.name=web-0&labelSelector=a%3Db%3Dc",
	"fieldSelector=metadata.name=web-0&labelSelector=a%3E5", "fieldSelector=metadata.name=web-0&labelSelector=!a%3Db",
	"fieldSelector=metadata.name=web-0&labelSelector=%20app%20%3D%20web%20", "fieldSelector=metadata.name=web-0&labelSelector=/a",
	"fieldSelector=metadata.name=web-0&labelSelector=a&labelSelector=---", "labelSelector=!!!", "labelSelector=metadata.name=web-0",
	"fieldSelector=metadata.name=web-0&labelSelector=example..com/a", "fieldSelector=metadata.name=web-0&labelSelector=in",
	"fieldSelector=metadata.name=web-0&labelSelector=%00a", "fieldSelector=metadata.name=web-0&labelSelector=a%00",
	"fieldSelector=metadata.name=web-0&labelSelector=a%3D" + sixtyThree, "fieldSelector=metadata.name=web-0&labelSelector=" + sixtyThree + "x",
	"fieldSelector=metadata.namespace=payments", "fieldSelector=involvedObject.name=web-0",
}

var sixtyThree = strings.Repeat("a", 63)

var segments = []string{
	"%65xec", "e%78ec", "%70roxy", "lo%67", ".", "..", "...", "%2e", "%2E%2e", ".%2e", "..%2f", "%2f", "a%2fb", "a%2Fb",
	"%5c", "a%5Cb", "%25", "%2565xec", "a%25b", "%00", "a%00b", "%0a", "%0D%0A", "%7f", "%C2%85", "%1b", "%09", "%20", "a%20b",
	"a+b", "%2B", "%FF", "%C3%28", "%C3%A9", "é", "%c3%a9", "%E2%80%AE", "%ED%A0%80", "%zz", "%", "%4", "a%", "a;b", "a%3Bb",
	"a:b", "https:web:443", "system:node", "*", "a*b", "!", "$", "&", "'", "(x)", ",", "=", "a@b", "~", "a?b", "%3F", "%3f=1",
	"%23", "a#b", "a|b", "a\\b", "\"a\"", "{a}", "^", "`", "<a>", "[a]", "A", "a%41", "%61", "%6e%61mespaces",
}

var spelled = []string{
	"/%61pi/v1/pods", "/api/%76%31/pods", "/apis/%61pps/v1/deployments", "/api/v1/%77atch/pods", "/api/v1/%70roxy/nodes/n1",
	"/api/v1/n%61mespaces/payments/pods", "/api/v1/n%6Fdes/n1/pr%6Fxy", "/api/v1/nodes/n1/%70roxy/pods",
	"/api/v1/namespaces/payments/serviceaccounts/deploy/%74oken", "/api/v1/namespaces/payments/serviceaccounts/deploy/token/",
	"/api/v1/namespaces/payments/pods/web-0/%65xec?command=sh", "/api/v1/namespaces/payments/pods/web-0/exec/?command=sh",
	"/api/v1/namespaces/payments/pods/web-0/exec?command=sh&command=-c&command=a%3Bb",
	"/api/v1/namespaces/payments/pods/web-0/exec?command=a;b", "/api/v1/namespaces/payments/pods/web-0/exec?command=%",
	"/api/v1/namespaces/payments/pods/web-0/exec?command=%FF", "/api/v1/namespaces/payments/pods/web-0/log?follow=true",
	"/api/v1/namespaces/payments/pods/web-0/proxy/", "/api/v1/namespaces/payments/pods/web-0/proxy//",
	"/api/v1/namespaces/payments/pods/web-0/proxy//a", "/api/v1/namespaces/payments/pods/web-0/proxy/a//b",
	"/api/v1/namespaces/payments/pods/web-0/proxy/../../../../../v1/nodes/n1/proxy/", "/api/v1/namespaces/payments/pods/web-0/proxy/..%2f..",
	"/api/v1/namespaces/payments/pods/web-0/proxy/a/./b", "/api/v1/namespaces/payments/pods/web-0/proxy/%2e%2E/b",
	"/api/v1/namespaces/payments/pods/web-0/proxy?a;b=%zz", "/api/v1/namespaces/payments/pods/web-0/proxy/?watch=1",
	"/api/v1/namespaces/payments/pods/web-0/proxy/a%2Fb%25c?d=%2F", "/api/v1/namespaces/payments/services/web/proxy/q?a=b;c=d",
	"/api/v1/namespaces/payments/services/web/proxy/%", "/api/v1/namespaces/payments/services/web/proxy/%FF",
	"/api/v1/namespaces/payments/services/web/proxy/%0d%0a", "/api/v1/namespaces/payments/pods/../../kube-system/pods",
	"/api/v1/namespaces/payments/pods/../secrets", "/api/v1//namespaces/payments/pods", "/api//v1/pods", "//api/v1/pods",
	"/api/v1/namespaces//pods", "/api/v1/namespaces//", "///", "//", "/api/v1/namespaces/payments/pods/web-0//exec",
	"/api/v1/namespaces/payments/pods//exec", "/api/v1/watch/", "/api/v1/watch//pods", "/apis//v1/pods", "/apis/apps//deployments",
	"/version//", "/version/", "/debug/pprof/", "/debug/pprof//", "/debug/pprof/heap/", "/logs/", "/logs/../etc/passwd",
	"http://elsewhere.example/api/v1/pods", "https://elsewhere.example:6443/api/v1/nodes/n1/proxy/", "http://elsewhere.example",
	"*", "", "api/v1/pods", "elsewhere.example:443", "/api/v1/pods#x", "/api/v1/pods?#x", "/api/v1/pods%3Fwatch=1",
	"/api/v1/pods%23x", "/api/v1/pods?", "/api/v1/pods??watch=1", "/api/v1/pods/?watch=1", "/api/v1/namespaces/?watch=1",
	"/apis/apps/v1/?x=1", "/api/v1/namespaces/payments/pods;a=b", "/api/v1/namespaces/payments/pods;watch=1",
	"/api/v1/namespaces/payments%2Fpods", "/api/v1/namespaces%2Fpayments/pods", "/api%2Fv1/pods", "/%2Fapi/v1/pods",
	"/apis/x/y", "/apis/x/y/z", "/apis/x", "/api/x", "/api/x/y", "/x/y/z", "/api/v1/ pods", "/api/v1/namespaces/payments/pods/a b",
}
