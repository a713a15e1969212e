import { texts, type Language } from "../core/language.js";

/** What can go wrong before the server has said anything. */
export const local = texts({
  en: {
    offline: "The server cannot be reached. Check your connection and try again.",
    internal_error: "Something went wrong on our side. Nothing was changed.",
    token_unavailable: "This page could not sign you in. Reload it, or sign in again.",
    token_missing: "You are not signed in.",
  },
  de: {
    offline: "Der Server ist nicht erreichbar. Prüfen Sie die Verbindung und versuchen Sie es erneut.",
    internal_error: "Bei uns ist etwas schiefgegangen. Es wurde nichts geändert.",
    token_unavailable: "Diese Seite konnte Sie nicht anmelden. Laden Sie sie neu oder melden Sie sich wieder an.",
    token_missing: "Sie sind nicht angemeldet.",
  },
  es: {
    offline: "No se puede contactar con el servidor. Compruebe la conexión e inténtelo de nuevo.",
    internal_error: "Algo ha fallado por nuestra parte. No se ha cambiado nada.",
    token_unavailable: "Esta página no pudo iniciar su sesión. Recárguela o inicie sesión de nuevo.",
    token_missing: "No ha iniciado sesión.",
  },
});

const german = {
  token_invalid: "Ihre Sitzung ist beendet. Melden Sie sich neu an.",
  token_expired: "Ihre Sitzung ist beendet. Melden Sie sich neu an.",
  user_suspended: "Ihr Konto ist gesperrt. Fragen Sie Ihren Administrator.",
  permission_denied: "Das dürfen Sie nicht.",
  fresh_sign_in_required: "Bitte bestätigen Sie zuerst, dass Sie es sind.",
  sign_in_failed: "Name und Passwort passen nicht zusammen.",
  too_many_attempts: "Zu viele Versuche. Warten Sie etwas und versuchen Sie es erneut.",
  link_invalid: "Dieser Link wurde schon benutzt oder ist zu alt. Bitten Sie um einen neuen.",
  invalid_request: "Eine Angabe im Formular stimmt nicht.",
  invalid_secret: "Das sieht nicht wie ein API-Schlüssel aus.",
  invalid_base_url: "Diese Adresse kann nicht benutzt werden.",
  unknown_provider: "Diesen Anbieter gibt es nicht mehr.",
  provider_not_allowed: "Ihr Administrator erlaubt diesen Anbieter nicht.",
  locked_by_administrator: "Ihr Administrator hat diese Einstellung festgelegt.",
  not_found: "Das gibt es nicht mehr.",
  conflict: "Das widerspricht dem, was gespeichert ist.",
  duplicate_secret: "Diesen Schlüssel haben Sie schon gespeichert.",
  credential_in_use: "Eine Aufgabe ist an diesen Schlüssel gebunden.",
  changed_elsewhere: "Das wurde in einem anderen Fenster geändert. Sie sehen jetzt den aktuellen Stand.",
  credential_unreadable: "Der gespeicherte Schlüssel ist nicht mehr lesbar. Bitte geben Sie ihn neu ein.",
  too_large: "Das ist zu groß.",
  token_limit: "Sie haben zu viele gültige Tokens. Widerrufen Sie zuerst eines.",
  task_limit: "Sie haben zu viele Aufgaben. Entfernen Sie zuerst eine.",
  database_unavailable: "Die Datenbank ist gerade nicht da. Versuchen Sie es gleich noch einmal.",
  rate_limited: "Zu viele Anfragen. Warten Sie etwas und versuchen Sie es erneut.",
};

const spanish: Record<keyof typeof german, string> = {
  token_invalid: "Su sesión ha terminado. Inicie sesión de nuevo.",
  token_expired: "Su sesión ha terminado. Inicie sesión de nuevo.",
  user_suspended: "Su cuenta está suspendida. Pregunte a su administrador.",
  permission_denied: "No tiene permiso para hacer esto.",
  fresh_sign_in_required: "Primero confirme que es usted.",
  sign_in_failed: "El nombre y la contraseña no coinciden.",
  too_many_attempts: "Demasiados intentos. Espere un poco e inténtelo de nuevo.",
  link_invalid: "Este enlace ya se usó o es demasiado antiguo. Pida uno nuevo.",
  invalid_request: "Hay algo incorrecto en el formulario.",
  invalid_secret: "Esto no parece una clave de API.",
  invalid_base_url: "No se puede usar esta dirección.",
  unknown_provider: "Este proveedor ya no existe.",
  provider_not_allowed: "Su administrador no permite este proveedor.",
  locked_by_administrator: "Su administrador ha bloqueado este ajuste.",
  not_found: "Esto ya no existe.",
  conflict: "Esto contradice lo que está guardado.",
  duplicate_secret: "Ya ha guardado esta clave.",
  credential_in_use: "Una tarea está vinculada a esta clave.",
  changed_elsewhere: "Esto se cambió en otra ventana. Ahora ve el estado actual.",
  credential_unreadable: "La clave guardada ya no se puede leer. Introdúzcala de nuevo.",
  too_large: "Esto es demasiado grande.",
  token_limit: "Tiene demasiados tokens válidos. Revoque uno primero.",
  task_limit: "Tiene demasiadas tareas. Elimine una primero.",
  database_unavailable: "La base de datos no responde en este momento. Inténtelo en breve.",
  rate_limited: "Demasiadas solicitudes. Espere un poco e inténtelo de nuevo.",
};

/** What the server's codes mean. English has the server's own, more exact sentences. */
export const translated: Record<Language, Record<string, string>> = { en: {}, de: german, es: spanish };
