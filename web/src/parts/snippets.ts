/** How a program is pointed at this server: a few lines to copy, with the real address. */
import { html, type TemplateResult } from "lit";
import type { Language } from "../core/language.js";
import { shell } from "../i18n/shell.js";
import { copyText, segments } from "./controls.js";
import { icon } from "./icons.js";

// Names of tools: the same in every language.
const KINDS = { python: "Python", javascript: "JavaScript", curl: "curl", env: ".env" } as const;
type Kind = keyof typeof KINDS;

const TEXTS: Record<Kind, (url: string, token: string) => string> = {
  python: (url, token) => `from openai import OpenAI

client = OpenAI(
    base_url="${url}",
    api_key="${token}",
)
reply = client.chat.completions.create(
    model="auto",
    messages=[{"role": "user", "content": "Hello"}],
)
print(reply.choices[0].message.content)`,
  javascript: (url, token) => `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "${url}",
  apiKey: "${token}",
});
const reply = await client.chat.completions.create({
  model: "auto",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(reply.choices[0].message.content);`,
  curl: (url, token) => `curl ${url}/chat/completions \\
  -H "Authorization: Bearer ${token}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'`,
  env: (url, token) => `OPENAI_BASE_URL="${url}"
OPENAI_API_KEY="${token}"`,
};

/** A copy button that says, beside itself and to screen readers, what became of it. */
export class CopyButton {
  #said: "copied" | "copyFailed" | "" = "";

  constructor(
    private readonly redraw: () => void,
    private readonly text: () => string,
  ) {}

  render(language: Language, label: string): TemplateResult {
    const t = shell[language];
    return html`<button type="button" aria-label=${label} @click=${() => copyText(this.text(), () => this.#say("copied"), () => this.#say("copyFailed"))}>
        ${icon(this.#said === "copied" ? "check" : "copy")}${this.#said === "copied" ? t.copied : t.copy}
      </button>
      <span role="status" class=${this.#said === "copyFailed" ? "fault" : "hidden"}>${this.#said ? t[this.#said] : ""}</span>`;
  }

  #say(what: "copied" | "copyFailed"): void {
    this.#said = what;
    this.redraw();
    if (what === "copied") {
      setTimeout(() => {
        this.#said = "";
        this.redraw();
      }, 3000);
    }
  }
}

/** Tabs of snippets. `name` must be unique in the shadow root. */
export class Snippets {
  #kind: Kind = "python";
  #copy: CopyButton;

  constructor(
    private readonly name: string,
    private readonly redraw: () => void,
    private readonly address: () => { url: string; token: string },
  ) {
    this.#copy = new CopyButton(redraw, () => this.#text());
  }

  render(language: Language, labels: { choose: string; copy: string }): TemplateResult {
    return html`<div class="snippets">
      <div class="row spread">
        ${segments(
          labels.choose,
          this.name,
          (Object.keys(KINDS) as Kind[]).map((value) => ({ value, label: KINDS[value] })),
          this.#kind,
          (kind) => {
            this.#kind = kind;
            this.redraw();
          },
        )}
        ${this.#copy.render(language, labels.copy)}
      </div>
      <pre tabindex="0" role="group" aria-label=${KINDS[this.#kind]}>${this.#text()}</pre>
    </div>`;
  }

  #text(): string {
    const { url, token } = this.address();
    return TEXTS[this.#kind](url, token);
  }
}
