#!/usr/bin/env python3
"""People sign in with an authenticator app that nobody here wrote: PyPI's `pyotp`.

    tests/peers/second_factor.py --node target/debug/quckchat [--postgres postgres://user@host:port/postgres]

Starts the node and plays the stories as chat.py does, whose parts it uses.
"""

import base64
import sys
import time

import pyotp

from chat import Person, check, curl, main

STEP_SECS = 30


class Stories:
    """The node takes one step either way, and each step once: three codes can be shown without a wait."""

    def __init__(self, node):
        self.node = node

    def _first_step(self):
        since = self.node.log.stat().st_size
        sent = curl(self.node, "POST", "/auth/send-otp", {"phoneNumber": self.ann.phone}).ok()
        code = self.node.code(since, sent["verificationId"], self.ann.phone)
        asked = curl(
            self.node, "POST", "/auth/verify-otp", {"verificationId": sent["verificationId"], "code": code}
        ).ok()
        check(asked["twoFactorRequired"] and "accessToken" not in asked, "let in without the second step:", asked)
        return asked["challengeToken"]

    def _second_step(self, challenge, code):
        return curl(self.node, "POST", "/auth/2fa/verify", {"challengeToken": challenge, "code": code})

    def _code(self, steps=0):
        return self.app.at(int(time.time()) + steps * STEP_SECS)

    def an_app_takes_the_link_and_its_code_is_right(self):
        self.ann = Person(self.node, "ann", "+4915112340001")
        setup = self.ann.rest("POST", "/auth/2fa/setup").ok(200)
        self.app = pyotp.parse_uri(setup["otpauthUri"])
        check(self.app.secret == setup["secret"], "the link's secret is another one")
        check((self.app.interval, self.app.digits, self.app.issuer) == (30, 6, "QuckChat"), self.app.provisioning_uri())
        check(len(base64.b32decode(self.app.secret)) == 20, "the secret has not 160 bits")
        check(setup["qrPng"].startswith("data:image/png;base64,iVBORw0KGgo"), "no PNG:", setup["qrPng"][:40])
        self.ann.rest("POST", "/auth/2fa/enable", {"code": self._code(-4)}).refused(422, "auth.second_factor_invalid")
        late = time.time() % STEP_SECS - (STEP_SECS - 5)
        if late > 0:
            time.sleep(5 - late)  # so that the code of the step before still counts when it arrives
        self.codes = self.ann.rest("POST", "/auth/2fa/enable", {"code": self._code(-1)}).ok(200)["backupCodes"]
        check(len(set(self.codes)) == 10, "not ten backup codes:", len(self.codes))

    def signing_in_takes_the_next_code_and_takes_it_once(self):
        challenge, code = self._first_step(), self._code()
        self._second_step(challenge, code).ok(200)
        self._second_step(challenge, self._code(1)).refused(410, "auth.challenge_expired")
        challenge = self._first_step()
        self._second_step(challenge, code).refused(422, "auth.second_factor_invalid")
        self._second_step(challenge, self._code(1)).ok(200)

    def a_backup_code_signs_in_once(self):
        self._second_step(self._first_step(), self.codes[0]).ok(200)
        self._second_step(self._first_step(), self.codes[0]).refused(422, "auth.second_factor_invalid")
        kinds = [event["kind"] for event in self.ann.rest("GET", "/auth/events").ok(200)["items"]]
        check(kinds.count("second_factor_failed") == 3, "what was noted is", kinds)

    def it_is_switched_off_with_a_code(self):
        self.ann.rest("POST", "/auth/2fa/disable", {"code": self.codes[1]}).ok(204)
        self.ann.rest("POST", "/auth/2fa/disable", {"code": self.codes[2]}).refused(409, "auth.second_factor_missing")


if __name__ == "__main__":
    sys.exit(main(Stories))
