import { texts } from "../core/language.js";

export const panel = texts({
  en: {
    heading: "AI settings",
    tabs: { keys: "Keys", routing: "Routing", usage: "Usage", activity: "Activity", access: "Access", account: "Your data" },
  },
  de: {
    heading: "KI-Einstellungen",
    tabs: { keys: "Schlüssel", routing: "Wege", usage: "Verbrauch", activity: "Aktivität", access: "Zugang", account: "Ihre Daten" },
  },
  es: {
    heading: "Ajustes de IA",
    tabs: { keys: "Claves", routing: "Rutas", usage: "Uso", activity: "Actividad", access: "Acceso", account: "Sus datos" },
  },
});
