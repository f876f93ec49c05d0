#!/usr/bin/env python3
"""People chat through a real node with software that nobody here wrote: curl, and PyPI's `websockets`.

    tests/peers/chat.py --node target/debug/quckchat [--postgres postgres://user@host:port/postgres]

Starts the node as a person would, with stand-ins for everything outside (on SQLite, or in a database of its own
beside the given one), plays the stories at the end of this file one after the other, and closes with a line of
counts. Talks to 127.0.0.1 only. tests/run sets up what it needs and calls it.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

WHOLE_RUN_SECS = 300
START_SECS = 60
ANSWER_SECS = 15
STOP_SECS = 30  # what the node promises for SIGTERM


class Failed(Exception):
    """What the node did is not what it should do."""


def check(truth, *what):
    if not truth:
        raise Failed(" ".join(str(part) for part in what))


# --- the node -----------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One node, its data folder and its log; it keeps its port over restarts."""

    def __init__(self, binary, data, database=None):
        self.port = free_port()
        self.log = data / "node.log"
        self.command = [str(binary), "--listen", f"127.0.0.1:{self.port}", "--data", str(data / "data")]
        if database:
            self.command += ["--database", database]
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("QUCKCHAT_", "RUST_LOG"))
        }
        self.environment["QUCKCHAT__OPERATIONS__LISTEN"] = f"127.0.0.1:{free_port()}"
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            check(self.process.poll() is None, "the node ended by itself, with", self.process.returncode)
            try:
                if curl(self, "GET", "/health/ready").status == 200:
                    return
            except Unreachable:
                pass
            time.sleep(0.1)
        raise Failed(f"the node was not ready within {START_SECS} s")

    def sigkill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.sigkill()

    def code(self, since, *marks):
        """The one-time code that the development sender printed after byte `since` of the log, beside a mark."""
        deadline = time.monotonic() + ANSWER_SECS
        while time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(since)
                code = find_code(log.read().decode(errors="replace"), marks)
            if code:
                return code
            time.sleep(0.05)
        raise Failed(f"no code for {marks[0]} in the node's log")


