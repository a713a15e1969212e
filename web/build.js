// A page loads one module; what its first screen does not need follows on demand from the same folder. Vite's library
// mode does not minify ES modules, so each is built as an application with one entry.
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../src/ownkey/http/static"));
const ENTRIES = ["panel", "admin", "page"];
// What a settings page may cost its visitors.
const LIMIT_BYTES = 40 * 1024;

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const name of ENTRIES) {
  await build({
    root: here,
    configFile: false,
    logLevel: "warn",
    build: {
      outDir: out,
      emptyOutDir: false,
      target: "es2022",
      // Browsers that know light-dark(): older ones would get a rewritten form that ignores the page's color-scheme.
      cssTarget: ["chrome123", "firefox120", "safari17.5"],
      minify: true,
      cssMinify: true,
      modulePreload: false,
      reportCompressedSize: false,
      rollupOptions: {
        input: join(here, `src/${name}.ts`),
        // The views fetched later take what they share from the entry itself: one request for the first screen.
        preserveEntrySignatures: "allow-extension",
        output: { format: "es", entryFileNames: "[name].js", chunkFileNames: `${name}-[name].js` },
      },
    },
  });
}
const sizes = new Map();
for (const name of readdirSync(out).filter((one) => one.endsWith(".js"))) {
  sizes.set(name, gzipSync(readFileSync(join(out, name)), { level: 9 }).length);
  console.log(`${name} ${(sizes.get(name) / 1024).toFixed(1)} kB gzipped`);
}
for (const entry of ENTRIES) {
  // With what it cannot begin without.
  const size = [...listParts(`${entry}.js`)].reduce((sum, part) => sum + sizes.get(part), 0);
  console.log(`${entry}: ${(size / 1024).toFixed(1)} kB gzipped until its first screen`);
  if (size > LIMIT_BYTES) throw new Error(`${entry} needs more than ${LIMIT_BYTES / 1024} kB gzipped`);
}
for (const file of ["page.html", "page.css", "favicon.svg"]) copyFileSync(join(here, "pages", file), join(out, file));

/** A file and all that it imports at once. */
function listParts(name, found = new Set()) {
  if (found.has(name)) return found;
  found.add(name);
  const code = readFileSync(join(out, name), "utf8");
  for (const [, part] of code.matchAll(/(?:^|[;}\n])import(?:[^"'()]*?from)?\s*["']\.\/([\w.-]+\.js)["']/g)) listParts(part, found);
  return found;
}
