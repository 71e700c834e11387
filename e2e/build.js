// Builds what the tests start: the server and the page, and the example, into build/.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { build } from "esbuild";

process.chdir(import.meta.dirname);
mkdirSync("build/page", { recursive: true });
for (const [name, dir] of [["server", "./server"], ["webapp", "../examples/webapp"]]) {
  execFileSync("go", ["build", "-o", `build/${name}`, dir], { stdio: "inherit" });
}
await build({
  entryPoints: ["page/page.js"], outfile: "build/page/bundle.js", bundle: true, format: "esm", target: "es2022", logLevel: "warning",
});
for (const file of ["index.html", "style.css"]) cpSync(`page/${file}`, `build/page/${file}`);
