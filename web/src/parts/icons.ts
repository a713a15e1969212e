/** Line drawings on a 20 × 20 grid, in the colour of the text around them. They never stand alone as a meaning. */
import { html, svg, type SVGTemplateResult, type TemplateResult } from "lit";

const SHAPES = {
  add: svg`<path d="M10 4v12M4 10h12"/>`,
  alert: svg`<path d="M10 3 2 17h16zM10 8.5v4M10 14.8v.2"/>`,
  arrow: svg`<path d="M4 10h11M11 6l4 4-4 4"/>`,
  check: svg`<path d="m4 10.5 4 4 8-9"/>`,
  chevron: svg`<path d="m6 8 4 4 4-4"/>`,
  clock: svg`<circle cx="10" cy="10" r="7"/><path d="M10 6v4l3 2"/>`,
  close: svg`<path d="m5 5 10 10M15 5 5 15"/>`,
  copy: svg`<rect x="7" y="7" width="10" height="10" rx="2"/><path d="M13 7V5a2 2 0 0 0-2-2H5a2 2 0 0 0-2 2v6a2 2 0 0 0 2 2h2"/>`,
  down: svg`<path d="M10 4v12M5 11l5 5 5-5"/>`,
  download: svg`<path d="M10 3v10M6 9l4 4 4-4M4 17h12"/>`,
  drag: svg`<path d="M7.5 5v.1M12.5 5v.1M7.5 10v.1M12.5 10v.1M7.5 15v.1M12.5 15v.1" stroke-width="2.4"/>`,
  edit: svg`<path d="m4 16 .8-3.6L13.4 4a1.6 1.6 0 0 1 2.4 2.4L7.4 15z"/>`,
  external: svg`<path d="M8 5H5a1 1 0 0 0-1 1v9a1 1 0 0 0 1 1h9a1 1 0 0 0 1-1v-3M11 4h5v5M16 4l-7 7"/>`,
  eye: svg`<path d="M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10z"/><circle cx="10" cy="10" r="2.4"/>`,
  eyeOff: svg`<path d="M3 3l14 14M8.2 4.7A8 8 0 0 1 10 4.5c5 0 8 5.5 8 5.5a14 14 0 0 1-2.5 3.1M5.2 6.3A14 14 0 0 0 2 10s3 5.5 8 5.5a8 8 0 0 0 4-1.1"/>`,
  key: svg`<circle cx="6.5" cy="13.5" r="3.5"/><path d="m9 11 7-7M13 7l2.5 2.5"/>`,
  lock: svg`<rect x="4.5" y="9" width="11" height="8" rx="2"/><path d="M7 9V6.5a3 3 0 0 1 6 0V9"/>`,
  more: svg`<path d="M4.5 10v.1M10 10v.1M15.5 10v.1" stroke-width="2.6"/>`,
  refresh: svg`<path d="M16 10a6 6 0 1 1-1.8-4.3M16.5 3v3.5H13"/>`,
  remove: svg`<path d="M4 6h12M8 6V4h4v2M6 6l.7 10.5h6.6L14 6"/>`,
  search: svg`<circle cx="9" cy="9" r="5"/><path d="m13 13 4 4"/>`,
  share: svg`<circle cx="7" cy="7" r="2.8"/><path d="M2.5 16c.4-3 2.2-4.5 4.5-4.5s4.1 1.5 4.5 4.5M12.5 4.6a2.6 2.6 0 0 1 0 4.9M13.5 11.7c2 .3 3.5 1.8 4 4.3"/>`,
  signOut: svg`<path d="M8 4H5a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h3M9 10h8M13.5 6.5 17 10l-3.5 3.5"/>`,
  up: svg`<path d="M10 16V4M5 9l5-5 5 5"/>`,
  user: svg`<circle cx="10" cy="7" r="3.2"/><path d="M4 17c.5-3.5 2.8-5.2 6-5.2s5.5 1.7 6 5.2"/>`,
} satisfies Record<string, SVGTemplateResult>;

export type IconName = keyof typeof SHAPES;

/** An ornament: hidden from screen readers, who get the words beside it. */
export function icon(name: IconName): TemplateResult {
  return html`<svg class="glyph" viewBox="0 0 20 20" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
}
