"""Speaks to the server of a project as its page does, or as somebody else."""

import http.client
import json
import time

from vos_jax.app import runs


class Client:
    """Speaks to a server as its page does, or as somebody else."""

    def __init__(self, port, token):
        self.port, self.token = port, token
        self.host = f"127.0.0.1:{port}"
        self.origin = f"http://{self.host}"

    def ask(self, method, path, body=b"", headers=(), token=None, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        token = self.token if token is None else token
        connection.putrequest(method, f"/{token}{path}", skip_host=True)
        for name, value in {
            "host": self.host if host is None else host,
            "origin": self.origin,
            "content-length": str(len(body)),
            **dict(headers),
        }.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        try:
            connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Refused before all was sent.
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def command(self, command, /, **arguments):
        answer, content = self.ask(
            "POST", f"/commands/{command}", json.dumps(arguments).encode()
        )
        return answer.status, json.loads(content)

    def wait(self, seconds=300):
        """Until nothing goes on any more."""
        end = time.monotonic() + seconds
        while (state := self.project())["track"] or state["export"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        return state

    def project(self):
        return json.loads(self.get("/project")[1])

    def labels(self, index, size=(32, 48)):
        answer, content = self.get(f"/labels/{index}")
        return runs.decode(content, size), answer.headers["version"]

    def put(self, index, labels, version, what="brush"):
        answer, content = self.ask(
            "PUT",
            f"/labels/{index}?what={what}",
            runs.encode(labels),
            {"version": version},
        )
        return answer.status, json.loads(content)

    def events(self, origin=None, token=None, **options):
        from websockets.sync.client import connect

        address = f"ws://{self.host}/{self.token if token is None else token}/events"
        origin = self.origin if origin is None else origin
        return connect(address, origin=origin, **options)
