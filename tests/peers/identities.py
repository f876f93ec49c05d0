#!/usr/bin/env python3
"""People sign in by an OpenID Connect issuer that nobody here wrote: npm's `oidc-provider`.

    tests/peers/identities.py --node target/debug/quckchat --modules target/peers-npm [--postgres URL]

Starts the issuer and a node that knows it, goes through both as a browser does, and closes with a line of counts.
Talks to 127.0.0.1 only. tests/run sets up what it needs and calls it.
"""

import base64
import hashlib
import html
import http.client
import json
import re
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chat import ANSWER_SECS, START_SECS, Failed, check, curl, free_port, main

KEYS_AGAIN_SECS = 60  # how often the node asks an issuer for keys that it does not know
BACK = "http://127.0.0.1:9/in"  # nobody listens there: the browser stops before


def s256(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def new_key(kid):
    """A private JWK of P-256, by openssl."""
    pem = subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], check=True,
                         capture_output=True, stdin=subprocess.DEVNULL).stdout
    text = subprocess.run(["openssl", "ec", "-text", "-noout"], input=pem, check=True, capture_output=True).stdout
    numbers = re.findall(r"(priv|pub):\n((?:\s+[0-9a-f:]+\n)+)", text.decode())
    octets = {name: bytes.fromhex(re.sub(r"[\s:]", "", digits)) for name, digits in numbers}
    def number(octets):
        return base64.urlsafe_b64encode(octets[-32:].rjust(32, b"\0")).rstrip(b"=").decode()
    point = octets["pub"][1:]
    return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid,
            "x": number(point[:32]), "y": number(point[32:]), "d": number(octets["priv"])}


# --- the issuer ---------------------------------------------------------------------------------------------------


