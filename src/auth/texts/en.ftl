# What the node writes in English. Texts that go by SMS keep to the GSM alphabet and to 160 characters.
-brand = QuckChat

minutes = { $minutes ->
    [one] one minute
   *[other] { $minutes } minutes
}

code-text = { $code } is your { -brand } code. It is good for { minutes }. Give it to nobody.
code-subject = { $code } is your { -brand } code
code-lead = This is your code:
code-rest = It is good for { minutes }. Give it to nobody, not even to somebody who says that they are from { -brand }.
code-stranger = If you did not ask for a code, somebody has mistyped their address: you need do nothing.

news-subject = Your { -brand } account has changed
news-password-changed = The password of your { -brand } account was changed.
news-email-changed = The e-mail address of your { -brand } account was changed.
news-phone-changed = The phone number of your { -brand } account was changed.
news-second-factor-enabled = Your { -brand } account asks for a second factor from now on.
news-second-factor-disabled = Your { -brand } account asks for no second factor any more.
news-identity-linked = A way to sign in by another service was added to your { -brand } account.
news-identity-unlinked = A way to sign in by another service was removed from your { -brand } account.
news-deletion-asked = Your { -brand } account is going to be deleted. Sign in to keep it.
news-advice = If that was not you, sign in, end all other sessions, and set a new password.
