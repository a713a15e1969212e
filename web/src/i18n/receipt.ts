import { texts } from "../core/language.js";

/** The proof that somebody was erased. */
export const receiptWords = texts({
  en: {
    entry: (position: string, chain: string) => `Entry ${position} of chain ${chain} of the audit log says so.`,
    download: "Download the receipt",
  },
  de: {
    entry: (position, chain) => `Eintrag ${position} der Kette ${chain} im Protokoll belegt es.`,
    download: "Quittung herunterladen",
  },
  es: {
    entry: (position, chain) => `Lo acredita la entrada ${position} de la cadena ${chain} del registro.`,
    download: "Descargar el recibo",
  },
});
