// Who signed out stays signed out, and who never was signed in is left in peace.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, idle, scenario, settled, stateOf } from "../harness.js";

const REFRESH = "POST /auth/session/refresh";
const ME = "GET /api/me";

async function staysSignedOut(w) {
  await w.signInAtLegacy();
  const { page, result } = await w.open({ "keep-legacy": "" });
  assert.equal(result.status, "migrated");
  await assertSignedIn(page);
  await page.evaluate(() => window.page.signOut());
  assert.equal(await stateOf(page), "signed-out");
  assert.deepEqual((await w.state()).live, []);

  for (const seconds of [5, 180]) {
    await w.tell("advance", { ms: seconds * 1000 });
    await page.reload();
    assert.deepEqual(await settled(page), { status: "signed-out", code: "ALREADY_MIGRATED" });
    assert.equal(await stateOf(page), "signed-out");
    assert.equal(await page.evaluate(() => localStorage.getItem("legacy.token")), w.legacyTokens[0]);
    assert.deepEqual(await w.sessionCookies(), []);
    assert.equal((await page.evaluate(() => window.page.me())).status, 401);
    const state = await w.state();
    assert.equal(state.mints, 1, `${seconds} s later a session was minted`);
    assert.deepEqual(state.live, []);
  }

  // The next sign-in at the legacy provider is another session, and migrates.
  await w.signInAtLegacy();
  await page.reload();
  assert.equal((await settled(page)).status, "migrated");
  await assertSignedIn(page);
  assert.equal((await w.state()).mints, 2);
}

scenario("signed out, and reloaded 5 s later and after Grace: stays signed out, with the legacy token there", staysSignedOut);

// There is no Idempotency-Key there, by which a reload would be another request: the server alone must know.
scenario("signed out in a context that is not secure, and reloaded: stays signed out", staysSignedOut, { insecure: true });

/** The requests to the API so far, without preflights, and what would be a redirect. */
async function asked(w) {
  const { requests } = await w.state();
  for (const r of requests) assert.ok(r.status < 300 || r.status >= 400, `${r.path} redirects`);
  return requests.filter((r) => r.server === "api" && r.method !== "OPTIONS").map((r) => `${r.method} ${r.path} ${r.status}`);
}

scenario("a signed-out visitor's 401 causes no refresh loop and no redirect", async (w) => {
  let navigations = 0;
  w.context.on("page", (page) => page.on("framenavigated", () => navigations++));
  const { page, result } = await w.open();
  assert.deepEqual(result, { status: "nothing" });
  assert.equal(await stateOf(page), "signed-out");
  for (let i = 1; i <= 3; i++) {
    assert.equal((await page.evaluate(() => window.page.me())).status, 401);
    // The count is final: no request is on its way, no timer is set, and every promise that the page made is settled, so that
    // nothing is left in it that could ask again.
    await idle(w, page);
    assert.deepEqual(await asked(w), [`${REFRESH} 401`, ...Array(i).fill(`${ME} 401`)]);
  }
  assert.equal(navigations, 1, "the page went somewhere else");
  assert.equal(page.url(), w.url());
  assert.equal((await w.state()).mints, 0);
});

scenario("a legacy token worth nothing: its 401 causes no refresh loop and no redirect", async (w) => {
  await w.signInAtLegacy();
  await w.tell("advance", { ms: 48 * 3600_000 });
  let navigations = 0;
  w.context.on("page", (page) => page.on("framenavigated", () => navigations++));
  const { page, result } = await w.open();
  assert.deepEqual(result, { status: "refused", code: "INVALID_LEGACY_SESSION" });
  await idle(w, page); // and so the count is final, as above
  assert.deepEqual(await asked(w), [`${REFRESH} 401`, `${EXCHANGE} 401`]);
  assert.equal(navigations, 1, "the page went somewhere else");
  assert.deepEqual(await page.evaluate(() => window.page.events), ["UNAUTHORISED"]);
  assert.equal(await page.evaluate(() => localStorage.getItem("legacy.token")), w.legacyTokens[0]);
  assert.equal((await w.state()).mints, 0);
});