def find_code(text, marks):
    """Six digits in a line that names one of `marks`, or in one of the two lines below it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # colours
    lines = text.splitlines()
    marks = [mark for mark in marks if mark] + [mark[1:] for mark in marks if mark.startswith("+")]
    for number, line in enumerate(lines):
        if not any(mark in line for mark in marks):
            continue
        block = "\n".join(lines[number : number + 3])
        for mark in marks:
            block = block.replace(mark, " ")
        block = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+", " ", block)  # times
        block = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", " ", block, flags=re.IGNORECASE)  # ids
        for pattern in (r"code\W{1,12}(?:is\W+)?(\d{6})(?!\w)", r"(?<![\w.])(\d{6})(?!\w)"):
            found = re.search(pattern, block, flags=re.IGNORECASE)
            if found:
                return found[1]
    return None


# --- REST, by curl ------------------------------------------------------------------------------------------------


class Unreachable(Exception):
    """curl got no answer."""


class Answer:
    def __init__(self, status, kind, body):
        self.status, self.kind = status, kind
        self.body = json.loads(body) if "json" in kind and body else body

    def ok(self, status=None):
        """The body of an answer that had to be a success."""
        right = self.status == status if status else 200 <= self.status < 300
        check(right, "expected", status or "2xx", "but got", self.status, self.body)
        return self.body

    def refused(self, status, code=None):
        """Checks the form and the code of an answer that had to be a refusal."""
        check(self.status == status, "expected", status, "but got", self.status, self.body)
        check(self.kind.startswith("application/problem+json"), "a refusal as", self.kind)
        check(self.body["status"] == status, "the body says", self.body["status"], "instead of", status)
        if code:
            check(self.body["code"] == code, "refused with", self.body["code"], "instead of", code)


def curl(node, method, path, body=None, token=None):
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(ANSWER_SECS)]
    command += ["--request", method, "--write-out", "\n%{http_code} %{content_type}"]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data-binary", json.dumps(body)]
    command.append(f"http://127.0.0.1:{node.port}/api/v1{path}")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Unreachable(f"{method} {path}: {done.stderr.strip()}")
    body, _, tail = done.stdout.rpartition("\n")
    status, _, kind = tail.partition(" ")
    return Answer(int(status), kind, body)


# --- a person -----------------------------------------------------------------------------------------------------


class Person:
    """Somebody who signed in with a one-time code."""

    def __init__(self, node, name, phone):
        self.node, self.name, self.phone = node, name, phone
        since = node.log.stat().st_size
        sent = curl(node, "POST", "/auth/send-otp", {"phoneNumber": phone}).ok()
        code = node.code(since, sent["verificationId"], phone)
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        tried = {"verificationId": sent["verificationId"]}
        check(400 <= curl(node, "POST", "/auth/verify-otp", tried | {"code": wrong}).status < 500, "a wrong code passed")
        signed_in = curl(node, "POST", "/auth/verify-otp", tried | {"code": code}).ok()
        check(signed_in["isNewUser"], name, "was known before")
        self.id = signed_in["user"]["id"]
        self.token, self.refresh_token = signed_in["accessToken"], signed_in["refreshToken"]

    def rest(self, method, path, body=None):
        return curl(self.node, method, path, body, self.token)

    def history(self, conversation):
        """All messages that this person may read, page by page."""
        items, page = [], {"moreAfter": True}
        while page["moreAfter"]:
            after = items[-1]["seq"] if items else 0
            page = self.rest("GET", f"/conversations/{conversation}/messages?afterSeq={after}&limit=50").ok()
            check(page["items"] or not page["moreAfter"], "an empty page that says there is more")
            items += page["items"]
        return items


class Refused(Exception):
    def __init__(self, error):
        super().__init__(json.dumps(error))
        self.code = error["code"]


def dial(node, path, **options):
    # `legacy` is how websockets 17 calls a connection that is not closed by a `with` block.
    return connect(f"ws://127.0.0.1:{node.port}{path}", proxy=None, legacy=True, **options)


class Socket:
    """One WebSocket of a person: commands, replies, and a copy of one conversation kept by the client's merge rule."""

    def __init__(self, person, token_in, path="/ws", conversation=None, rows=None, rev=0):
        self.conversation = conversation
        self.rows = dict(rows or {})  # message id -> the message as last seen
        self.rev = rev  # the conversation's change counter that `rows` stands at
        self.held = []  # events that came before `catch_up` was done; None afterwards
        self.replies, self.events, self.numbered, self.last_id = {}, [], 0, 0
        options = {}
        hello = {"client": {"name": "peers", "version": "1", "platform": "python"}}
        if token_in == "subprotocol":
            options["subprotocols"] = ["quckchat.v1", f"bearer.{person.token}"]
        elif token_in == "header":
            options["additional_headers"] = {"Authorization": f"Bearer {person.token}"}
        else:
            hello |= {"token": person.token, "heartbeat": "ping"}
        if conversation and rev:
            hello["known"] = [[conversation, rev]]
        self.ws = dial(person.node, path, **options)
        if token_in == "subprotocol":
            check(self.ws.subprotocol == "quckchat.v1", "the subprotocol is", self.ws.subprotocol)
        self.ws.send(json.dumps({"cmd": "hello", "data": hello}))
        first = self.take()
        check(first.get("event") == "ready", "instead of ready came", first)
        self.ready = self.events.pop()["data"]
        check(self.ready["user"]["id"] == person.id, "ready for somebody else:", self.ready["user"])
        self.heads = {head["conversationId"]: head for head in self.ready["heads"]}

    def take(self, timeout=ANSWER_SECS):
        """Takes in the next frame."""
        try:
            frame = json.loads(self.ws.recv(timeout=timeout))
        except TimeoutError:
            raise Failed(f"nothing came within {timeout} s; so far: {self.events[-5:]}") from None
        if "re" in frame:
            self.replies[frame["re"]] = frame
        elif frame.get("event") == "heartbeat":
            data = frame["data"]
            check(data["delivered"] == self.numbered, "heartbeat:", data, "but", self.numbered, "came")
            answer = {"nonce": data["nonce"], "received": self.numbered}
            self.ws.send(json.dumps({"cmd": "heartbeat", "data": answer}))
        else:
            check("event" in frame, "neither reply nor event:", frame)
            self.events.append(frame)
            if "rev" in frame:
                self.numbered += 1
                if frame["conversationId"] != self.conversation:
                    pass
                elif self.held is not None:
                    self.held.append(frame)
                else:
                    self.merge(frame)
        return frame

    def merge(self, event):
        """Every change comes once and in order: the next one, or a range that begins with it."""
        if event["rev"] <= self.rev:
            return
        first = event.get("fromRev", event["data"].get("fromRev", event["rev"]))
        check(first <= self.rev + 1, "a gap: change", first, "came at", self.rev)
        self.put(event["data"].get("items", [event["data"]]))
        self.rev = event["rev"]

    def put(self, items):
        for item in items:
            if item["type"] == "message" and item["rev"] > self.rows.get(item["id"], item | {"rev": 0})["rev"]:
                self.rows[item["id"]] = item

    def catch_up(self):
        """Reads what changed since the last visit."""
        more = True
        while more:
            asked = {"conversationId": self.conversation, "afterRev": self.rev}
            page = self.ask("messages.changes", asked)
            check(not page.get("reset"), "told to begin anew after", asked)
            self.put(page["items"])
            self.rev, more = max(self.rev, page["nextRev"]), page["more"]
        held, self.held = self.held, None
        for event in held or []:
            self.merge(event)

    def post(self, command, data):
        """Sends a command without waiting; returns its id."""
        self.last_id += 1
        id = f"c{self.last_id}"
        self.ws.send(json.dumps({"id": id, "cmd": command, "data": data}))
        return id

    def reply(self, id):
        while id not in self.replies:
            self.take()
        frame = self.replies.pop(id)
        if "error" in frame:
            raise Refused(frame["error"])
        return frame["ok"]

    def ask(self, command, data):
        return self.reply(self.post(command, data))

    def say(self, text, client_id=None):
        return self.post("messages.send", message(text, client_id) | {"conversationId": self.conversation})

    def until(self, truth, *what):
        """Takes frames in until `truth()`."""
        deadline = time.monotonic() + ANSWER_SECS
        while not truth():
            check(time.monotonic() < deadline, *what)
            self.take()

    def hears(self, text):
        """Waits for a message; returns it."""
        found = []

        def here():
            found[:] = [row for row in self.rows.values() if row.get("text") == text]
            return found

        self.until(here, "never heard:", text)
        check(len(found) == 1, "heard", len(found), "times:", text)
        return found[0]

    def close_code(self):
        """Reads on until the node closes; returns the code."""
        deadline = time.monotonic() + STOP_SECS
        try:
            while time.monotonic() < deadline:
                self.take(STOP_SECS)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
        raise Failed("the node did not close the socket")

    def close(self):
        self.ws.close()


