import { texts } from "../core/language.js";

/** Whether a person lets the administrator's keys serve them. */
export const consent = texts({
  en: {
    title: "May shared keys serve you?",
    text: (providers: string) =>
      `Your administrator lends you keys for ${providers} and asks you first. Where your own keys cannot answer, your requests would go to these providers under the administrator’s account, and the administrator would pay.`,
    note: "Every answer and your usage say which keys it was. You can take this back at any time.",
    lentText: (providers: string) =>
      `You and the other administrators lend keys for ${providers} and have every user asked first, yourself included. Where your own keys cannot answer, your requests would go to these providers under the operator’s account.`,
    agree: "Agree",
    refuse: "No, only my own keys",
    refused: "Only your own keys serve you. Under Routing you can choose otherwise at any time.",
    agreed: "Shared keys may serve you now.",
    since: (date: string) => `You agreed on ${date}.`,
    takeBack: "Take back",
    takenBack: "Shared keys do not serve you any more.",
  },
  de: {
    title: "Dürfen geteilte Schlüssel für Sie arbeiten?",
    text: (providers) =>
      `Ihr Administrator leiht Ihnen Schlüssel für ${providers} und fragt Sie vorher. Wo Ihre eigenen nicht antworten können, gingen Ihre Anfragen unter dem Konto des Administrators an diese Anbieter, und er würde zahlen.`,
    note: "Jede Antwort und Ihr Verbrauch sagen, welche Schlüssel es waren. Sie können das jederzeit zurücknehmen.",
    lentText: (providers) =>
      `Sie und die anderen Administratoren verleihen Schlüssel für ${providers} und lassen jeden Nutzer vorher fragen, auch Sie selbst. Wo Ihre eigenen nicht antworten können, gingen Ihre Anfragen unter dem Konto des Betreibers an diese Anbieter.`,
    agree: "Zustimmen",
    refuse: "Nein, nur eigene Schlüssel",
    refused: "Nur Ihre eigenen Schlüssel arbeiten für Sie. Unter Wege können Sie das jederzeit ändern.",
    agreed: "Geteilte Schlüssel dürfen jetzt für Sie arbeiten.",
    since: (date) => `Sie haben am ${date} zugestimmt.`,
    takeBack: "Zurücknehmen",
    takenBack: "Geteilte Schlüssel arbeiten nicht mehr für Sie.",
  },
  es: {
    title: "¿Pueden atenderle las claves compartidas?",
    text: (providers) =>
      `Su administrador le presta claves de ${providers} y le pregunta antes. Cuando las suyas no puedan responder, sus solicitudes irían a estos proveedores con la cuenta del administrador, y pagaría él.`,
    note: "Cada respuesta y su uso dicen qué claves fueron. Puede retirarlo en cualquier momento.",
    lentText: (providers) =>
      `Usted y los demás administradores prestan claves de ${providers} y hacen que se pregunte antes a cada usuario, también a usted. Cuando las suyas no puedan responder, sus solicitudes irían a estos proveedores con la cuenta del operador.`,
    agree: "Aceptar",
    refuse: "No, solo mis propias claves",
    refused: "Solo le atienden sus propias claves. En Rutas puede cambiarlo en cualquier momento.",
    agreed: "Ahora las claves compartidas pueden atenderle.",
    since: (date) => `Lo aceptó el ${date}.`,
    takeBack: "Retirar",
    takenBack: "Las claves compartidas ya no le atienden.",
  },
});
