import { texts } from "../core/language.js";

export const encryption = texts({
  en: {
    title: "Encryption",
    lead: "What users store is encrypted (sealed) with a data key of each user’s own. That data key is itself stored encrypted (wrapped) with the server’s wrapping key, which is never in the database: whoever gets hold of the database can read no key.",
    key: "Wrapping key",
    users: "Data keys it wraps",
    state: "State",
    active: "active: wraps new data keys",
    idle: "loaded, wraps none",
    old: "loaded, still in use",
    missing: "not loaded",
    missingTitle: "Some keys cannot be read",
    missingText: (users: string, keys: string) =>
      `${users} users’ API keys cannot be opened, because these wrapping keys are not loaded: ${keys}. Restore them from their backup and start the server again; until then those users are asked to enter their keys anew.`,
    none: "No user has stored a key yet.",
    fine: "All stored keys can be read.",
  },
  de: {
    title: "Verschlüsselung",
    lead: "Was Nutzer speichern, ist mit einem eigenen Datenschlüssel je Nutzer verschlüsselt (versiegelt). Dieser wiederum liegt verschlüsselt (umhüllt) unter dem Hauptschlüssel des Servers, der nie in der Datenbank steht: Wer an die Datenbank kommt, kann keinen Schlüssel lesen.",
    key: "Hauptschlüssel",
    users: "Datenschlüssel darunter",
    state: "Zustand",
    active: "aktiv: umhüllt neue Datenschlüssel",
    idle: "geladen, umhüllt keinen",
    old: "geladen, noch in Gebrauch",
    missing: "nicht geladen",
    missingTitle: "Einige Schlüssel sind nicht lesbar",
    missingText: (users, keys) =>
      `Die API-Schlüssel von ${users} Nutzern lassen sich nicht öffnen, weil diese Hauptschlüssel nicht geladen sind: ${keys}. Stellen Sie sie aus der Sicherung wieder her und starten Sie den Server neu; bis dahin werden diese Nutzer gebeten, ihre Schlüssel neu einzugeben.`,
    none: "Noch hat kein Nutzer einen Schlüssel gespeichert.",
    fine: "Alle gespeicherten Schlüssel sind lesbar.",
  },
  es: {
    title: "Cifrado",
    lead: "Lo que guardan los usuarios se cifra (sella) con una clave de datos propia de cada uno. Esa clave de datos se guarda a su vez cifrada (envuelta) con la clave maestra del servidor, que nunca está en la base de datos: quien la consiga no puede leer ninguna clave.",
    key: "Clave maestra",
    users: "Claves de datos que envuelve",
    state: "Estado",
    active: "activa: envuelve las claves nuevas",
    idle: "cargada, no envuelve ninguna",
    old: "cargada, todavía en uso",
    missing: "no cargada",
    missingTitle: "Algunas claves no se pueden leer",
    missingText: (users, keys) =>
      `Las claves de API de ${users} usuarios no se pueden abrir porque estas claves maestras no están cargadas: ${keys}. Restáurelas desde su copia y reinicie el servidor; hasta entonces se pedirá a esos usuarios que las introduzcan de nuevo.`,
    none: "Ningún usuario ha guardado todavía una clave.",
    fine: "Todas las claves guardadas se pueden leer.",
  },
});
