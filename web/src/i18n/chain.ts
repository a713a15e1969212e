import { texts } from "../core/language.js";

/** The chain of a request. */
export const chain = texts({
  en: {
    label: "Order in which a request is tried",
    end: "Clear error",
    endHint: "It names every attempt and what would help.",
    nothing: "Nothing can serve this request",
    nothingHint: "It would fail at once, with an error that says why.",
  },
  de: {
    label: "Reihenfolge, in der eine Anfrage versucht wird",
    end: "Klare Fehlermeldung",
    endHint: "Sie nennt jeden Versuch und was helfen würde.",
    nothing: "Diese Anfrage kann niemand beantworten",
    nothingHint: "Sie würde sofort scheitern, mit einer Meldung, die sagt, warum.",
  },
  es: {
    label: "Orden en que se intenta una solicitud",
    end: "Error claro",
    endHint: "Nombra cada intento y qué ayudaría.",
    nothing: "Nada puede atender esta solicitud",
    nothingHint: "Fallaría de inmediato, con un error que explica por qué.",
  },
});
