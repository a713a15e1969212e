/** Modal dialogs on the browser's own `<dialog>`: it keeps the focus inside and the page behind inert. */
import { html, nothing, type ElementPart, type TemplateResult } from "lit";
import { AsyncDirective, directive } from "lit/async-directive.js";
import { icon } from "./icons.js";

export interface DialogParts {
  /** Unique among the dialogs that can be open at once. */
  id?: string;
  title: string;
  body: unknown;
  /** Buttons, the main one last. */
  actions?: unknown;
  closeLabel: string;
  onClose: () => void;
  /** With it the dialog is a form, and Enter in a field is its main button. */
  onSubmit?: () => void;
  wide?: boolean;
}

/** Opens the dialog when it is drawn and hands the focus back when it is gone. */
class OpenModal extends AsyncDirective {
  #element: HTMLDialogElement | null = null;
  #before: HTMLElement | null = null;

  render(): unknown {
    return nothing;
  }

  override update(part: ElementPart): unknown {
    if (!this.#element) {
      this.#element = part.element as HTMLDialogElement;
      // Attributes are set before the element is in the document, where alone it can be opened.
      queueMicrotask(() => {
        if (!this.#element?.isConnected || this.#element.open) return;
        this.#before = (this.#element.getRootNode() as Document | ShadowRoot).activeElement as HTMLElement | null;
        this.#element.showModal();
      });
    }
    return nothing;
  }

  override disconnected(): void {
    // It is still in the document, where everything else stays inert until it closes.
    this.#element?.close();
    if (this.#before?.isConnected) this.#before.focus();
  }
}
const openModal = directive(OpenModal);

/** A dialog that is open as long as it is drawn: the view draws it or does not. */
export function dialog(parts: DialogParts): TemplateResult {
  const id = `${parts.id ?? "dialog"}-title`;
  const content = html`
    <header>
      <h2 id=${id}>${parts.title}</h2>
      <button type="button" class="icon" aria-label=${parts.closeLabel} @click=${parts.onClose}>${icon("close")}</button>
    </header>
    <div class="dialog-body">${parts.body}</div>
    ${parts.actions ? html`<footer>${parts.actions}</footer>` : nothing}`;
  return html`
    <dialog
      class=${parts.wide ? "wide" : ""}
      aria-labelledby=${id}
      ${openModal()}
      @cancel=${(event: Event) => (event.preventDefault(), parts.onClose())}
    >
      ${parts.onSubmit
        ? html`<form
            novalidate
            @submit=${(event: Event) => {
              event.preventDefault();
              parts.onSubmit?.();
            }}
          >
            ${content}
          </form>`
        : content}
    </dialog>`;
}
