"""The protocol, spoken over a socket; and who is not spoken to."""

import json
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from tests.app.annotating import annotating
from tests.app.client import Client
from tests.optional import needs
from vos_jax.app import server
from vos_jax.app.address import listen, page_file, proof
from vos_jax.app.guard import Guard

needs("uvicorn")
needs("websockets")


@contextmanager
def serving(session, folder):
    import uvicorn

    listening, token = listen(folder, None)
    port = listening.getsockname()[1]
    app = server.guarded_app(session, token, port)
    running = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Client(port, token)
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def client(network, video, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with annotating(network, video, out) as page, serving(page.session, out) as client:
        yield client


@pytest.fixture
def drawn(client, long_clip):
    """Something is drawn in frame 3."""
    labels, version = client.labels(3)
    wanted = np.where(long_clip[1][3] == 1, 1, 0).astype(np.uint8)
    if not np.array_equal(labels, wanted):
        assert client.put(3, wanted, version)[0] == 200
    return wanted


def test_the_page_is_served_with_its_files_alone(client):
    answer, content = client.get("/")
    assert answer.status == 200
    assert b"<script" in content
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/page/main.js")[0].status == 200
    assert client.get("/page/server.py")[0].status == 404


def test_a_project_describes_itself(client, drawn):
    state = client.project()
    assert (state["width"], state["height"], state["frames"]) == (48, 32, 24)
    assert state["names"][3] == "00003"
    assert state["status"][3] == "m"
    assert 3 in state["drawn"]


def test_frames_come_as_pictures(client):
    answer, content = client.get("/frames/2")
    assert answer.headers["content-type"] == "image/jpeg"
    assert content.startswith(bytes([0xFF, 0xD8]))
    assert client.get("/frames/24")[0].status == 400
    assert client.get("/frames/0?width=33")[0].status == 400
    assert client.get("/frames/0?width=320")[0].status == 200


def test_what_is_drawn_is_there_for_all(client, drawn):
    assert np.array_equal(client.labels(3)[0], drawn)


def test_two_pages_do_not_overwrite_each_other(client, drawn):
    _, version = client.labels(3)
    mine, theirs = drawn.copy(), drawn.copy()
    mine[0, 0] = theirs[31, 47] = 1
    assert client.put(3, mine, version)[0] == 200
    status, answer = client.put(3, theirs, version)
    assert status == 409
    assert "changed in another window" in answer["error"]
    assert np.array_equal(client.labels(3)[0], mine)


def test_pages_are_told_what_changes(client, drawn):
    with client.events() as events:
        first = json.loads(events.recv(timeout=30))
        assert first["type"] == "project"
        assert first["names"]
        assert client.command("add_object", name="cat")[0] == 200
        told = json.loads(events.recv(timeout=30))
        assert told["objects"][-1]["name"] == "cat"
        assert told["revision"] == first["revision"] + 1
        assert client.command("track", direction="forward", frame=3, last=6)[0] == 200
        kinds = []
        while True:
            message = json.loads(events.recv(timeout=120))
            kinds.append(message["type"])
            if message["type"] == "track" and message["track"] is None:
                break
        # Frame 3 is what is drawn there, and not made.
        assert kinds.count("frame") == 3
        assert message["told"] == "tracked to frame 00006"


def test_who_speaks_on_the_socket_is_disconnected(client):
    from websockets.exceptions import ConnectionClosed

    with client.events() as events:
        events.recv(timeout=30)
        events.send("hello")
        with pytest.raises(ConnectionClosed):
            events.recv(timeout=30)


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("track", {}, "direction is missing"),
        ("track", {"direction": "up", "frame": 3}, "forward or backward"),
        ("track", {"direction": "forward", "frame": 99}, "the video has 24"),
        ("track", {"direction": "forward", "frame": "3"}, "frame is '3'"),
        ("track", {"direction": "forward", "frame": True}, "frame is 'True'"),
        ("add_object", {"colour": "red"}, "#rrggbb"),
        ("change_object", {"id": 77, "name": "x"}, "object 77"),
        ("end_object", {"id": 1, "frame": 3}, "is drawn in frame 00003"),
        ("undo", {"more": 1}, "takes no 'more'"),
    ],
)
def test_wrong_commands_are_told_in_a_line(client, drawn, name, arguments, word):
    status, answer = client.command(name, **arguments)
    assert status == 400
    assert word in answer["error"]


# Ten who are refused, and some more.


def test_without_the_token_nothing_is_served(client):
    for token in ("", "x", client.token[:-1], client.token + "x", "%C3%A9"):
        answer, _ = client.ask("GET", "/project" if token else "project", token=token)
        assert answer.status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "0.0.0.0:{port}", ""]
)
def test_another_host_is_refused(client, host):
    answer, _ = client.get("/project", host=host.format(port=client.port))
    assert answer.status in (400, 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", None]
)
def test_a_change_from_another_page_is_refused(client, origin):
    origin = origin and origin.format(port=client.port)
    before = client.project()["revision"]
    answer, _ = client.ask("POST", "/commands/add_object", b"{}", {"origin": origin})
    assert answer.status == 403
    assert client.project()["revision"] == before


def test_another_page_may_not_even_read(client):
    answer, _ = client.get("/project", headers={"origin": "http://evil.example"})
    assert answer.status == 403
    answer, _ = client.get(
        "/frames/0", headers={"origin": None, "sec-fetch-site": "cross-site"}
    )
    assert answer.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/page/../project.py",
        "/page/%2e%2e/project.py",
        "/page/..%2f..%2fproject.py",
        "/page//etc/passwd",
        "/page/%00",
        "/../../etc/passwd",
        "/page/..%5cproject.py",
        "/labels/-1",
        "/frames/1e3",
        "/frames/" + "9" * 400,
        "/commands/close",
        "/commands/__init__",
    ],
)
def test_paths_lead_nowhere(client, path):
    answer, content = client.get(path)
    assert answer.status in (400, 403, 404, 405)
    assert b"root:" not in content
    assert b"class " not in content