def message(text, client_id=None):
    return {"text": text, "clientId": client_id or secrets.token_hex(16)}


# --- the stories, in order: each goes on where the one before ended ------------------------------------------------


class Stories:
    def __init__(self, node):
        self.node = node

    def two_people_sign_in_by_code(self):
        self.ann = Person(self.node, "ann", "+4915112345678")
        self.bob = Person(self.node, "bob", "+12015550123")
        self.eve = Person(self.node, "eve", "+447400123456")
        named = self.ann.rest("PATCH", "/users/me", {"displayName": "Ann", "username": "ann"}).ok()
        check(named["displayName"] == "Ann", named)
        check(self.bob.rest("GET", f"/users/{self.ann.id}").ok()["username"] == "ann", "bob does not see ann's name")

    def the_same_pair_gets_the_same_conversation(self):
        with_bob = {"kind": "private", "participantIds": [self.bob.id]}
        with_ann = {"kind": "private", "participantIds": [self.ann.id]}
        self.chat = self.ann.rest("POST", "/conversations", with_bob).ok()["id"]
        check(self.bob.rest("POST", "/conversations", with_ann).ok()["id"] == self.chat, "another conversation")

    def they_chat_over_two_sockets(self):
        ann = self.ann_socket = Socket(self.ann, "subprotocol", conversation=self.chat)
        bob = self.bob_socket = Socket(self.bob, "hello", path="/ws/chat", conversation=self.chat)
        for socket in (ann, bob):
            check(self.chat in socket.heads, "ready does not list the conversation:", socket.ready)
            socket.catch_up()
        sent = ann.reply(ann.say("hi bob"))["message"]
        heard = bob.hears("hi bob")
        check((heard["id"], heard["seq"], heard["senderId"]) == (sent["id"], 1, self.ann.id), heard)
        answered = bob.reply(bob.say("hi ann ✨"))["message"]
        check(ann.hears("hi ann ✨")["id"] == answered["id"], "ann heard another message")

    def what_is_said_by_rest_is_heard_on_sockets(self):
        post = f"/conversations/{self.chat}/messages"
        said = message("by curl")
        first = self.bob.rest("POST", post, said).ok(201)
        again = self.bob.rest("POST", post, said).ok(200)
        check(not first["duplicate"] and again["duplicate"], "duplicate:", first, again)
        check(first["message"]["id"] == again["message"]["id"], "a repeat made another message")
        self.bob.rest("POST", post, said | {"text": "other"}).refused(409, "message.client_id_conflict")
        heard = self.ann_socket.hears("by curl")
        self.ann.rest("PUT", f"/messages/{heard['id']}/reactions/{quote('👍')}").ok()
        rows = self.bob_socket.rows
        thumbs = lambda: [r["emoji"] for r in rows.get(heard["id"], {}).get("reactions", [])] == ["👍"]
        self.bob_socket.until(thumbs, "bob never saw the reaction")
        self.bob.rest("PATCH", f"/messages/{heard['id']}", {"text": "by curl, edited"}).ok()
        check(self.ann_socket.hears("by curl, edited")["id"] == heard["id"], "the edit is another message")

    def strangers_hear_and_read_nothing(self):
        self.eve.rest("GET", f"/conversations/{self.chat}/messages").refused(404, "conversation.not_found")
        curl(self.node, "GET", "/users/me").refused(401)
        eve = Socket(self.eve, "header", conversation=self.chat)
        check(eve.heads == {}, "eve is told of", eve.heads)
        try:
            eve.reply(eve.say("let me in"))
            raise Failed("eve could send")
        except Refused as refused:
            check(refused.code == "conversation.not_found", refused)
        eve.close()
        forged = dial(self.node, "/ws", subprotocols=["quckchat.v1", "bearer.forged"])
        try:
            forged.recv(timeout=ANSWER_SECS)
            raise Failed("a forged token heard something")
        except ConnectionClosed as closed:
            check(closed.rcvd and closed.rcvd.code == 4401, "closed with", closed.rcvd)
        try:
            dial(self.node, "/ws", origin="https://elsewhere.example")
            raise Failed("a foreign origin got a socket")
        except InvalidStatus as refused:
            check(refused.response.status_code == 403, "a foreign origin got", refused.response.status_code)

    def nothing_acknowledged_is_lost_by_sigkill(self):
        for round in range(3):
            ann, bob = self.ann_socket, self.bob_socket
            plan = {f"round {round}, message {n}": secrets.token_hex(16) for n in range(20)}
            asked = {ann.say(text, client_id): text for text, client_id in plan.items()}
            while not ann.replies:
                ann.take()
            self.node.sigkill()
            for socket in (ann, bob):  # what was on its way still arrives
                try:
                    while True:
                        socket.take()
                except ConnectionClosed:
                    pass
            acknowledged = {}
            for id, frame in ann.replies.items():
                check("ok" in frame, "a send was refused:", frame)
                acknowledged[asked[id]] = frame["ok"]["message"]
            heard = set(bob.rows)

            self.node.start()
            kept = {m["id"]: m for m in self.ann.history(self.chat)}
            for text, sent in acknowledged.items():
                check(sent["id"] in kept, "acknowledged and lost:", text)
                for field in ("seq", "rev", "senderId", "clientId", "text", "createdAt"):
                    check(kept[sent["id"]][field] == sent[field], field, "of", sent, "became", kept[sent["id"]])
            check(heard <= set(kept), "heard and lost:", heard - set(kept))

            # With the same tokens as before, they come back; ann sends everything again.
            ann = self.ann_socket = Socket(self.ann, "header", conversation=self.chat, rows=ann.rows, rev=ann.rev)
            bob = self.bob_socket = Socket(self.bob, "hello", conversation=self.chat, rows=bob.rows, rev=bob.rev)
            for socket in (ann, bob):
                listed = socket.heads.get(self.chat, {"lastRev": socket.rev})
                check(listed["lastRev"] >= socket.rev, "the counter went back to", listed, "from", socket.rev)
                socket.catch_up()
            for id, text in [(ann.say(text, client_id), text) for text, client_id in plan.items()]:
                sent = ann.reply(id)
                if text in acknowledged:
                    check(sent["duplicate"], "acknowledged before, and sent again:", text)
                    check(sent["message"]["id"] == acknowledged[text]["id"], "another message:", text)
            bob.hears(f"round {round}, message 19")

            history = self.ann.history(self.chat)
            check([m["seq"] for m in history] == list(range(1, len(history) + 1)), "the numbers have gaps")
            sent_by_ann = [m["clientId"] for m in history if m["senderId"] == self.ann.id]
            check(len(sent_by_ann) == len(set(sent_by_ann)), "a message stands twice")
            check(set(plan.values()) <= set(sent_by_ann), "a message is missing")
            for socket in (ann, bob):
                socket.until(lambda: len(socket.rows) >= len(history), "has", len(socket.rows), "of", len(history))
                check({m["id"]: m["rev"] for m in history} == {m["id"]: m["rev"] for m in socket.rows.values()},
                      "what was heard is not what is kept")

    def the_history_reads_the_same_after_a_restart(self):
        texts = [m["text"] for m in self.bob.history(self.chat)]
        check(texts[:3] == ["hi bob", "hi ann ✨", "by curl, edited"], "the history begins with", texts[:3])
        check(len(texts) == 3 + 3 * 20, "the history has", len(texts), "messages")
        reread = self.bob.rest("GET", f"/conversations/{self.chat}").ok()
        check(reread["lastSeq"] == len(texts), "lastSeq is", reread["lastSeq"])

    def a_copy_of_ones_data_opens_with_zipfile_and_unzip(self):
        asked = self.bob.rest("POST", "/users/me/exports").ok()
        until = time.monotonic() + ANSWER_SECS
        while "url" not in (export := self.bob.rest("GET", "/users/me/exports").ok()["items"][0]):
            check(time.monotonic() < until, "the copy is not there:", export)
            time.sleep(0.05)
        check(export["id"] == asked["id"], "another copy came:", export)
        with tempfile.TemporaryDirectory(prefix="quckchat-export.") as folder:
            path = Path(folder) / "export.zip"
            url = f"http://127.0.0.1:{self.node.port}{export['url']}"
            fetch = ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", str(path), url]
            subprocess.run(fetch, check=True, stdin=subprocess.DEVNULL, timeout=ANSWER_SECS)
            check(path.stat().st_size == export["sizeBytes"], "fetched", path.stat().st_size, "bytes of", export)
            with zipfile.ZipFile(path) as archive:
                check(archive.testzip() is None, "a checksum is wrong")
                files = {name: json.loads(archive.read(name)) for name in archive.namelist()}
            unzipped = Path(folder) / "unzipped"
            told = subprocess.run(["unzip", "-q", str(path), "-d", str(unzipped)], capture_output=True, text=True)
            check(told.returncode == 0, "unzip says", told.stdout, told.stderr)
            for name, value in files.items():
                check(json.loads((unzipped / name).read_text()) == value, "unzip reads another", name)
        check(files["profile.json"]["id"] == self.bob.id, "somebody else's profile:", files["profile.json"])
        said = [message["text"] for message in files[f"messages/{self.chat}.json"]]
        check(said == [m["text"] for m in self.bob.history(self.chat)], "the copy has", len(said), "messages")

    def tokens_are_refreshed_and_given_up(self):
        spent = {"refreshToken": self.eve.refresh_token}
        fresh = curl(self.node, "POST", "/auth/refresh", spent).ok()
        self.eve.token = fresh["accessToken"]
        check(self.eve.rest("GET", "/users/me").ok()["id"] == self.eve.id, "the new token is somebody else's")
        held = {"refreshToken": fresh["refreshToken"]}
        curl(self.node, "POST", "/auth/logout", held).ok(204)
        curl(self.node, "POST", "/auth/refresh", held).refused(401)

    def sigterm_sends_everybody_away_politely(self):
        self.node.process.terminate()
        for socket in (self.ann_socket, self.bob_socket):
            code = socket.close_code()
            check(code == 4001, "closed with", code)
            check(any(event["event"] == "drain" for event in socket.events), "no drain came")
        try:
            code = self.node.process.wait(timeout=STOP_SECS)
        except subprocess.TimeoutExpired:
            raise Failed(f"the node did not end within {STOP_SECS} s") from None
        check(code == 0, "the node's exit code is", code)


