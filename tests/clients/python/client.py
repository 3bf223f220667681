"""The official Python client through the gateway: lists, runs a command, watches until the watch ends, and tries again. With
the word `consoles`, every form of an exec instead.

Prints a line for each step, which tests/it/gateway_clients.rs reads. It loads its kubeconfig once, as programs do that
run for long.
"""

import sys

import consoles
from kubernetes import client, config, watch
from kubernetes.stream import stream


def say(*words):
    print(*(" ".join(str(word).split()) for word in words), flush=True)


namespace = sys.argv[1]
config.load_kube_config()
core = client.CoreV1Api()
if sys.argv[2:] == ["consoles"]:
    consoles.run(core, namespace)
    sys.exit()


def names():
    return ",".join(item.metadata.name for item in core.list_namespaced_config_map(namespace).items)


say("listed", names())
command = ["sh", "-c", "echo out; exit 3"]
done = stream(
    core.connect_get_namespaced_pod_exec, "web-0", namespace, command=command, stdout=True, stderr=True, _preload_content=False
)
done.run_forever(timeout=20)
say("exec", done.returncode, done.read_stdout())
try:
    for event in watch.Watch().stream(core.list_namespaced_config_map, namespace):
        name = event["object"].metadata.name
        say("saw", name)
        if name == "late":
            say("listed", names())
    say("ended")
except Exception as error:
    say("ended", type(error).__name__, error)
try:
    say("listed", names())
except Exception as error:
    say("refused", type(error).__name__, error)
