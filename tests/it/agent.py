# Calls the daemon as the account that this runs as: a line of JSON in, a call on a connection of its own, and a line with
# the status and the body out, or with 0 and the reason. tests/it/agent.rs starts it, and it ends with its standard input.
import http.client
import json
import socket
import sys


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("jitd")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(100)
        self.sock.connect(self.path)


for line in sys.stdin:
    path, method, target, body = json.loads(line)
    headers = {"Content-Type": "application/json"} if body else {}
    connection = Connection(path)
    try:
        try:
            connection.request(method, target, body.encode() or None, headers)
        except BrokenPipeError:
            pass  # It may have answered without reading all of it.
        answer = connection.getresponse()
        told = [answer.status, answer.read().decode(errors="replace")]
    except (OSError, http.client.HTTPException) as error:
        told = [0, f"{type(error).__name__}: {error}"]
    connection.close()
    print(json.dumps(told), flush=True)
