#!/usr/bin/env python3
"""Letters arrive at a mail server that nobody here wrote (PyPI's `aiosmtpd`), and Python's `email` reads them.

    tests/peers/mail.py --node target/debug/quckchat [--postgres postgres://user@host:port/postgres]

Starts the node and plays the stories as chat.py does, whose parts it uses. The server's certificates are `trustme`'s.
"""

import email
import email.policy
import logging
import re
import sys
import tempfile
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from ssl import PROTOCOL_TLS_SERVER, SSLContext

from chat import ANSWER_SECS, Person, check, curl, free_port, main

USER, PASSWORD = "chat@example.org", "s3cret of the mail server"
FROM = "QuckChat <no-reply@chat.example.org>"
REFUSED, LATER = "nobody@example.org", "later@example.org"

# What the stories do to the server on purpose is no news.
logging.getLogger("mail").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="aiosmtpd")


class MailServer:
    """Takes letters over TLS from who has signed in, and keeps them."""

    def __init__(self, authority, implicit=False, encrypted=True, port=None):
        self.letters, self.refused = [], 0
        context = SSLContext(PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        options = {"ssl_context": context} if implicit else {}
        if encrypted and not implicit:
            options = {"tls_context": context, "require_starttls": True}
        # Where TLS is from the first byte, aiosmtpd does not count it as the TLS that authentication asks for.
        options |= {"authenticator": self._authenticate, "auth_required": True, "auth_require_tls": not implicit}
        if not encrypted:
            options = {}
        self.port = port or free_port()
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)
        self.controller.start()

    def _authenticate(self, server, session, envelope, mechanism, data):
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.refused += not right
        return AuthResult(success=right, handled=False, auth_data=data.login)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == REFUSED:
            return "550 5.1.1 no such mailbox"
        if address == LATER:
            return f"450 4.2.0 <{address}> is greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        over_tls = server.transport.get_extra_info("ssl_object") is not None
        self.letters.append((envelope, over_tls, session.auth_data, letter))
        return "250 OK"

    def letter(self, to):
        """The one letter to somebody, once it is there."""
        deadline = time.monotonic() + ANSWER_SECS
        while time.monotonic() < deadline:
            found = [letter for letter in self.letters if letter[0].rcpt_tos == [to]]
            if found:
                check(len(found) == 1, len(found), "letters to", to)
                self.letters.remove(found[0])
                return found[0]
            time.sleep(0.02)
        check(False, "no letter to", to)

    def stop(self):
        self.controller.stop()


class Words(HTMLParser):
    """What a reader of HTML sees, and whether the tags fit together."""

    def __init__(self, html):
        super().__init__()
        self.open, self.said, self.language = [], [], None
        self.feed(html)
        self.close()
        check(not self.open, "tags that nothing closes:", self.open)

    def handle_starttag(self, tag, attributes):
        self.language = dict(attributes).get("lang", self.language)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        check(self.open.pop() == tag, "the wrong tag ends:", tag)

    def handle_data(self, data):
        self.said.append(data)


