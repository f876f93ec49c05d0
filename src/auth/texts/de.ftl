# Was der Knoten auf Deutsch schreibt. Was per SMS geht, bleibt im GSM-Alphabet und unter 160 Zeichen.
-brand = QuckChat

minutes = { $minutes ->
    [one] eine Minute
   *[other] { $minutes } Minuten
}

code-text = { $code } ist dein { -brand }-Code. Er gilt { minutes }. Gib ihn niemandem.
code-subject = { $code } ist dein { -brand }-Code
code-lead = Das ist dein Code:
code-rest = Er gilt { minutes }. Gib ihn niemandem, auch niemandem, der sagt, von { -brand } zu sein.
code-stranger = Wenn du keinen Code angefordert hast, hat sich jemand bei der Adresse vertippt: Du brauchst nichts zu tun.

news-subject = Dein { -brand }-Konto wurde geändert
news-password-changed = Das Passwort deines { -brand }-Kontos wurde geändert.
news-email-changed = Die E-Mail-Adresse deines { -brand }-Kontos wurde geändert.
news-phone-changed = Die Telefonnummer deines { -brand }-Kontos wurde geändert.
news-second-factor-enabled = Dein { -brand }-Konto fragt ab jetzt nach einem zweiten Faktor.
news-second-factor-disabled = Dein { -brand }-Konto fragt nicht mehr nach einem zweiten Faktor.
news-identity-linked = Zu deinem { -brand }-Konto kam eine Anmeldung über einen anderen Dienst hinzu.
news-identity-unlinked = Von deinem { -brand }-Konto wurde eine Anmeldung über einen anderen Dienst entfernt.
news-deletion-asked = Dein { -brand }-Konto soll gelöscht werden. Melde dich an, um es zu behalten.
news-advice = Wenn du das nicht warst: Melde dich an, beende alle anderen Sitzungen und setze ein neues Passwort.
