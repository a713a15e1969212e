import { texts } from "../core/language.js";

/** The product's own words, which many views use: tasks, states, who pays, why a hop is left out. */
export const words = texts({
  en: {
    tasks: { coding: "Coding", research: "Research", writing: "Writing", chat: "Chat", embedding: "Embeddings" },
    payer: { own: "your key", shared: "shared key" },
    payerRule: {
      own_then_shared: "Own keys first, then shared ones",
      own_only: "Only own keys",
      shared_only: "Only shared keys",
    },
    status: {
      ok: "Works",
      unverified: "Not tested yet",
      limited: "Works, with limits",
      rate_limited: "Rate-limited",
      out_of_credit: "Out of credit",
      invalid: "Refused by the provider",
      expired: "Expired",
      unreadable: "Cannot be read",
    },
    outcome: {
      works: "Works",
      wrong_key: "Wrong key",
      no_credit: "Right key, no credit",
      limited: "The key may not list models. It will be checked on first use.",
      rate_limited: "Rate-limited at the moment",
      unreachable: "The provider cannot be reached",
    },
  },
  de: {
    tasks: { coding: "Programmieren", research: "Recherche", writing: "Schreiben", chat: "Chat", embedding: "Embeddings" },
    payer: { own: "Ihr Schlüssel", shared: "geteilter Schlüssel" },
    payerRule: {
      own_then_shared: "Zuerst eigene Schlüssel, dann geteilte",
      own_only: "Nur eigene Schlüssel",
      shared_only: "Nur geteilte Schlüssel",
    },
    status: {
      ok: "Funktioniert",
      unverified: "Noch nicht geprüft",
      limited: "Funktioniert eingeschränkt",
      rate_limited: "Gedrosselt",
      out_of_credit: "Kein Guthaben",
      invalid: "Vom Anbieter abgelehnt",
      expired: "Abgelaufen",
      unreadable: "Nicht lesbar",
    },
    outcome: {
      works: "Funktioniert",
      wrong_key: "Falscher Schlüssel",
      no_credit: "Richtiger Schlüssel, kein Guthaben",
      limited: "Der Schlüssel darf keine Modelle auflisten. Er wird beim ersten Gebrauch geprüft.",
      rate_limited: "Zurzeit gedrosselt",
      unreachable: "Der Anbieter ist nicht erreichbar",
    },
  },
  es: {
    tasks: { coding: "Programación", research: "Investigación", writing: "Redacción", chat: "Chat", embedding: "Embeddings" },
    payer: { own: "su clave", shared: "clave compartida" },
    payerRule: {
      own_then_shared: "Primero las claves propias, después las compartidas",
      own_only: "Solo claves propias",
      shared_only: "Solo claves compartidas",
    },
    status: {
      ok: "Funciona",
      unverified: "Sin probar",
      limited: "Funciona con límites",
      rate_limited: "Limitada por uso",
      out_of_credit: "Sin saldo",
      invalid: "Rechazada por el proveedor",
      expired: "Caducada",
      unreadable: "No se puede leer",
    },
    outcome: {
      works: "Funciona",
      wrong_key: "Clave incorrecta",
      no_credit: "Clave correcta, sin saldo",
      limited: "La clave no puede listar modelos. Se comprobará en el primer uso.",
      rate_limited: "Limitada por uso en este momento",
      unreachable: "No se puede contactar con el proveedor",
    },
  },
});

/** A task's name for people; a person's own task keeps the name they gave it. */
export function taskName(all: Record<string, string>, task: string): string {
  return all[task] ?? task;
}
