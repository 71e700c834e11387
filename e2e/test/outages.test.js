// While something is down the user stays who they are, and a later load migrates.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, handleOf, scenario, settled, stateOf, until, USER } from "../harness.js";

/** The page is signed in at the legacy provider, its token is where it was, and nothing of a session has reached the browser. */
async function assertLegacy(w, page) {
  assert.equal(await stateOf(page), "legacy");
  assert.equal(await page.evaluate(() => localStorage.getItem("legacy.token")), w.legacyTokens[0]);
  assert.deepEqual(await w.sessionCookies(), []);
}

async function assertMigrated(w, page, result) {
  assert.deepEqual(result, { status: "migrated", legacyEnded: true });
  await assertSignedIn(page);
  const { live } = await w.state();
  assert.deepEqual(live.map((s) => s.handle), [await handleOf(page)]);
  assert.ok(!w.shown.includes("signed-out"), `the page showed ${w.shown}`);
  await until("the legacy session is revoked", async () => (await w.state()).revocations === 1);
}

scenario("the legacy provider is down before its keys are known: the user stays, and a later load migrates", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "issuer", kind: "down" });
  const { page, result } = await w.open({ attempts: 2 });
  assert.deepEqual(result, { status: "unavailable", code: "UNAVAILABLE" });
  await assertLegacy(w, page);
  assert.equal((await w.state()).of(EXCHANGE).length, 2);
  assert.equal((await page.evaluate(() => window.page.me())).status, 503, "an outage is no 401, which would sign the user out");
  assert.equal((await w.state()).mints, 0);

  await w.tell("heal", { on: "issuer" });
  await w.tell("advance", { ms: 5000 }); // keys are not asked for again at once
  await page.reload();
  await assertMigrated(w, page, await settled(page));
  assert.equal((await w.state()).mints, 1);
});

scenario("the legacy provider is down when its keys are known: the user migrates, and is revoked there later", async (w) => {
  await w.signInAtLegacy();
  const visitor = await w.context.newPage();
  await visitor.goto(`${w.www}/style.css`);
  const me = await visitor.evaluate(async ([api, token]) => {
    const response = await fetch(`${api}/api/me`, { headers: { Authorization: `Bearer ${token}` } });
    return response.json();
  }, [w.api, w.legacyTokens[0]]);
  assert.deepEqual(me, { userId: USER, legacy: true });

  await w.tell("fault", { on: "issuer", kind: "down" });
  const { page, result } = await w.open();
  assert.equal(result.status, "migrated");
  await assertSignedIn(page);
  await until("a revocation has failed", () => w.log.some((line) => /stmigrate: revoke.*outcome=failed/.test(line)));
  assert.equal((await w.state()).revocations, 0);

  await w.tell("heal", { on: "issuer" });
  await w.tell("advance", { ms: 600_000 }); // past the back-off
  await until("the legacy session is revoked", async () => (await w.state()).revocations === 1);
  await assertSignedIn(page);
});

scenario("the core is down, then up: the user stays, and a later load migrates", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "core", kind: "down" });
  const { page, result } = await w.open({ attempts: 2 });
  assert.deepEqual(result, { status: "unavailable", code: "UNAVAILABLE" });
  await assertLegacy(w, page);
  assert.deepEqual(await page.evaluate(() => window.page.me()), { status: 200, body: { userId: USER, legacy: true } });
  await page.reload();
  assert.equal((await settled(page)).status, "unavailable");
  await assertLegacy(w, page);
  assert.equal((await w.state()).mints, 0);

  await w.tell("heal", { on: "core" });
  await page.reload();
  await assertMigrated(w, page, await settled(page));
  assert.equal((await w.state()).mints, 1);
});

scenario("the core comes up while the page waits: the same load migrates", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "core", kind: "down" });
  const { page } = await w.open({ attempts: 100 }, { wait: false });
  await until("the exchange is refused", async () => (await w.state()).of(EXCHANGE).some((r) => r.status === 503));
  await assertLegacy(w, page);
  await w.tell("heal", { on: "core" });
  await assertMigrated(w, page, await settled(page));
  const state = await w.state();
  assert.equal(state.mints, 1);
  assert.equal(new Set(state.of(EXCHANGE).map((r) => r.header["idempotency-key"])).size, 1);
});

/** What comes of a mint of which nobody knows whether it made a session. */
async function unknownMint(w, kind) {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "core", kind, routes: ["POST /recipe/session"] });
  const { page, result } = await w.open({ attempts: 1 });
  assert.deepEqual(result, { status: "unavailable", code: "UNAVAILABLE" });
  await assertLegacy(w, page);
  const orphans = (await w.state()).live.map((s) => s.handle);

  await w.tell("heal", { on: "core" });
  await w.tell("advance", { ms: 31_000 }); // the claim of the first mint must run out before a second may be
  await page.reload();
  await assertMigrated(w, page, await settled(page));
  assert.ok(!orphans.includes(await handleOf(page)), "the orphan was given out");
  return orphans;
}

scenario("the core goes down in the middle of a mint: the user stays, and a later load migrates", async (w) => {
  assert.deepEqual(await unknownMint(w, "down"), []);
});

scenario("the core makes the session and its answer is lost: one session in the end", async (w) => {
  assert.equal((await unknownMint(w, "cut")).length, 1);
});