# --- running them -------------------------------------------------------------------------------------------------


def psql(url, statement):
    subprocess.run(
        ["psql", url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement], check=True, stdin=subprocess.DEVNULL
    )


def play(told, node, kind):
    """Plays the stories of a class; returns how many passed and failed. After a failure the rest has nothing to stand on."""
    stories = told(node)
    names = [name for name, value in vars(told).items() if callable(value) and not name.startswith("_")]
    passed = 0
    try:
        node.start()
        for name in names:
            began = time.monotonic()
            getattr(stories, name)()
            passed += 1
            print(f"story {kind}::{name} ... ok ({time.monotonic() - began:.1f} s)", flush=True)
    except Exception:
        failed = names[passed]
        print(f"story {kind}::{failed} ... FAILED", flush=True)
        traceback.print_exc(file=sys.stdout)
        for name in names[passed + 1 :]:
            print(f"story {kind}::{name} ... not reached, counted as failed")
        log = node.log.read_text(errors="replace").splitlines() if node.log.exists() else []
        print("\n".join(["--- the end of the node's log", *log[-40:], "---"]), flush=True)
    return passed, len(names) - passed


@contextmanager
def alone(_node, _arguments):
    """With nothing beside the node."""
    yield


def main(told, beside=alone):
    """Plays the stories of a class, with what `beside` puts beside the node for them, and closes with a line of counts."""
    arguments = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__.split("\n")[0])
    arguments.add_argument("--node", type=Path, required=True, help="the quckchat binary")
    arguments.add_argument("--modules", type=Path, help="the folder in which npm has put what package.json names")
    arguments.add_argument("--postgres", help="maintenance URL; a database is made beside it, and dropped afterwards")
    arguments = arguments.parse_args()

    def too_long(*_):
        raise Failed(f"the stories took longer than {WHOLE_RUN_SECS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.alarm(WHOLE_RUN_SECS)

    script = Path(sys.modules["__main__"].__file__).stem.replace("_", "-")
    kind, database, name = f"{script}-sqlite", None, f"quckchat_peers_{secrets.token_hex(4)}"
    if arguments.postgres:
        kind = f"{script}-postgres"
        psql(arguments.postgres, f"CREATE DATABASE {name}")
        database = urlunsplit(urlsplit(arguments.postgres)._replace(path=f"/{name}"))
    folder = Path(tempfile.mkdtemp(prefix="quckchat-peers."))
    node = Node(arguments.node.resolve(), folder, database)
    try:
        with beside(node, arguments):
            passed, failed = play(told, node, kind)
    finally:
        node.end()
        shutil.rmtree(folder, ignore_errors=True)
        if database:
            psql(arguments.postgres, f"DROP DATABASE {name} WITH (FORCE)")
    print(f"peers-{kind}: {passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Stories))
