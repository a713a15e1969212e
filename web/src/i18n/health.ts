import type { Language } from "../core/language.js";

type Sentence = (provider: string) => string;

const german = {
  credit_unproved: (provider: string) => `${provider} nimmt den Schlüssel an. Ob das Konto wieder Guthaben hat, zeigt die nächste Anfrage.`,
  limited: (provider: string) => `${provider} lässt diesen Schlüssel nicht alles tun, was verlangt wurde. Sehen Sie dort seine Rechte nach.`,
  list_refused: (provider: string) => `${provider} lässt diesen Schlüssel keine Modelle auflisten. Anfragen gehen trotzdem mit ihm hinaus.`,
  rate_limited: (provider: string) => `${provider} begrenzt, wie schnell dieser Schlüssel benutzt wird. Anfragen nehmen ihn wieder, sobald sie dürfen.`,
  quota_daily: (provider: string) => `Das Tageskontingent dieses Schlüssels bei ${provider} ist verbraucht. Mit dem nächsten nehmen Anfragen ihn wieder.`,
  out_of_credit: (provider: string) => `Das Konto hinter diesem Schlüssel hat bei ${provider} kein Guthaben. Laden Sie es auf: Das wird von selbst bemerkt.`,
  invalid: (provider: string) => `${provider} lehnt diesen Schlüssel ab. Erzeugen Sie dort einen neuen und ersetzen Sie ihn hier.`,
  base_url_changed: () => "Die Adresse wurde geändert. Der Schlüssel muss neu eingegeben werden: Er war nicht für diese Adresse bestimmt.",
  provider_gone: () => "Diesen Anbieter gibt es hier nicht mehr. Seine Schlüssel werden aufbewahrt, aber nicht benutzt.",
  expired: () => "Das Ablaufdatum ist vorbei. Ersetzen Sie den Schlüssel oder ändern Sie das Datum.",
  unreadable: () => "Dieser Schlüssel ist nicht mehr lesbar. Bitte geben Sie ihn neu ein.",
};

const spanish: Record<keyof typeof german, Sentence> = {
  credit_unproved: (provider) => `${provider} acepta la clave. La próxima solicitud mostrará si la cuenta vuelve a tener saldo.`,
  limited: (provider) => `${provider} no deja que esta clave haga todo lo que se le pidió. Revise allí sus permisos.`,
  list_refused: (provider) => `${provider} no deja que esta clave liste modelos. Aun así, las solicitudes la usan.`,
  rate_limited: (provider) => `${provider} limita la velocidad con que se usa esta clave. Las solicitudes la volverán a tomar en cuanto puedan.`,
  quota_daily: (provider) => `La cuota diaria de esta clave en ${provider} se ha agotado. Las solicitudes la volverán a tomar con la siguiente.`,
  out_of_credit: (provider) => `La cuenta de esta clave no tiene saldo en ${provider}. Recárguela: se nota por sí solo.`,
  invalid: (provider) => `${provider} rechaza esta clave. Cree otra allí y sustitúyala aquí.`,
  base_url_changed: () => "La dirección ha cambiado. Hay que introducir la clave de nuevo: no se dio para esta dirección.",
  provider_gone: () => "Este proveedor ya no está en este servidor. Sus claves se conservan, pero no se usan.",
  expired: () => "La fecha de caducidad ya pasó. Sustituya la clave o cambie la fecha.",
  unreadable: () => "Esta clave ya no se puede leer. Introdúzcala de nuevo.",
};

/** How a key fares, by the server's stable codes. English has the server's own words. */
export const translated: Record<Language, Record<string, Sentence>> = { en: {}, de: german, es: spanish };
