/** The server's own page: signing in, and then the panel or the administrators' view. */
import { LitElement, html, type TemplateResult } from "lit";

export class OwnkeyPage extends LitElement {
  override connectedCallback(): void {
    super.connectedCallback();
    const name = location.pathname.endsWith("/admin") ? "admin" : "panel";
    void import(/* @vite-ignore */ new URL(`${name}.js`, import.meta.url).href);
  }

  protected override render(): TemplateResult {
    return html`<llm-settings-panel session></llm-settings-panel>`;
  }
}

customElements.define("ownkey-page", OwnkeyPage);
