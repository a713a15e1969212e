import { texts } from "../core/language.js";

/** Nothing can serve a request. */
export const nowhere = texts({
  en: {
    now: "Nowhere now.",
    dayCap: (when: string) => `Too little is left of your cap for today; it begins anew ${when}`,
    monthCap: (when: string) => `Too little is left of your cap for this month; it begins anew ${when}`,
    caps: "Your caps",
    limits: "What is left",
    routing: "See what was left out",
  },
  de: {
    now: "Zurzeit nirgendwohin.",
    dayCap: (when) => `Von Ihrer Obergrenze für heute ist zu wenig übrig; sie beginnt neu ${when}`,
    monthCap: (when) => `Von Ihrer Obergrenze für diesen Monat ist zu wenig übrig; sie beginnt neu ${when}`,
    caps: "Ihre Obergrenzen",
    limits: "Was noch übrig ist",
    routing: "Was ausgelassen wurde",
  },
  es: {
    now: "Ahora, a ninguna parte.",
    dayCap: (when) => `Queda demasiado poco de su tope para hoy; empieza de nuevo ${when}`,
    monthCap: (when) => `Queda demasiado poco de su tope para este mes; empieza de nuevo ${when}`,
    caps: "Sus topes",
    limits: "Lo que queda",
    routing: "Ver lo omitido",
  },
});
