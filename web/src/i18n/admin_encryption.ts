import { texts } from "../core/language.js";

export const encryption = texts({
  en: {
    title: "Encryption",
    lead: "What users store is encrypted (sealed) with a data key of each user’s own. That data key is itself stored encrypted (wrapped) with the server’s wrapping key, which is never in the database: whoever gets hold of the database can read no key.",
    key: "Wrapping key",
    users: "Data keys it wraps",
    state: "State",
    lacking: "Not loaded in",
    actions: "Actions",
    phases: {
      known: "known, wraps nothing new",
      primary: "active: wraps new data keys",
      retiring: "retiring",
      retired: "retired",
      destroyed: "destroyed",
    } as Record<string, string>,
    missing: "not loaded",
    steps: { promote: "Make active", retire: "Retire", destroy: "Note as destroyed" },
    stepTexts: {
      promote:
        "From now on this key wraps every new data key, and all others are moved under it while the server goes on working. Nobody has to enter a key again, and you can go back at any time before the old key is retired.",
      retire: "Nothing is left under this key. The database lets nothing come under it again, and there is no way back.",
      destroy:
        "Only if every copy of this key has been erased. Backups of the database from its time cannot be opened any more.",
    },
    restore: "Go back to it",
    restoreText: "This calls the rotation off: this key becomes active again, and what was moved is moved back.",
    progress: (done: string, all: string) => `${done} of ${all} data keys moved`,
    remaining: (time: string) => `About ${time} left.`,
    paused: "Nothing has moved in the last seconds.",
    goOn: "Go on",
    next: {
      missing: () => "Next: restore the missing wrapping key.",
      moving: () => "Next: wait until all data keys are moved. It goes on after an interruption with “Go on” or “ownkey credential rotate-wrapping-key”.",
      retire: () => "Next: retire the key under which nothing is left.",
      destroy: () =>
        "Next: remove the retired key from every server, keep it as long as backups need it, then erase it and note it as destroyed.",
      promote: () => "Next: make the new key active.",
      everywhere: (file) =>
        file ? "Next: add the new key to the file of every server." : "Next: add the new key to every server’s configuration and restart it, one server after another.",
      add: (file) =>
        file ? "To rotate, add the line of “ownkey keygen” to the wrapping key file of every server." : "To rotate, add the line of “ownkey keygen” to OWNKEY_WRAPPING_KEYS of every server and restart them one after another.",
    } as Record<string, (file: boolean) => string>,
    missingTitle: "Some keys cannot be read",
    missingText: (users: string, keys: string) =>
      `${users} users’ API keys cannot be opened, because these wrapping keys are not loaded: ${keys}. Restore them from their backup and start the server again; until then those users’ requests are told to come again.`,
    none: "No user has stored a key yet.",
    fine: "All stored keys can be read.",
  },
  de: {
    title: "Verschlüsselung",
    lead: "Was Nutzer speichern, ist mit einem eigenen Datenschlüssel je Nutzer verschlüsselt (versiegelt). Dieser wiederum liegt verschlüsselt (umhüllt) unter dem Hauptschlüssel des Servers, der nie in der Datenbank steht: Wer an die Datenbank kommt, kann keinen Schlüssel lesen.",
    key: "Hauptschlüssel",
    users: "Datenschlüssel darunter",
    state: "Zustand",
    lacking: "Nicht geladen in",
    actions: "Aktionen",
    phases: {
      known: "bekannt, umhüllt nichts Neues",
      primary: "aktiv: umhüllt neue Datenschlüssel",
      retiring: "wird abgelöst",
      retired: "stillgelegt",
      destroyed: "vernichtet",
    },
    missing: "nicht geladen",
    steps: { promote: "Aktiv machen", retire: "Stilllegen", destroy: "Als vernichtet vermerken" },
    stepTexts: {
      promote:
        "Ab jetzt umhüllt dieser Schlüssel alle neuen Datenschlüssel, und alle anderen kommen bei laufendem Betrieb unter ihn. Niemand muss einen Schlüssel neu eingeben, und bis zur Stilllegung des alten können Sie jederzeit zurück.",
      retire: "Unter diesem Schlüssel liegt nichts mehr. Die Datenbank lässt nichts mehr darunter kommen, und es gibt kein Zurück.",
      destroy:
        "Nur wenn jede Kopie dieses Schlüssels gelöscht ist. Sicherungen der Datenbank aus seiner Zeit lassen sich dann nicht mehr öffnen.",
    },
    restore: "Zu ihm zurück",
    restoreText: "Das bricht den Wechsel ab: Dieser Schlüssel wird wieder aktiv, und was verschoben war, kommt zurück.",
    progress: (done, all) => `${done} von ${all} Datenschlüsseln verschoben`,
    remaining: (time) => `Noch etwa ${time}.`,
    paused: "In den letzten Sekunden hat sich nichts bewegt.",
    goOn: "Weitermachen",
    next: {
      missing: () => "Als Nächstes: den fehlenden Hauptschlüssel wiederherstellen.",
      moving: () => "Als Nächstes: warten, bis alle Datenschlüssel verschoben sind. Nach einer Unterbrechung geht es mit „Weitermachen“ oder „ownkey credential rotate-wrapping-key“ weiter.",
      retire: () => "Als Nächstes: den Schlüssel stilllegen, unter dem nichts mehr liegt.",
      destroy: () =>
        "Als Nächstes: den stillgelegten Schlüssel von jedem Server entfernen, aufheben, solange Sicherungen ihn brauchen, dann löschen und als vernichtet vermerken.",
      promote: () => "Als Nächstes: den neuen Schlüssel aktiv machen.",
      everywhere: (file) =>
        file ? "Als Nächstes: den neuen Schlüssel in die Datei jedes Servers schreiben." : "Als Nächstes: den neuen Schlüssel in die Konfiguration jedes Servers aufnehmen und die Server nacheinander neu starten.",
      add: (file) =>
        file ? "Zum Wechseln die Zeile von „ownkey keygen“ in die Schlüsseldatei jedes Servers schreiben." : "Zum Wechseln die Zeile von „ownkey keygen“ bei jedem Server in OWNKEY_WRAPPING_KEYS aufnehmen und die Server nacheinander neu starten.",
    },
    missingTitle: "Einige Schlüssel sind nicht lesbar",
    missingText: (users, keys) =>
      `Die API-Schlüssel von ${users} Nutzern lassen sich nicht öffnen, weil diese Hauptschlüssel nicht geladen sind: ${keys}. Stellen Sie sie aus der Sicherung wieder her und starten Sie den Server neu; bis dahin hören die Anfragen dieser Nutzer, sie sollen es später noch einmal versuchen.`,
    none: "Noch hat kein Nutzer einen Schlüssel gespeichert.",
    fine: "Alle gespeicherten Schlüssel sind lesbar.",
  },
  es: {
    title: "Cifrado",
    lead: "Lo que guardan los usuarios se cifra (sella) con una clave de datos propia de cada uno. Esa clave de datos se guarda a su vez cifrada (envuelta) con la clave maestra del servidor, que nunca está en la base de datos: quien la consiga no puede leer ninguna clave.",
    key: "Clave maestra",
    users: "Claves de datos que envuelve",
    state: "Estado",
    lacking: "No cargada en",
    actions: "Acciones",
    phases: {
      known: "conocida, no envuelve nada nuevo",
      primary: "activa: envuelve las claves nuevas",
      retiring: "en relevo",
      retired: "retirada",
      destroyed: "destruida",
    },
    missing: "no cargada",
    steps: { promote: "Activar", retire: "Retirar", destroy: "Anotar como destruida" },
    stepTexts: {
      promote:
        "Desde ahora esta clave envuelve todas las claves de datos nuevas, y las demás pasan a ella sin detener el servidor. Nadie tiene que introducir una clave de nuevo, y puede volver atrás mientras la clave anterior no esté retirada.",
      retire: "Bajo esta clave no queda nada. La base de datos no deja que nada vuelva a ella, y no hay vuelta atrás.",
      destroy:
        "Solo si se han borrado todas las copias de esta clave. Las copias de seguridad de la base de datos de su época ya no podrán abrirse.",
    },
    restore: "Volver a ella",
    restoreText: "Esto anula el cambio: esta clave vuelve a ser la activa, y lo que se movió vuelve a ella.",
    progress: (done, all) => `${done} de ${all} claves de datos movidas`,
    remaining: (time) => `Quedan unos ${time}.`,
    paused: "En los últimos segundos no se ha movido nada.",
    goOn: "Continuar",
    next: {
      missing: () => "Siguiente paso: restaurar la clave maestra que falta.",
      moving: () => "Siguiente paso: esperar a que se muevan todas las claves de datos. Tras una interrupción se sigue con «Continuar» o con «ownkey credential rotate-wrapping-key».",
      retire: () => "Siguiente paso: retirar la clave bajo la que no queda nada.",
      destroy: () =>
        "Siguiente paso: quitar la clave retirada de cada servidor, conservarla mientras la necesiten las copias de seguridad, después borrarla y anotarla como destruida.",
      promote: () => "Siguiente paso: activar la clave nueva.",
      everywhere: (file) =>
        file ? "Siguiente paso: añadir la clave nueva al archivo de cada servidor." : "Siguiente paso: añadir la clave nueva a la configuración de cada servidor y reiniciarlos uno tras otro.",
      add: (file) =>
        file ? "Para cambiar de clave, añada la línea de «ownkey keygen» al archivo de claves de cada servidor." : "Para cambiar de clave, añada la línea de «ownkey keygen» a OWNKEY_WRAPPING_KEYS de cada servidor y reinícielos uno tras otro.",
    },
    missingTitle: "Algunas claves no se pueden leer",
    missingText: (users, keys) =>
      `Las claves de API de ${users} usuarios no se pueden abrir porque estas claves maestras no están cargadas: ${keys}. Restáurelas desde su copia y reinicie el servidor; hasta entonces se dirá a las peticiones de esos usuarios que lo intenten más tarde.`,
    none: "Ningún usuario ha guardado todavía una clave.",
    fine: "Todas las claves guardadas se pueden leer.",
  },
});