class Stories:
    def __init__(self, node):
        self.node, self.people = node, 0
        self.authority = trustme.CA()
        self.folder = Path(tempfile.mkdtemp(prefix="quckchat-mail."))
        self.server = MailServer(self.authority)
        self._set(self.server, "starttls")

    def _set(self, server, tls, authority=None, password=PASSWORD):
        ca = self.folder / "ca.pem"
        (authority or self.authority).cert_pem.write_to_path(ca)
        settings = {
            "provider": "smtp", "host": "127.0.0.1", "port": server.port, "tls": tls, "from": FROM, "ca": ca,
            "user": USER if tls != "none" else "", "password": password if tls != "none" else "", "timeout": "5s",
        }
        self.node.environment |= {f"QUCKCHAT__MAIL__{name.upper()}": str(value) for name, value in settings.items()}

    def _restart(self, *settings, **more):
        self.node.sigkill()
        self._set(*settings, **more)
        self.node.start()

    def _person(self):
        self.people += 1
        return Person(self.node, f"person {self.people}", f"+49151123500{self.people:02}")

    def _asks(self, person, address, **more):
        return person.rest("POST", "/auth/change-email", {"email": address} | more)

    def _code(self, letter):
        return re.fullmatch(r"(\d{6}) .*", letter["Subject"])[1]

    def a_code_arrives_in_text_and_html_over_tls_from_who_has_signed_in(self):
        self.ann = self._person()
        sent = self._asks(self.ann, "Ann@Example.org").ok(200)
        envelope, over_tls, login, letter = self.server.letter("Ann@example.org")
        check(over_tls, "the letter came in the open")
        check(login == USER.encode(), "handed over by", login)
        check(envelope.mail_from == "no-reply@chat.example.org", "the sender is", envelope.mail_from)
        check(letter["From"] == FROM and letter["To"] == "Ann@example.org", letter["From"], letter["To"])
        check(letter["Auto-Submitted"] == "auto-generated", "a program might answer:", letter["Auto-Submitted"])
        check(re.fullmatch(r"<[0-9a-f]{32}@chat\.example\.org>", letter["Message-ID"]), letter["Message-ID"])
        check(letter["Date"].datetime is not None, "no date")
        check(not letter.defects, letter.defects)
        check(letter.get_content_type() == "multipart/alternative", letter.get_content_type())
        # What is better stands last (RFC 2046, 5.1.4).
        kinds = [part.get_content_type() for part in letter.iter_parts()]
        check(kinds == ["text/plain", "text/html"], kinds)
        code = self._code(letter)
        text, html = (letter.get_body([kind]).get_content() for kind in ("plain", "html"))
        words = Words(html)
        check(code in text and code in "".join(words.said), "the code is not in both parts")
        check(words.language == "en", "the language is", words.language)
        plain = [line.strip() for line in text.splitlines() if line.strip()]
        check(all(line in words.said for line in plain), "the parts say different things:", plain, words.said)
        right = {"verificationId": sent["verificationId"], "code": code}
        me = self.ann.rest("POST", "/auth/verify-email", right).ok(200)
        check(me["email"] == "Ann@example.org", me)

    def a_code_by_e_mail_signs_in_whoever_has_the_address_and_strangers_get_nothing(self):
        unknown = curl(self.node, "POST", "/auth/send-otp", {"email": "bob@example.org"}).ok(200)
        known = curl(self.node, "POST", "/auth/send-otp", {"email": "ANN@example.org", "locale": "de-AT"}).ok(200)
        check(unknown.keys() == known.keys(), unknown, known)
        # As its owner spelt it, or as whoever asks did: the same mailbox.
        _, _, _, letter = self.server.letter("ANN@example.org")
        check("ist dein QuckChat-Code" in letter["Subject"], letter["Subject"])
        check("Er gilt 5 Minuten" in letter.get_body(["plain"]).get_content(), "not in German")
        check(Words(letter.get_body(["html"]).get_content()).language == "de", "not marked as German")
        tried = {"verificationId": known["verificationId"], "code": self._code(letter)}
        signed_in = curl(self.node, "POST", "/auth/verify-otp", tried).ok(200)
        check(signed_in["user"]["id"] == self.ann.id, "somebody else signed in")
        check(not self.server.letters, "a letter to", [letter[0].rcpt_tos for letter in self.server.letters])

    def the_old_address_hears_of_the_new_one(self):
        sent = self._asks(self.ann, "ann@new.example", locale="fr").ok(200)
        _, _, _, letter = self.server.letter("ann@new.example")
        check("est votre code QuckChat" in letter["Subject"], letter["Subject"])
        code = self._code(letter)
        self.ann.rest("POST", "/auth/verify-email", {"verificationId": sent["verificationId"], "code": code}).ok(200)
        _, _, _, notice = self.server.letter("Ann@example.org")
        check(notice["Subject"] == "Your QuckChat account has changed", notice["Subject"])
        check("e-mail address" in notice.get_body(["plain"]).get_content(), "it does not say what changed")

    def an_address_beyond_ascii_is_written_as_the_dns_has_it(self):
        self._asks(self._person(), "ann@bücher.example").ok(200)
        self.server.letter("ann@xn--bcher-kva.example")

    def a_mailbox_that_the_server_does_not_know_is_refused(self):
        self._asks(self._person(), REFUSED).refused(422, "request.invalid")

    def what_the_server_puts_off_is_not_in_the_log_with_its_address(self):
        self._asks(self._person(), LATER).refused(503, "server.unavailable")
        log = self.node.log.read_text()
        check("the mail server answered 450" in log and LATER not in log, "the log says too much, or too little")

    def connections_that_the_server_closed_are_no_trouble(self):
        person = self._person()
        self._asks(person, "one@example.org").ok(200)
        self.server.letter("one@example.org")
        self.server.stop()
        self._asks(person, "two@example.org").refused(503, "server.unavailable")
        self.server = MailServer(self.authority, port=self.server.port)
        self._asks(person, "three@example.org").ok(200)
        self.server.letter("three@example.org")

    def a_wrong_password_is_the_operators_to_mend(self):
        self._restart(self.server, "starttls", password="another")
        self._asks(self._person(), "four@example.org").refused(503, "server.unavailable")
        check(self.server.refused and not self.server.letters, "a letter was taken")
        log = self.node.log.read_text()
        check(PASSWORD not in log and "four@example.org" not in log, "the log says too much")

    def a_server_that_nobody_vouches_for_gets_nothing(self):
        self._restart(self.server, "starttls", authority=trustme.CA())
        self._asks(self._person(), "five@example.org").refused(503, "server.unavailable")
        check(not self.server.letters, "a letter was taken")

    def a_server_without_tls_gets_nothing_unless_it_is_here_and_that_is_wanted(self):
        open_server = MailServer(self.authority, encrypted=False)
        self._restart(open_server, "starttls")
        person = self._person()
        self._asks(person, "six@example.org").refused(503, "server.unavailable")
        check(not open_server.letters, "a letter went in the open")
        self._restart(open_server, "none")
        self._asks(person, "seven@example.org").ok(200)
        check(not open_server.letter("seven@example.org")[1], "there was TLS")
        open_server.stop()

    def tls_from_the_first_byte(self):
        server = MailServer(self.authority, implicit=True)
        self._restart(server, "implicit")
        self._asks(self._person(), "eight@example.org").ok(200)
        check(server.letter("eight@example.org")[1], "there was no TLS")
        server.stop()


if __name__ == "__main__":
    sys.exit(main(Stories))