class Issuer:
    def __init__(self, modules, callback, keys, behind_secs=0, posing_as=None):
        self.modules, self.callback, self.keys, self.behind_secs = modules, callback, keys, behind_secs
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = posing_as or self.url
        self.process = None

    def start(self):
        script = Path(__file__).with_name("issuer.mjs")
        settings = {"port": self.port, "issuer": self.name, "callback": self.callback, "keys": self.keys,
                    "behindSecs": self.behind_secs, "modules": str(self.modules.resolve() / "package.json")}
        self.process = subprocess.Popen(["node", str(script), json.dumps(settings)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            check(self.process.poll() is None, "the issuer ended by itself, with", self.process.returncode)
            try:
                return Browser().get(f"{self.url}/.well-known/openid-configuration")
            except OSError:
                time.sleep(0.1)
        raise Failed(f"the issuer was not there within {START_SECS} s")

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def restart_with(self, keys):
        self.end()
        self.keys = keys
        self.start()


# --- a browser ----------------------------------------------------------------------------------------------------


class Page:
    def __init__(self, status, location, body):
        self.status, self.location, self.body = status, location, body


class Browser:
    """Follows redirects and fills in the issuer's forms; keeps cookies by host and port, secure ones too."""

    def __init__(self):
        self.cookies = {}

    def request(self, method, url, form=None):
        parts = urlsplit(url)
        jar = self.cookies.setdefault(parts.netloc, {})
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_SECS)
        try:
            path = urlunsplit(("", "", parts.path, parts.query, ""))
            connection.request(method, path, urlencode(form) if form is not None else None, headers)
            answer = connection.getresponse()
            body = answer.read().decode()
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            jar.pop(name, None)
            if value:
                jar[name] = value
        location = answer.headers.get("Location")
        if location and location.startswith("/"):
            location = f"http://{parts.netloc}{location}"
        return Page(answer.status, location, body)

    def get(self, url):
        return self.request("GET", url)

    def goes(self, url, name, until):
        """Goes from page to page, signs in by this name where it is asked to, or turns back there without one, and stops
        where it is sent to `until`."""
        page = self.get(url)
        for _ in range(20):
            if page.location:
                if page.location.startswith(until):
                    return dict(parse_qsl(urlsplit(page.location).query))
                page = self.get(page.location)
                continue
            check(page.status == 200, "the issuer says", page.status, re.sub(r"<style>.*?</style>|<[^>]+>|\s+", " ", page.body, flags=re.S))
            if name is None:
                page = self.get(html.unescape(re.search(r'<a href="([^"]+/abort)"', page.body)[1]))
                continue
            action = html.unescape(re.search(r'<form[^>]* action="([^"]+)"', page.body)[1])
            prompt = re.search(r'name="prompt" value="(\w+)"', page.body)[1]
            form = {"prompt": prompt}
            if prompt == "login":
                form |= {"login": name, "password": "any"}
            page = self.request("POST", action, form)
        raise Failed("the browser goes in circles")


# --- the stories --------------------------------------------------------------------------------------------------


class Stories:
    issuers = []  # the one that the node knows, another one, and the first as it would be with a clock that is behind
    patient = False  # whether a minute may pass

    def __init__(self, node):
        self.node = node
        self.issuer, self.other, self.late = self.issuers
        self.verifier = secrets.token_urlsafe(48)

    def _start(self):
        query = urlencode({"redirectUri": BACK, "codeChallenge": s256(self.verifier), "state": "ours"})
        return f"http://127.0.0.1:{self.node.port}/api/v1/auth/oauth/there/start?{query}"

    def _comes_back(self, name):
        back = Browser().goes(self._start(), name, BACK)
        check(back["state"] == "ours", "another state came back:", back)
        return back

    def _exchange(self, back):
        check("code" in back, "no code came back:", back)
        body = {"code": back["code"], "codeVerifier": self.verifier}
        return curl(self.node, "POST", "/auth/oauth/exchange", body)

    def _token(self, client, name, issuer=None, nonce="a nonce"):
        """An id token for a native app, which it gets by itself."""
        issuer, verifier, back = issuer or self.issuer, secrets.token_urlsafe(48), "http://127.0.0.1/app"
        query = {"client_id": client, "redirect_uri": back, "response_type": "code", "scope": "openid email",
                 "code_challenge": s256(verifier), "code_challenge_method": "S256", "nonce": nonce}
        found = Browser().goes(f"{issuer.url}/auth?{urlencode(query)}", name, back)
        form = {"grant_type": "authorization_code", "code": found["code"], "redirect_uri": back, "client_id": client,
                "code_verifier": verifier}
        page = Browser().request("POST", f"{issuer.url}/token", form)
        check(page.status == 200, "the issuer gives no token:", page.body)
        return json.loads(page.body)["id_token"]

    def _brings(self, token, nonce="a nonce"):
        body = {"provider": "there", "idToken": token, "nonce": nonce, "device": {"platform": "ios"}}
        return curl(self.node, "POST", "/auth/oauth/mobile", body)

    def somebody_signs_in_in_a_browser(self):
        page = Browser().get(self._start())
        asked = dict(parse_qsl(urlsplit(page.location).query))
        check(asked["code_challenge_method"] == "S256" and asked["nonce"], "asked for", asked)
        first = self._exchange(self._comes_back("ann")).ok(200)
        check(first["isNewUser"], "ann was known before")
        check(first["user"]["email"] == "ann@example.org", "what userinfo says was not asked for:", first["user"])
        check(first["user"]["displayName"] == "ann of the issuer", "the name is", first["user"])
        again = self._exchange(self._comes_back("ann")).ok(200)
        check(not again["isNewUser"] and again["user"]["id"] == first["user"]["id"], "ann is somebody else now")
        bob = self._exchange(self._comes_back("bob")).ok(200)
        check(bob["user"]["id"] != first["user"]["id"], "bob is ann")
        self.ann, self.token = first["user"]["id"], first["accessToken"]
        check(curl(self.node, "GET", "/users/me", token=self.token).ok()["id"] == self.ann, "the token is not ann's")

    def a_code_is_good_once_and_for_its_client_alone(self):
        back = self._comes_back("ann")
        body = {"code": back["code"], "codeVerifier": secrets.token_urlsafe(48)}
        curl(self.node, "POST", "/auth/oauth/exchange", body).refused(410, "auth.challenge_expired")
        self._exchange(back).ok(200)
        self._exchange(back).refused(410, "auth.challenge_expired")

    def a_flow_is_one_browsers(self):
        begun, lured = Browser(), Browser()
        callback = f"http://127.0.0.1:{self.node.port}/api/v1/auth/oauth/there/callback"
        found = begun.goes(self._start(), "mallory", callback)
        page = lured.get(f"{callback}?{urlencode(found)}")
        check(page.location.startswith(BACK) and "error=auth.identity_invalid" in page.location, page.location)

    def identities_are_linked_and_unlinked(self):
        listed = curl(self.node, "GET", "/auth/linked-accounts", token=self.token).ok()["items"]
        check([one["provider"] for one in listed] == ["there"], "linked is", listed)
        # Ann has an address that both have verified: she can come back by that.
        curl(self.node, "DELETE", "/auth/linked-accounts/there", token=self.token).ok(204)
        same = self._exchange(self._comes_back("ann")).ok(200)
        check(same["user"]["id"] == self.ann and not same["isNewUser"], "the address opened another account")

    def a_native_app_brings_a_token_along_once(self):
        token = self._token("our-app", "carol")
        self._brings(token, "another nonce").refused(422, "auth.identity_invalid")
        carol = self._brings(token).ok(200)
        self._brings(token).refused(410, "auth.challenge_expired")
        again = self._brings(self._token("our-app", "carol", nonce="one more"), "one more").ok(200)
        check(again["user"]["id"] == carol["user"]["id"], "carol is somebody else now")

    def tokens_that_are_not_for_us_are_refused(self):
        token = self._token("our-app", "dave")
        head, body, signature = token.split(".")
        other = encoded(decoded(body) | {"sub": "ann"})
        for name, wrong in [
            ("another audience", self._token("another-app", "dave")),
            ("over for an hour", self._token("our-app", "dave", self.late)),
            ("another issuer with the same keys", self._token("our-app", "dave", self.other)),
            ("no algorithm", f"{encoded({'alg': 'none'})}.{body}."),
            ("no algorithm, but a key's name", f"{encoded(decoded(head) | {'alg': 'none'})}.{body}."),
            ("an unknown key", f"{encoded(decoded(head) | {'kid': 'unknown'})}.{body}.{signature}"),
            ("another subject", f"{head}.{other}.{signature}"),
            ("cut off", f"{head}.{body}.{signature[:-4]}"),
        ]:
            answer = self._brings(wrong)
            check(answer.status == 422, name, "passed:", answer.status, answer.body)
            answer.refused(422, "auth.identity_invalid")
        self._brings(token).ok(200)

    def keys_are_changed(self):
        first, second = self.issuer.keys
        # As issuers do: the next key was published all along.
        self.issuer.restart_with([second, first])
        check(decoded(self._token("our-app", "erin").split(".")[0])["kid"] == "second", "the old key signs")
        self._exchange(self._comes_back("erin")).ok(200)
        if not self.patient:
            return
        # And as they should not: nobody has heard of the new one. It is asked for, but once a minute at most.
        self.issuer.restart_with([new_key("third")])
        deadline = time.monotonic() + KEYS_AGAIN_SECS + ANSWER_SECS
        while "error" in self._comes_back("erin"):
            check(time.monotonic() < deadline, "the new key was never fetched")
            time.sleep(2)

    def a_client_without_the_providers_leave_is_told(self):
        back = Browser().goes(self._start(), None, BACK)
        check(back == {"error": "auth.provider_refused", "state": "ours"}, "what came back is", back)


# --- running them -------------------------------------------------------------------------------------------------


@contextmanager
def issuers_of(node, arguments):
    """The issuers, and a node that knows the first."""
    base = f"http://127.0.0.1:{node.port}"
    keys = [new_key("first"), new_key("second")]
    common = arguments.modules, f"{base}/api/v1/auth/oauth/there/callback", keys
    issuers = [Issuer(*common), Issuer(*common)]
    issuers.append(Issuer(*common, behind_secs=7200, posing_as=issuers[0].url))
    node.environment |= {f"QUCKCHAT__OAUTH__{key}": value for key, value in {
        "BASE_URL": base,
        "REDIRECT_ALLOW": BACK,
        "PROVIDERS__THERE__ISSUER": issuers[0].url,
        "PROVIDERS__THERE__CLIENT_ID": "quckchat",
        "PROVIDERS__THERE__CLIENT_SECRET": "s+cret/of:both",
        "PROVIDERS__THERE__AUDIENCES": "our-app",
        "PROVIDERS__THERE__TRUST_EMAIL": "true",
    }.items()}
    # One database is enough to wait a minute for an issuer's keys.
    Stories.issuers, Stories.patient = issuers, not arguments.postgres
    try:
        for issuer in issuers:
            issuer.start()
        yield
    finally:
        for issuer in issuers:
            issuer.end()


if __name__ == "__main__":
    sys.exit(main(Stories, issuers_of))