@pytest.mark.parametrize("name", ["close", "describe", "_edit", "listen", "draw"])
def test_only_commands_are_commands(client, name):
    assert client.ask("POST", f"/commands/{name}", b"{}")[0].status == 404


def test_a_huge_body_is_not_read(client):
    answer, _ = client.ask(
        "PUT", "/labels/3", b"", {"content-length": str(1 << 40), "version": "x"}
    )
    assert answer.status == 413
    answer, _ = client.ask("PUT", "/labels/3", bytes(1 << 20), {"version": "x"})
    assert answer.status == 413


def test_a_huge_body_without_a_length_is_not_read(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as raw:
        raw.sendall(
            f"PUT /{client.token}/labels/3 HTTP/1.1\r\nhost: {client.host}\r\n"
            f"origin: {client.origin}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        try:
            for _ in range(64):
                raw.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Closed at once.
        else:
            assert b" 413 " in raw.recv(1 << 16)


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(client, method):
    assert client.ask(method, "/project")[0].status == 405


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b"nul", b"[" * 100_000, b"\xff\xfe", b"1"]
)
def test_what_is_no_command_is_refused(client, body):
    answer, content = client.ask("POST", "/commands/undo", body)
    assert answer.status in (400, 413)
    assert b"Traceback" not in content


@pytest.mark.parametrize("body", [b"", bytes(2000), b"\x01\x80\x80\x80\x80\x80"])
def test_what_is_no_mask_is_refused(client, drawn, body):
    version = client.labels(3)[1]
    answer, _ = client.ask("PUT", "/labels/3", body, {"version": version})
    assert answer.status == 400
    assert np.array_equal(client.labels(3)[0], drawn)


def test_labels_of_no_object_are_refused(client, drawn):
    labels, version = client.labels(3)
    labels[0, 0] = 200
    status, answer = client.put(3, labels, version)
    assert (status, "object 200" in answer["error"]) == (400, True)


def test_a_socket_for_others_is_refused(client):
    from websockets.exceptions import InvalidStatus

    for options in (
        {"origin": "http://evil.example"},
        {"token": "x"},
        {"additional_headers": {"sec-fetch-site": "cross-site"}},
    ):
        with pytest.raises(InvalidStatus):
            client.events(**options)


def test_a_name_is_a_line_and_not_long(client):
    id = client.command("add_object", name="a\n<script>" + 200 * "x")[1]["id"]
    (named,) = (x for x in client.project()["objects"] if x["id"] == id)
    assert named["name"].startswith("a <script>x")
    assert len(named["name"]) == 80


def test_the_server_listens_on_this_machine_alone(tmp_path):
    listening, token = listen(tmp_path, None)
    with listening:
        assert listening.getsockname()[0] == "127.0.0.1"
    assert len(token) == 32
    assert (tmp_path / ".address.json").stat().st_mode & 0o077 == 0


def test_a_server_that_starts_again_is_found_where_it_was(tmp_path):
    first, token = listen(tmp_path, None)
    port = first.getsockname()[1]
    first.close()
    second, again = listen(tmp_path, None)
    with second:
        assert (second.getsockname()[1], again) == (port, token)
        # Somebody else has the port now, and may be told the token of before.
        third, other = listen(tmp_path, None)
        with third:
            assert third.getsockname()[1] != port
            assert other != token


def test_a_token_that_others_could_read_is_not_taken_again(tmp_path):
    first, token = listen(tmp_path, None)
    first.close()
    (tmp_path / ".address.json").chmod(0o644)
    second, other = listen(tmp_path, None)
    second.close()
    assert other != token


def test_a_guard_lets_nothing_pass_that_it_does_not_know():
    guard = Guard(None, "token", 80, 10)
    assert guard._refusal({"type": "http", "headers": [], "path": "/token/"}) == 403


def test_the_server_proves_that_it_is_the_one(client):
    nonce = 32 * "a"
    answer, content = client.ask("GET", "", token=f"proof/{nonce}")
    assert answer.status == 200
    assert content.decode() == proof(client.token, nonce)
    assert client.token.encode() not in content
    for wrong in ("", "a", 33 * "a", 32 * "G"):
        assert client.ask("GET", "", token=f"proof/{wrong}")[0].status == 403
    assert client.ask("GET", "", token=f"proof/{nonce}", host="evil")[0].status == 403


def test_a_file_leads_to_the_page_and_is_for_the_user_alone(client, tmp_path):
    address = f"http://127.0.0.1:{client.port}/{client.token}/"
    path = page_file(tmp_path, address)
    assert path.stat().st_mode & 0o077 == 0
    assert address in path.read_text()
    # So a browser comes from a file.
    comes = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=comes)[0].status == 200
    assert client.get("/project", headers=comes)[0].status == 403


def test_a_frame_with_a_strange_number_is_none(client):
    for index in ("x", "٣".encode().hex(), "9" * 5000, "1.0"):
        assert client.get(f"/frames/{index}")[0].status == 400


def test_no_address_leads_out_of_the_token(client):
    assert client.get("/project/")[0].status == 404


def test_a_name_that_cannot_be_written_is_sent_all_the_same(client):
    body = b'{"name": "a\\ud83d"}'
    assert client.ask("POST", "/commands/add_object", body)[0].status == 200
    assert any(x["name"] == "a?" for x in client.project()["objects"])
