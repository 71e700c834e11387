// Two tabs that load at once end in one session.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, handleOf, scenario, settled, until } from "../harness.js";

const held = (w, requests) =>
  until(`${requests} requests are held`, async () => (await w.state()).held[EXCHANGE] === requests);

/** Opens two tabs, the second one after before, whose exchanges, as many as are to come, are at the server at the same moment. */
async function twoTabs(w, exchanges, { before, together } = {}) {
  await w.signInAtLegacy();
  await w.tell("hold", { routes: [EXCHANGE] });
  const open = () => w.open({}, { wait: false });
  const tabs = await Promise.all([open(), Promise.resolve(before?.()).then(open)]);
  const pages = tabs.map(({ page }) => page);
  await held(w, exchanges);
  await together?.(pages);
  await w.tell("release");
  const results = await Promise.all(pages.map(settled));
  for (const page of pages) await assertSignedIn(page);

  const state = await w.state();
  assert.equal(state.of(EXCHANGE).length, exchanges);
  assert.equal(state.mints, 1);
  assert.equal(state.live.length, 1);
  for (const page of pages) assert.equal(await handleOf(page), state.live[0].handle);
  assert.ok(!w.shown.includes("signed-out"), `the tabs showed ${w.shown}`);
  return { state, results: results.map((r) => r.status).sort() };
}

scenario("two tabs at once, by Web Locks one after the other, end in one session", async (w) => {
  const { results } = await twoTabs(w, 1, { together: ([page]) =>
    until("the second tab waits for the lock", () =>
      page.evaluate(async () => (await navigator.locks.query()).pending.some((l) => l.name.startsWith("stmigrate ")))),
  });
  assert.deepEqual(results, ["current", "migrated"]);
});

scenario("two tabs at once, without navigator.locks, end in one session", async (w) => {
  // Browsers take their time to tell one tab what another one stores: of two that begin in the same milliseconds each may send a
  // key of its own, and the second is then told that the session is there, not given it again. Here it comes when the key is known.
  const { state, results } = await twoTabs(w, 2, { before: () => held(w, 1) });
  assert.deepEqual(results, ["migrated", "migrated"]);
  assert.deepEqual(state.outcomes.sort(), ["migrated", "replayed"]);
  const [first, second] = state.of(EXCHANGE).map((r) => r.header["idempotency-key"]);
  assert.ok(first && first === second, "the tabs sent different keys");
}, { locks: false });

scenario("two tabs at once, in a context that is not secure, end in one session", async (w) => {
  const { state, results } = await twoTabs(w, 2, { together: async ([page]) => {
    const has = await page.evaluate(() => [isSecureContext, typeof navigator.locks, typeof crypto.subtle]);
    assert.deepEqual(has, [false, "undefined", "undefined"]);
  } });
  assert.deepEqual(results, ["migrated", "migrated"]);
  assert.deepEqual(state.outcomes.sort(), ["migrated", "replayed"]);
  for (const request of state.of(EXCHANGE)) assert.equal(request.header["idempotency-key"], undefined);
}, { insecure: true });
