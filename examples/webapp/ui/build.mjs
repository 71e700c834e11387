// Bundles src/app.js into ../static/app.js, which is committed and embedded. With --check it builds, compares, and writes nothing.
import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.join(here, "../static/app.js");

const { outputFiles, metafile } = await build({
  absWorkingDir: here,
  entryPoints: ["src/app.js"],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome110", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "eof",
  banner: { js: "// Built by examples/webapp/ui from src/app.js: npm ci && npm run build. The licences of what is in it stand at its end." },
  metafile: true,
  write: false,
});
const bundle = outputFiles[0].text + (await notices(metafile));

if (process.argv.includes("--check")) {
  if (bundle !== (await readFile(target, "utf8"))) {
    console.error("static/app.js is not what src makes: npm run build, and commit it");
    process.exit(1);
  }
  console.log("static/app.js is what src makes");
} else {
  await writeFile(target, bundle);
  console.log(`static/app.js: ${Math.round(bundle.length / 1024)} KiB`);
}

/** The licences of all packages that went into the bundle. */
async function notices({ inputs }) {
  const folders = new Set(Object.keys(inputs).map((file) => file.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]).filter(Boolean));
  const parts = [];
  for (const folder of [...folders].sort()) {
    const { name, version, license } = JSON.parse(await readFile(path.join(here, folder, "package.json"), "utf8"));
    const file = (await readdir(path.join(here, folder))).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file && (await readFile(path.join(here, folder, file), "utf8"));
    parts.push(`${name} ${version} (${license})\n\n${text?.trim() ?? "The package holds no text of its licence."}`);
  }
  const text = parts.join("\n\n----\n\n").replaceAll("\r", "").replaceAll("*/", "* /").replaceAll(/[ \t]+$/gm, "");
  return `/*!\n${text}\n*/\n`;
}
