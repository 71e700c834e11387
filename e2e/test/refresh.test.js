// The session that came of the exchange is one like any other: the SDK refreshes it.
import assert from "node:assert/strict";
import { assertSignedIn, EXCHANGE, handleOf, scenario, settled } from "../harness.js";

const HOUR = 3600_000;
const REFRESH = "POST /auth/session/refresh";
const succeeded = (state, route) => state.of(route).filter((r) => r.status === 200).length;

scenario("the access token expires, and web-js refreshes it", async (w) => {
  await w.signInAtLegacy();
  const { page } = await w.open();
  const handle = await handleOf(page);
  const before = await w.sessionCookies();

  await w.tell("advance", { ms: HOUR + 1000 });
  const answers = await page.evaluate(() => Promise.all([window.page.me(), window.page.me()]));
  assert.deepEqual(answers.map((a) => a.status), [200, 200]);
  await assertSignedIn(page);

  const state = await w.state();
  assert.equal(state.refreshes, 1, "both calls needed one refresh");
  assert.equal(succeeded(state, REFRESH), 1);
  assert.equal(state.mints, 1);
  assert.deepEqual(state.live.map((s) => s.handle), [handle]);
  assert.equal(await handleOf(page), handle);
  const after = await w.sessionCookies();
  assert.equal(after.length, 2);
  for (const { name, value } of after) assert.notEqual(value, before.find((c) => c.name === name).value, name);
});

scenario("the tab is reloaded when its access token is over by its own clock, too", async (w) => {
  await w.signInAtLegacy();
  const { page } = await w.open();
  const handle = await handleOf(page);

  await w.tell("advance", { ms: HOUR + 1000 });
  await w.context.addInitScript((ms) => {
    const { now } = Date;
    Date.now = () => now() + ms;
  }, HOUR + 1000);
  await page.reload();
  assert.deepEqual(await settled(page), { status: "current" });
  await assertSignedIn(page);

  const state = await w.state();
  assert.equal(state.refreshes, 1);
  assert.equal(state.of(EXCHANGE).length, 1);
  assert.deepEqual(state.live.map((s) => s.handle), [handle]);
  assert.ok(!w.shown.includes("signed-out"), `the page showed ${w.shown}`);
});
