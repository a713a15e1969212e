import { texts } from "../core/language.js";

export const admin = texts({
  en: {
    heading: "Administration",
    notAllowed: "Only administrators may see this page. Ask one of them to make you one, or go back to your own settings.",
    payer: { own: "own key", shared: "shared key" },
    tabs: { users: "Users", usage: "Usage", health: "Health", policy: "Policy", providers: "Providers", audit: "Audit", encryption: "Encryption" },
  },
  de: {
    heading: "Verwaltung",
    notAllowed: "Diese Seite dürfen nur Administratoren sehen. Bitten Sie einen von ihnen darum oder gehen Sie zurück zu Ihren eigenen Einstellungen.",
    payer: { own: "eigener Schlüssel", shared: "geteilter Schlüssel" },
    tabs: { users: "Nutzer", usage: "Verbrauch", health: "Zustand", policy: "Regeln", providers: "Anbieter", audit: "Protokoll", encryption: "Verschlüsselung" },
  },
  es: {
    heading: "Administración",
    notAllowed: "Solo los administradores pueden ver esta página. Pídaselo a uno de ellos o vuelva a sus propios ajustes.",
    payer: { own: "clave propia", shared: "clave compartida" },
    tabs: { users: "Usuarios", usage: "Uso", health: "Estado", policy: "Reglas", providers: "Proveedores", audit: "Registro", encryption: "Cifrado" },
  },
});
