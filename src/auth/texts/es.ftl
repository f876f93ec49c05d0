# Lo que el nodo escribe en español. Lo que va por SMS se queda en el alfabeto GSM y bajo 160 caracteres.
-brand = QuckChat

minutes = { $minutes ->
    [one] un minuto
   *[other] { $minutes } minutos
}

code-text = { $code } es tu clave de { -brand }. Vale { minutes }. No se la des a nadie.
code-subject = { $code } es tu clave de { -brand }
code-lead = Esta es tu clave:
code-rest = Vale { minutes }. No se la des a nadie, tampoco a quien diga que es de { -brand }.
code-stranger = Si no has pedido una clave, alguien se ha equivocado de dirección: no tienes que hacer nada.

news-subject = Tu cuenta de { -brand } ha cambiado
news-password-changed = La contraseña de tu cuenta de { -brand } ha cambiado.
news-email-changed = Tu cuenta de { -brand } tiene otro e-mail.
news-phone-changed = Tu cuenta de { -brand } tiene otro teléfono.
news-second-factor-enabled = Tu cuenta de { -brand } pide ahora un segundo factor.
news-second-factor-disabled = Tu cuenta de { -brand } ya no pide un segundo factor.
news-identity-linked = Tu cuenta de { -brand } tiene una nueva forma de entrar, por otro servicio.
news-identity-unlinked = Tu cuenta de { -brand } ya no tiene una de las formas de entrar por otro servicio.
news-deletion-asked = Se ha pedido borrar tu cuenta de { -brand }. Entra para conservarla.
news-advice = Si no has sido tú, entra, cierra las otras sesiones y cambia la contraseña.
