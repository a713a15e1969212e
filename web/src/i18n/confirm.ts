import { texts } from "../core/language.js";

export const confirm = texts({
  en: {
    title: "Confirm that it is you",
    text: "What you are about to do needs a sign-in that is no older than five minutes.",
    confirm: "Confirm",
    outside: "You sign in without a password here. Sign in once more; after that, do again what you wanted to do.",
    elsewhere: "This is possible on the page of the server itself, after signing in there.",
    open: "Open that page",
    with: (label: string) => `Continue with ${label}`,
  },
  de: {
    title: "Bestätigen Sie, dass Sie es sind",
    text: "Dafür darf Ihre Anmeldung nicht älter als fünf Minuten sein.",
    confirm: "Bestätigen",
    outside: "Sie melden sich hier ohne Passwort an. Melden Sie sich noch einmal an und wiederholen Sie danach, was Sie tun wollten.",
    elsewhere: "Das geht auf der Seite des Servers selbst, nachdem Sie sich dort angemeldet haben.",
    open: "Diese Seite öffnen",
    with: (label: string) => `Weiter mit ${label}`,
  },
  es: {
    title: "Confirme que es usted",
    text: "Para esto, su inicio de sesión no puede tener más de cinco minutos.",
    confirm: "Confirmar",
    outside: "Aquí inicia sesión sin contraseña. Inicie sesión otra vez y después repita lo que quería hacer.",
    elsewhere: "Esto se hace en la página del propio servidor, después de iniciar sesión allí.",
    open: "Abrir esa página",
    with: (label: string) => `Continuar con ${label}`,
  },
});
