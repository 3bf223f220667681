"""Every form of an exec with the official Python client: with input and without, with a terminal and without, on one output
and on both. Prints a line for each; tests/it/gateway_clients.rs compares those through the gateway with those without it.
"""

import itertools
import json
import re
import time

from kubernetes.stream import stream
from kubernetes.stream.ws_client import STDERR_CHANNEL, STDOUT_CHANNEL

SCRIPT = 'echo out; echo err >&2; if [ "$1" = in ]; then read -r word; echo "len ${#word}"; fi; exit 7'


def run(core, namespace):
    for has_input, has_terminal, outputs in itertools.product([False, True], [False, True], ["stdout", "stderr", "both"]):
        form = {"input": has_input, "terminal": has_terminal, "outputs": outputs}
        tries = [once(core, namespace, **form) for _ in range(5)]
        # The quickest, because a busy machine slows all of them down.
        quickest = min(tries, key=lambda one: one["milliseconds"])
        print("console", json.dumps(form | quickest), flush=True)


def once(core, namespace, input, terminal, outputs):
    command = ["sh", "-c", SCRIPT, "sh", "in" if input else "none"]
    said = {STDOUT_CHANNEL: "", STDERR_CHANNEL: ""}
    # What is printed last before it reads: on a terminal, both outputs are one.
    last = "out" if outputs == "stdout" and not terminal else "err"
    begun = time.monotonic()
    try:
        console = stream(
            core.connect_get_namespaced_pod_exec,
            "web-0",
            namespace,
            command=command,
            stdin=input,
            tty=terminal,
            stdout=outputs != "stderr",
            stderr=outputs != "stdout",
            _preload_content=False,
        )
    except Exception as error:
        code = re.search(r"Handshake status (\d+)", str(error))
        return {"milliseconds": 0, "refused": code.group(1) if code else str(error)}
    has_typed = not input
    while console.is_open():
        console.update(timeout=5)
        for channel in said:
            said[channel] += console.read_channel(channel)
        if not has_typed and (last in "".join(said.values()) or (terminal and outputs == "stderr")):
            console.write_stdin("s3cret\n")
            has_typed = True
    milliseconds = round((time.monotonic() - begun) * 1000)
    for channel in said:
        said[channel] += console.read_channel(channel)
    try:
        code = console.returncode
    except (KeyError, TypeError, ValueError) as error:
        # It began, and the Status at its end is no exit code.
        return {"milliseconds": 0, "refused": type(error).__name__}
    return {
        "milliseconds": milliseconds,
        "code": code,
        "stdout": said[STDOUT_CHANNEL],
        "stderr": said[STDERR_CHANNEL],
    }
