import { texts } from "../core/language.js";

/** What can go wrong before the server has said anything. */
export const localErrors = texts({
  en: {
    offline: "The server cannot be reached. Check your connection and try again.",
    internal_error: "Something went wrong on our side. Nothing was changed.",
    part_missing: "A part of this page did not arrive: there is no connection, or the server has a newer version. Try again, or reload the page.",
    token_unavailable: "This page could not sign you in. Reload it, or sign in again.",
    token_missing: "You are not signed in.",
  },
  de: {
    offline: "Der Server ist nicht erreichbar. Prüfen Sie die Verbindung und versuchen Sie es erneut.",
    internal_error: "Bei uns ist etwas schiefgegangen. Es wurde nichts geändert.",
    part_missing: "Ein Teil dieser Seite kam nicht an: Es gibt keine Verbindung, oder der Server hat eine neuere Fassung. Versuchen Sie es erneut oder laden Sie die Seite neu.",
    token_unavailable: "Diese Seite konnte Sie nicht anmelden. Laden Sie sie neu oder melden Sie sich wieder an.",
    token_missing: "Sie sind nicht angemeldet.",
  },
  es: {
    offline: "No se puede contactar con el servidor. Compruebe la conexión e inténtelo de nuevo.",
    internal_error: "Algo ha fallado por nuestra parte. No se ha cambiado nada.",
    part_missing: "Una parte de esta página no llegó: no hay conexión o el servidor tiene una versión más nueva. Inténtelo de nuevo o recargue la página.",
    token_unavailable: "Esta página no pudo iniciar su sesión. Recárguela o inicie sesión de nuevo.",
    token_missing: "No ha iniciado sesión.",
  },
});
