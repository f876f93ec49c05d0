# Ce que le nœud écrit en français. Ce qui part par SMS reste dans l'alphabet GSM et sous 160 caractères.
-brand = QuckChat

minutes = { $minutes ->
    [one] une minute
   *[other] { $minutes } minutes
}

code-text = { $code } est votre code { -brand }. Il est valable { minutes }. Ne le donnez à personne.
code-subject = { $code } est votre code { -brand }
code-lead = Voici votre code :
code-rest = Il est valable { minutes }. Ne le donnez à personne, même à quelqu'un qui dit être de { -brand }.
code-stranger = Si vous n'avez pas demandé de code, quelqu'un s'est trompé d'adresse : vous n'avez rien à faire.

news-subject = Votre compte { -brand } a changé
news-password-changed = Le mot de passe de votre compte { -brand } vient de changer.
news-email-changed = L'adresse e-mail de votre compte { -brand } vient de changer.
news-phone-changed = Le numéro de votre compte { -brand } vient de changer.
news-second-factor-enabled = Votre compte { -brand } demande maintenant un second facteur.
news-second-factor-disabled = Votre compte { -brand } ne demande plus de second facteur.
news-identity-linked = Une connexion par un autre service a été ajoutée à votre compte { -brand }.
news-identity-unlinked = Une connexion par un autre service a été retirée de votre compte { -brand }.
news-deletion-asked = La suppression de votre compte { -brand } a été demandée. Connectez-vous pour le garder.
news-advice = Si ce n'est pas vous, connectez-vous, fermez les autres sessions et changez de mot de passe.
