/** Language and appearance: two words in the browser's storage, nothing else, and nothing about a person. */
import { LANGUAGES, type Language } from "../core/language.js";

export const APPEARANCES = ["system", "light", "dark"] as const;
export type Appearance = (typeof APPEARANCES)[number];

const LANGUAGE_KEY = "ownkey-language";
const APPEARANCE_KEY = "ownkey-appearance";

export class Choices {
  language: Language;
  appearance: Appearance;

  constructor() {
    const wished = [read(LANGUAGE_KEY), ...navigator.languages.map((one) => one.split("-")[0]!)];
    this.language = LANGUAGES.find((one) => one === wished.find((wish) => LANGUAGES.includes(wish as Language))) ?? "en";
    this.appearance = APPEARANCES.find((one) => one === read(APPEARANCE_KEY)) ?? "system";
    this.#apply();
  }

  /** The language with the region that the browser names, which says how numbers and dates are written. */
  get locale(): string {
    return navigator.languages.find((one) => one.split("-")[0] === this.language) ?? this.language;
  }

  speak(language: Language): void {
    this.language = language;
    write(LANGUAGE_KEY, language);
    this.#apply();
  }

  look(appearance: Appearance): void {
    this.appearance = appearance;
    write(APPEARANCE_KEY, appearance);
    this.#apply();
  }

  #apply(): void {
    const root = document.documentElement;
    root.lang = this.locale;
    root.style.colorScheme = this.appearance === "system" ? "light dark" : this.appearance;
  }
}

// Storage can be forbidden; the page then forgets the choice and works.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Not remembered.
  }
}
