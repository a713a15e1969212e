/** What to do when the page came over plain HTTP from another machine. There is no form: it would send the password in the clear. */
import { html, type TemplateResult } from "lit";
import { page } from "../i18n/page.js";
import { card, type PageSurroundings } from "./surroundings.js";

export function insecure(at: PageSurroundings): TemplateResult {
  const t = page[at.language];
  const { hostname, host, port, pathname } = location;
  const local = Number(port) > 1023 ? port : "8080";
  const safe = `https://${hostname}${pathname}`;
  return card(
    t.insecure,
    html`<p>${t.insecureText(host)}</p>
      <ol class="page-ways">
        <li>${t.insecureHttps} <a href=${safe}>${safe}</a></li>
        <li>
          ${t.insecureTunnel}
          <pre tabindex="0">ssh -L ${local}:localhost:${port || "80"} ${hostname}</pre>
          <code>http://localhost:${local}${pathname}</code>
        </li>
        <li>${t.insecureProxy}<pre tabindex="0">OWNKEY_PUBLIC_URL=https://${hostname}</pre></li>
      </ol>`,
  );
}
