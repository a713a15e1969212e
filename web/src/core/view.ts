/** What a tab of the panel or of the administrators' page is made of. */
import type { TemplateResult } from "lit";
import type { ApiClient } from "../api/client.js";
import type { Format } from "./format.js";
import type { Language } from "./language.js";
import type { Notices } from "./notices.js";

/** What the element around the views gives them. */
export interface Surroundings {
  readonly api: ApiClient;
  readonly format: Format;
  readonly language: Language;
  readonly notices: Notices;
  /** Draw again: a view's fields are plain fields, so whoever changes one asks for it. */
  requestUpdate(): void;
  /** Until what was asked for is drawn. */
  readonly updateComplete: Promise<boolean>;
  /** The inner root, where focus can be moved. */
  readonly root: ParentNode;
  /** Opens another tab. */
  show(tab: string): void;
}

/** A tab: plain state and one template. All tabs share the element's shadow root. */
export abstract class View<S extends Surroundings = Surroundings> {
  /** Rules beyond the common ones, for the shadow root that all views share: class names begin with the view's. */
  readonly styles: string = "";

  constructor(protected readonly at: S) {}

  /** Called each time the tab is opened: load what must be fresh. */
  enter(): void {}

  /** Called when another tab is opened or the element goes away: stop timers and requests. */
  leave(): void {}

  /** The content of the tab, its dialogs included. */
  abstract render(): TemplateResult;

  protected update(): void {
    this.at.requestUpdate();
  }
}
