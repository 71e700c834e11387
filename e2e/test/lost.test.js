// The server has done its work, and the answer does not arrive.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, handleOf, scenario, settled, stateOf, until } from "../harness.js";

async function assertRecovered(w, page, minted) {
  await assertSignedIn(page);
  const state = await w.state();
  assert.equal(state.mints, 1);
  assert.deepEqual(state.live, minted);
  assert.equal(await handleOf(page), minted[0].handle);
  assert.equal(await page.evaluate(() => localStorage.getItem("legacy.token")), null);
  assert.ok(!w.shown.includes("signed-out"), `the page showed ${w.shown}`);
  return state;
}

async function minted(w) {
  const { mints, live } = await until("a session was minted", async () => {
    const state = await w.state();
    return state.outcomes.length && state;
  });
  assert.equal(mints, 1);
  assert.equal(live.length, 1);
  return live;
}

scenario("the answer is cut after the server's commit, and a reload recovers the same session", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "api", kind: "cut", routes: [EXCHANGE] });
  const { page, result } = await w.open({ attempts: 1 });
  assert.deepEqual(result, { status: "unavailable", code: "NETWORK_ERROR" });
  assert.equal(await stateOf(page), "legacy");
  assert.deepEqual(await w.sessionCookies(), []);
  const live = await minted(w);

  await w.tell("heal", { on: "api" });
  await page.reload();
  assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
  const state = await assertRecovered(w, page, live);
  const keys = new Set(state.of(EXCHANGE).map((r) => r.header["idempotency-key"]));
  assert.ok(keys.size === 1 && !keys.has(undefined), "the reload came with another key");
});

scenario("the answer is cut, and the reload comes with another token of the same legacy session", async (w) => {
  await w.signInAtLegacy();
  const renewed = await w.renewAtLegacy();
  await w.tell("fault", { on: "api", kind: "cut", routes: [EXCHANGE] });
  const { page, result } = await w.open({ attempts: 1, "by-session": "" });
  assert.deepEqual(result, { status: "unavailable", code: "NETWORK_ERROR" });
  const live = await minted(w);

  await w.tell("heal", { on: "api" });
  await page.evaluate((token) => localStorage.setItem("legacy.token", token), renewed);
  await page.reload();
  assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
  const state = await assertRecovered(w, page, live);
  const asked = state.of(EXCHANGE).map((r) => r.header);
  assert.equal(asked.at(-1).authorization, `Bearer ${renewed}`);
  assert.equal(new Set(asked.map((h) => h["idempotency-key"])).size, 1);
});

scenario("the answer is cut, and the page itself asks again", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "api", kind: "cut", routes: [EXCHANGE] });
  const { page } = await w.open({ attempts: 100 }, { wait: false });
  const live = await minted(w);
  await w.tell("heal", { on: "api" });
  assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
  await assertRecovered(w, page, live);
});

scenario("the answer is cut within its body, after its headers", async (w) => {
  await w.signInAtLegacy();
  await w.tell("fault", { on: "api", kind: "truncate", routes: [EXCHANGE] });
  const { page } = await w.open({ attempts: 100 }, { wait: false });
  const live = await minted(w);
  await w.tell("heal", { on: "api" });
  assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
  await assertRecovered(w, page, live);
});

/** The first document gets no answer from the exchange, though the browser does. */
async function neverAnswered(context) {
  await context.addInitScript(() => {
    const { fetch } = window;
    if (sessionStorage.getItem("second")) return;
    sessionStorage.setItem("second", "1");
    window.fetch = async (input, init) => {
      const response = await fetch(input, init);
      if (String(input).includes("/migrate-session")) {
        window.answered = true;
        return new Promise(() => {});
      }
      return response;
    };
  });
}

scenario("the tab is reloaded when the browser has the answer, and its scripts not yet", async (w) => {
  await w.signInAtLegacy();
  await neverAnswered(w.context);
  const { page } = await w.open({}, { wait: false });
  await page.waitForFunction(() => window.answered);
  const live = await minted(w);
  // In cookie mode the browser holds the session by now, and the SDK does not know.
  assert.deepEqual((await w.sessionCookies()).length, w.mode === "cookie" ? 2 : 0);
  await page.reload();
  assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
  await assertRecovered(w, page, live);
});

for (const [when, ms] of [["after Grace", 10 * 60_000], ["when the access token is over, too", 61 * 60_000]]) {
  scenario(`the same, and the tab comes back ${when}`, async (w) => {
    await w.signInAtLegacy();
    await neverAnswered(w.context);
    const { page } = await w.open({}, { wait: false });
    await page.waitForFunction(() => window.answered);
    const live = await minted(w);
    await w.tell("advance", { ms });
    await page.reload();
    assert.deepEqual(await settled(page), { status: "migrated", legacyEnded: true });
    await assertRecovered(w, page, live);
    // In header mode nothing of the session reached the browser, and the legacy token is spent: there is nothing to recover.
  }, { modes: ["cookie"] });
}
