import { texts } from "../core/language.js";

/** The chain of a request. */
export const chain = texts({
  en: {
    label: "Order in which a request is tried",
    end: "Clear error",
    endHint: "It names every attempt and what would help.",
  },
  de: {
    label: "Reihenfolge, in der eine Anfrage versucht wird",
    end: "Klare Fehlermeldung",
    endHint: "Sie nennt jeden Versuch und was helfen würde.",
  },
  es: {
    label: "Orden en que se intenta una solicitud",
    end: "Error claro",
    endHint: "Nombra cada intento y qué ayudaría.",
  },
});
