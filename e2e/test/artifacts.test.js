// A test that fails leaves behind what is needed to see why.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

const PNG = "89504e470d0a1a0a";
const ZIP = "504b0304";
/** How long the run of a fixture may take. A process that was left would keep it from its end. */
const LIMIT = 900_000;

/** Runs the tests of a fixture on their own. Temporary files are to go to dir/tmp, what is kept of failures to dir/kept. */
async function run(fixture, dir) {
  // Without its parent's variables the child would take itself for a part of this run.
  const { NODE_TEST_CONTEXT, ...env } = process.env;
  const [tmp, kept] = ["tmp", "kept"].map((name) => path.join(dir, name));
  mkdirSync(tmp);
  return new Promise((resolve) => {
    const args = ["--test", path.join(import.meta.dirname, "../fixtures", fixture)];
    const end = (error, stdout) => resolve({ code: error?.code, stdout, tmp, kept });
    execFile(process.execPath, args, { env: { ...env, E2E_ARTIFACTS: kept, TMPDIR: tmp }, timeout: LIMIT }, end);
  });
}

test("a browser or a server that dies fails its own test, and leaves nothing that runs", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "e2e-"));
  try {
    const { code, stdout, tmp } = await run("dies.js", dir);
    assert.equal(code, 1, stdout);
    assert.deepEqual(stdout.match(/^(not )?ok .*$/gm), [
      "not ok 1 - the browser dies [cookie]", "not ok 2 - the server dies [cookie]",
      "not ok 3 - the server does not come up [cookie]", "ok 4 - nothing dies [cookie]",
    ]);
    assert.match(stdout, /the server ended with 1:[^]*not a host/);
    assert.deepEqual(readdirSync(tmp).filter((name) => /^(e2e|playwright)/.test(name)), []);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a failing test keeps screenshots of its pages, a trace and the server's log", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "e2e-"));
  try {
    const child = await run("fails.js", dir);
    assert.equal(child.code, 1, child.stdout);
    assert.match(child.stdout, /^# fail 1$/m);

    assert.deepEqual(readdirSync(child.kept), ["fails-on-purpose-cookie"]);
    const file = (name) => readFileSync(path.join(child.kept, "fails-on-purpose-cookie", name));
    for (const page of ["page-1.png", "page-2.png"]) assert.equal(file(page).subarray(0, 8).toString("hex"), PNG);
    assert.equal(file("trace.zip").subarray(0, 4).toString("hex"), ZIP);
    assert.match(file("server.log").toString(), /stmigrate: exchange.*outcome=migrated/);
    assert.match(file("error.txt").toString(), /on purpose[^]*shown: undecided,legacy,signed-in/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
